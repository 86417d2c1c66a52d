mkdir -p /run/ddhcp/names
