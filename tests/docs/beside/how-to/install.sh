[ -d /run/systemd/system ] || exit 0
man ddhcp
man ddhcp.toml
man ddhcpctl
systemd-analyze security ddhcp@mesh
journalctl DDHCP_EVENT=lease-refused DDHCP_MAC=02:00:5E:10:00:01
ddhcpctl events
ddhcpctl leases --json
ddhcpctl -C mesh status
ddhcpctl drain
