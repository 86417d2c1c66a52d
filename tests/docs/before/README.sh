# A node to ask, and the checkout.
ip address add 10.0.0.1/20 dev lan0
ip link set lan0 up
ip link add far1 type veth peer name server0
ip link set far1 up
ip link set server0 up
ddhcp -d -L -t 2 -c lan0 -i server0
