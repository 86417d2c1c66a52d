"""The pure core of a node: a state machine from events to effects."""

from .config import NodeConfig
from .errors import ConfigError
from .node import Node
from .pool import Pool, PoolError, dotted

__all__ = ["ConfigError", "Node", "NodeConfig", "Pool", "PoolError", "dotted"]
