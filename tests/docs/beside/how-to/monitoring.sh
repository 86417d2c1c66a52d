ddhcpctl -S
