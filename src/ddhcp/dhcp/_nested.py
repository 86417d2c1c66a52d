"""Options inside options: bounded readers that take any bytes (rules I19, I22, Q24), used on demand only."""

from __future__ import annotations

_ENTERPRISE_SIZE = 4


def suboptions(data: bytes, *, has_pad_and_end: bool = False) -> dict[int, bytes]:
    """Code, length, value: the first value of each code. A sub-option that runs past the end stops the reading.

    ``has_pad_and_end``: codes 0 and 255 are single bytes, as in vendor-specific information (RFC 2132 8.4) but not in
    the relay agent's option (RFC 3046 2.0).
    """
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        code = data[position]
        if has_pad_and_end and code == 0:
            position += 1
            continue
        if (has_pad_and_end and code == 255) or position + 2 > len(data):
            break
        end = position + 2 + data[position + 1]
        if end > len(data):
            break
        found.setdefault(code, data[position + 2 : end])
        position = end
    return found


def vendor_identifying(data: bytes) -> dict[int, bytes]:
    """Enterprise number to data, of option 124 or 125 (RFC 3925). One that runs past the end stops the reading."""
    found: dict[int, bytes] = {}
    position = 0
    while position + _ENTERPRISE_SIZE + 1 <= len(data):
        enterprise = int.from_bytes(data[position : position + _ENTERPRISE_SIZE], "big")
        start = position + _ENTERPRISE_SIZE + 1
        end = start + data[start - 1]
        if end > len(data):
            break
        found[enterprise] = found.get(enterprise, b"") + data[start:end]
        position = end
    return found
