"""Classless static routes (option 121, RFC 3442; Microsoft's option 249 has the same format)."""

from __future__ import annotations

_ADDRESS_SIZE = 4
_MAX_PREFIX_LEN = 32


def encode_route(prefix: int, prefix_len: int, gateway: bytes) -> bytes:
    """One route: the prefix's length in bits, its significant bytes only, the gateway's 4 bytes."""
    return bytes((prefix_len,)) + prefix.to_bytes(_ADDRESS_SIZE, "big")[: (prefix_len + 7) // 8] + gateway


def decode_routes(data: bytes) -> list[tuple[int, int, bytes]]:
    """The routes as prefix, its length in bits, and gateway (4 bytes). Raises ValueError."""
    routes = []
    position = 0
    while position < len(data):
        prefix_len = data[position]
        size = (prefix_len + 7) // 8
        end = position + 1 + size + _ADDRESS_SIZE
        if prefix_len > _MAX_PREFIX_LEN or end > len(data):
            raise ValueError("not a list of routes")
        prefix = data[position + 1 : position + 1 + size].ljust(_ADDRESS_SIZE, b"\0")
        routes.append((int.from_bytes(prefix, "big"), prefix_len, data[end - _ADDRESS_SIZE : end]))
        position = end
    if not routes:
        raise ValueError("no routes")
    return routes


def with_default_route(routes: bytes, routers: bytes) -> bytes:
    """``routes`` with a default route through the first of ``routers``, if they have none.

    A client that understands option 121 must ignore option 3 (RFC 3442), so what 3 says has to be in 121 as well (rule
    C15). Malformed values are left as they are.
    """
    try:
        if len(routers) < _ADDRESS_SIZE or any(prefix_len == 0 for _, prefix_len, _ in decode_routes(routes)):
            return routes
    except ValueError:
        return routes
    return routes + encode_route(0, 0, routers[:_ADDRESS_SIZE])
