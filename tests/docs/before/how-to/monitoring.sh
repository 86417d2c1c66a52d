# A node with a client that it denies.
ip address add 10.0.0.1/20 dev lan0
ip link set lan0 up
printf '[dhcp]\ndeny = ["02:00:00:00:00:66"]\n' >/etc/ddhcp/mesh.toml
ddhcp -d -L -t 2 -F /etc/ddhcp/mesh.toml -c lan0 -i eth1
cd "$ROOT"
