ddhcp --help
ddhcpctl --help
ddhcpctl -C /run/ddhcp/ddhcp.sock status
ip netns
./network-test exec true
make help
