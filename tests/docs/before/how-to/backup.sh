# A node that runs as the systemd unit has it.
if [ -d /run/systemd/system ]; then
    dpkg --install --no-triggers "$ROOT"/dist/ddhcp_*_all.deb
fi
ip address add 10.0.0.1/20 dev lan0
ip link set lan0 up
printf 'server-interface = "eth1"\nclient-interfaces = ["lan0"]\n' >/etc/ddhcp/mesh.toml
systemctl enable --now ddhcp@mesh
