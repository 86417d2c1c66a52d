"""Measurements of DHCP servers, ours and others, in network namespaces: ``python -m bench``."""
