"""The control client ``ddhcpctl`` and the protocol of the control socket, which the daemon shares."""
