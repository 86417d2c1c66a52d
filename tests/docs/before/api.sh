ip address add 10.0.0.1/20 dev lan0
ip link set lan0 name client0
ip link set client0 up
ip link set eth1 name server0
ip link set server0 up
