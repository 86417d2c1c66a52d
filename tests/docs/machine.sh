# Usage: unshare --net --mount --pid ... bash machine.sh SCRIPT
# A machine such as the pages have in mind, and a script run on it: empty /run and /var/lib/ddhcp, the programs in the PATH, two
# Ethernet ports with a cable in each. What not every kernel has is stood in for: batctl makes bat0 a bridge, and so is a VLAN.
set -eu
mount --make-rprivate /
for directory in /run /tmp/ddhcp-docs /var/lib/ddhcp; do
    mkdir -p "$directory"
    mount -t tmpfs tmpfs "$directory"
done
mkdir /run/netns
ip link set lo up
for port in eth1 lan0; do
    ip link add "$port" type veth peer name "far-$port"
    ip link set "far-$port" up
done
mkdir "$WORK/bin"
cat >"$WORK/bin/batctl" <<'STUB'
#!/bin/sh
# batctl if add PORT
set -eu
[ "$1" = if ] && [ "$2" = add ]
ip link show dev bat0 >/dev/null 2>&1 || ip link add bat0 type bridge
ip link set "$3" master bat0 up
STUB
cat >"$WORK/bin/ip" <<'STUB'
#!/bin/bash
# ip link add link PORT name NAME type vlan id N
real=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v ip)
if [[ "$*" =~ ^link\ add\ link\ ([a-z0-9]+)\ name\ ([a-z0-9]+)\ type\ vlan\ id\ [0-9]+$ ]]; then
    "$real" link add "${BASH_REMATCH[2]}" type bridge
    exec "$real" link set "${BASH_REMATCH[1]}" master "${BASH_REMATCH[2]}"
fi
exec "$real" "$@"
STUB
chmod +x "$WORK/bin/batctl" "$WORK/bin/ip"
export PATH="$WORK/bin:$ROOT/.venv/bin:$PATH:/usr/sbin:/sbin"
bash -c "$1"
