ddhcpctl -S
ddhcpctl status
ddhcpctl blocks
ddhcpctl leases
ddhcpctl peers
ddhcpctl stats
ddhcpctl events
ddhcpctl top --once
ddhcpctl reserve
ddhcpctl options
ddhcpctl reload
