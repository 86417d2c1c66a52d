"""From settings to what the core is told."""

from __future__ import annotations

import ipaddress
from functools import partial
from pathlib import Path

from ..core import ConfigError, NodeConfig, Pool, PoolError
from .errors import StartError
from .keys import KeySource, load_keys
from .settings import Settings, blaming, dhcp, refuse, schema
from .settings.policy import make_policy, pool_problems


def make_pool(network: ipaddress.IPv4Network, block_bits: int) -> Pool:
    """The pool that ``network`` makes with blocks of 2^``block_bits`` addresses. Raises :class:`StartError`."""
    try:
        return Pool(int(network.network_address), network.prefixlen, 1 << block_bits)
    except PoolError as error:
        raise StartError(f"{error}; change -N or -b (network or block-bits in the file)") from None


def key_source(settings: Settings) -> KeySource | None:
    """What reads the swarm's keys, None if there are to be none. It raises :class:`StartError`."""
    path = settings[schema.KEY_FILE]
    if path is None:
        return None
    load = partial(load_keys, Path(path), is_mixed=settings[schema.KEY_MODE] == "mixed")
    return partial(blaming, settings, schema.KEY_FILE, load)


def node_config(settings: Settings, network: ipaddress.IPv4Network) -> NodeConfig:
    """What a node with the pool ``network`` is told. Raises :class:`StartError`."""
    pool = make_pool(network, settings[schema.BLOCK_BITS])
    refuse(settings, pool_problems(settings, pool))
    try:
        return NodeConfig(
            pool=pool,
            block_timeout_s=settings[schema.BLOCK_TIMEOUT],
            tentative_timeout_s=settings[schema.TENTATIVE_TIMEOUT],
            spare_leases=settings[schema.SPARE_LEASES],
            needless_timeout_s=settings[schema.NEEDLESS_TIMEOUT],
            learning_phase=settings[schema.LEARNING_PHASE],
            prefer_availability=settings[schema.PREFER_AVAILABILITY],
            max_new_blocks_per_min=settings[schema.MAX_NEW_BLOCKS],
            lease_time_s=settings[dhcp.LEASE_TIME_OF_ALL],
            options=settings[dhcp.OPTIONS_OF_ALL],
            serves_clients=bool(settings[schema.CLIENT_INTERFACES]),
            renewal_slack_s=settings[schema.RENEWAL_SLACK],
            policy=make_policy(settings),
            replicas=settings[schema.REPLICAS],
            replicas_before_ack=settings[schema.REPLICAS_BEFORE_ACK],
        )
    except ConfigError as error:
        raise StartError(str(error)) from None
