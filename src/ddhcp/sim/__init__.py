"""Nodes in virtual time: the very core that the daemon runs, over a model network."""

from .swarm import Answer, VirtualSwarm

__all__ = ["Answer", "VirtualSwarm"]
