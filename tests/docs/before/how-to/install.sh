# What the page installs is in the current directory.
if [ -d /run/systemd/system ]; then
    cd /root
    cp "$ROOT"/dist/* .
    rm -f /var/lib/man-db/auto-update # an index of all manuals takes longer than the rest of the page
fi
ip link add br-client type bridge
ip address add 10.0.128.1/17 dev br-client
ip link set br-client up
batctl if add eth1
ip link set bat0 up
