"""ddhcp: a distributed DHCP daemon for networks that nobody runs centrally."""

__version__ = "0.1.0"
