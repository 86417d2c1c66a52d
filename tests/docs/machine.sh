# Usage: unshare --net --mount --pid ... bash machine.sh SCRIPT
# A machine such as the pages have in mind, and a script run on it in the checkout: empty /run, /etc/ddhcp and /var/lib/ddhcp, the
# programs in the PATH, two Ethernet ports with a cable in each and a radio. What not every kernel has is stood in for: batctl makes
# bat0 a bridge, and so is a VLAN.
# With INIT=systemd it is a machine that systemd has booted, with the Debian package at hand in the current directory. Where systemd
# cannot run as init, systemctl and journalctl are stood in for, too, and run what the package's unit runs.
set -eu
cd "$ROOT"
mount --make-rprivate /
for directory in /run /tmp/ddhcp-docs /etc/ddhcp /etc/prometheus /var/lib/ddhcp /var/lib/dhcp; do
    mkdir -p "$directory"
    mount -t tmpfs tmpfs "$directory"
done
mkdir /run/netns
ip link set lo up
for port in eth1 lan0 wlan0; do
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
if [ "${INIT:-}" = systemd ]; then
    mkdir "$WORK/machine"
    status=0
    "$PYTHON" "$ROOT/tests/machine.py" "$WORK/machine" "$WORK/bin" "$1" || status=$?
    [ "$status" = 125 ] || exit "$status"
    umount --lazy "$WORK/machine"
    echo "systemd cannot run as init here; going on with stand-ins" >&2
fi
[ -z "${INIT:-}" ] || cd dist
cat >"$WORK/bin/systemctl" <<'STUB'
#!/bin/bash
# systemctl enable --now|start|stop|restart|reload ddhcp@NAME
set -eu
name=${!#}
name=${name#ddhcp@}
directory=/run/ddhcp/$name
start() {
    mkdir -p "$directory" "/var/lib/ddhcp/$name"
    ddhcp -d -F "/etc/ddhcp/$name.toml" -C "$directory/ddhcp.sock" --pid-file "$directory/pid" --log-file "$directory/log" \
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
is-active) kill -0 "$(cat "$directory/pid")" ;;
restart) stop && start ;;
reload) kill -HUP "$(cat "$directory/pid")" ;;
*) exit 1 ;;
esac
STUB
cat >"$WORK/bin/journalctl" <<'STUB'
#!/bin/sh
cat /run/ddhcp/*/log
STUB
cat >"$WORK/bin/apt" <<'STUB'
#!/bin/sh
[ "$1" = install ] && [ -e "$2" ]
STUB
chmod +x "$WORK/bin/systemctl" "$WORK/bin/journalctl" "$WORK/bin/apt"
export PATH="$WORK/bin:$ROOT/.venv/bin:$PATH:/usr/sbin:/sbin"
bash -c "$1"
