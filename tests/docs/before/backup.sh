# A daemon that uses the database of the page, as the systemd unit would have it.
ip address add 10.0.0.1/20 dev lan0
ip link set lan0 up
mkdir -p /var/lib/ddhcp/mesh
ddhcp -d -c lan0 -i eth1 --store /var/lib/ddhcp/mesh/leases.sqlite
