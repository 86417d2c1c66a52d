ddhcpdctl -C /run/ddhcp/ddhcp.sock -b
