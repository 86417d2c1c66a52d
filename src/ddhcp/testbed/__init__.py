"""The test network: a mesh of realms in network namespaces on one machine, real DHCP clients included.

``./network-test`` (:mod:`ddhcp.testbed.main`) is its command line. From Python, :class:`~ddhcp.testbed.network.Network`
builds realms and :class:`~ddhcp.testbed.clients.Clients` puts clients into them.
"""
