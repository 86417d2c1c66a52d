# Usage: unshare --net --mount --pid ... bash machine.sh SCRIPT
# A machine such as the pages have in mind, and a script run on it: empty /run, /etc/ddhcp and /var/lib/ddhcp, the programs in the PATH, two
# Ethernet ports with a cable in each. What not every kernel has is stood in for: batctl makes bat0 a bridge, and so is a VLAN; systemctl
# runs what the package's unit runs.
set -eu
mount --make-rprivate /
for directory in /run /tmp/ddhcp-docs /etc/ddhcp /var/lib/ddhcp; do
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
cat >"$WORK/bin/systemctl" <<'STUB'
#!/bin/bash
# systemctl enable --now|start|stop|restart|reload ddhcp@NAME
set -eu
name=${!#}
name=${name#ddhcp@}
directory=/run/ddhcp/$name
start() {
    mkdir -p "$directory" "/var/lib/ddhcp/$name"
    ddhcp -d -F "/etc/ddhcp/$name.toml" -C "$directory/ddhcp.sock" --pid-file "$directory/pid" \
        --store "/var/lib/ddhcp/$name/leases.sqlite"
}
stop() {
    pid=$(cat "$directory/pid")
    kill "$pid"
    tail --pid="$pid" -s 0.1 -f /dev/null
}
case $1 in
enable | start) start ;;
stop) stop ;;
restart) stop && start ;;
reload) kill -HUP "$(cat "$directory/pid")" ;;
*) exit 1 ;;
esac
STUB
chmod +x "$WORK/bin/batctl" "$WORK/bin/ip" "$WORK/bin/systemctl"
export PATH="$WORK/bin:$ROOT/.venv/bin:$PATH:/usr/sbin:/sbin"
bash -c "$1"
