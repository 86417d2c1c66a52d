ip link add br-client type bridge
ip address add 10.0.128.1/17 dev br-client
ip link set br-client up
batctl if add eth1
ip link set bat0 up
