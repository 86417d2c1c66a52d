"""The daemon's answer texts as plain data, for ``--json``.

Classic builds differ in details (spaces for tabs, more or fewer columns at the end, additional lines), so the
readers take the lines that they recognise and pass over the rest. Only an answer without any such line is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable

STATE_NAMES = ("free", "tentative", "claimed", "claiming", "ours", "blocked")

_NUMBER = "([0-9]{1,20})"
_BLOCK = re.compile(
    rf"{_NUMBER}\s+([0-9]{{1,3}})\s+([0-9A-Fa-f]{{12,16}})\s+{_NUMBER}\s+(?:{_NUMBER}/{_NUMBER}|-)\s+(-?[0-9]{{1,20}})(?:\s|$)"
)
_SIZE = re.compile(rf"block size/number\s+{_NUMBER}/{_NUMBER}\s*$")
_NODE_ID = re.compile(r"node id\s+([0-9A-Fa-f]{2,32})\s*$")
_NETWORK = re.compile(r"\s*network:?\s+([0-9.]{7,15}/[0-9]{1,2})\s*$")
_IN_USE = re.compile(rf"blocks in use:?\s+{_NUMBER}\s*$")
_LEFT_OUT = re.compile(rf"blocks left out:?\s+{_NUMBER}\s*$")
_PARAMETER = re.compile(
    rf"\s*(tentative timeout|timeout|refresh factor|spare leases needed|spare leases)\s+{_NUMBER}\s*$"
)
_PARAMETER_KEYS = {
    "tentative timeout": "tentative_timeout_s",
    "timeout": "timeout_s",
    "refresh factor": "refresh_factor",
    "spare leases needed": "spare_leases",
    "spare leases": "spare_leases",
}
_LEASE_TIME = re.compile(rf"DHCP Lease Time:?\s+{_NUMBER}\s*$", re.IGNORECASE)
_DISABLED = re.compile(r"DHCP Disabled:?\s+([01])\s*$", re.IGNORECASE)
_OPTION = re.compile(r"([0-9]{1,3})\s+([0-9]{1,3})((?:\s+[0-9]{1,3})*)\s*$")
_STATISTIC = re.compile(rf"([A-Za-z][\w.\-]*):?\s+{_NUMBER}\s*$", re.ASCII)


def parse_blocks(text: str) -> dict[str, object]:
    """Read the answer to ``-b``: the node's parameters and ``"blocks"``, a list of rows. Lease counts that
    the daemon does not know are null. Raises :class:`ValueError` if nothing in it belongs to a block
    table."""
    found: dict[str, object] = {}
    rows: list[dict[str, object]] = []
    for line in text.splitlines():
        if match := _BLOCK.match(line):
            rows.append(_block(*match.groups()))
        elif match := _SIZE.match(line):
            found["block_size"], found["block_count"] = int(match[1]), int(match[2])
        elif match := _NODE_ID.match(line):
            found["node_id"] = match[1].upper()
        elif match := _NETWORK.match(line):
            found["network"] = match[1]
        elif match := _IN_USE.match(line):
            found["blocks_in_use"] = int(match[1])
        elif match := _LEFT_OUT.match(line):
            found["blocks_left_out"] = int(match[1])
        elif match := _PARAMETER.match(line):
            found[_PARAMETER_KEYS[match[1]]] = int(match[2])
    if not found and not rows:
        raise ValueError("the answer is not a block table")
    return {**found, "blocks": rows}


def parse_options(text: str) -> dict[str, object]:
    """Read the answer to ``-d``: lease time, whether DHCP is off, and ``"options"``, a list of codes with
    their bytes. Raises :class:`ValueError` if nothing in it belongs to an option table."""
    found: dict[str, object] = {}
    rows: list[dict[str, object]] = []
    for line in text.splitlines():
        if match := _LEASE_TIME.match(line):
            found["lease_time_s"] = int(match[1])
        elif match := _DISABLED.match(line):
            found["disabled"] = match[1] == "1"
        elif match := _OPTION.match(line):
            payload = [int(byte) for byte in match[3].split()]
            code, length = int(match[1]), int(match[2])
            if code <= 255 and length == len(payload) and all(byte <= 255 for byte in payload):
                rows.append({"code": code, "payload": payload})
    if not found and not rows:
        raise ValueError("the answer is not an option table")
    return {**found, "options": rows}


def parse_statistics(text: str) -> dict[str, object]:
    """Read the answer to ``-s`` and ``-S``: counter names and values in the daemon's order. Raises
    :class:`ValueError` if there is no counter in it."""
    found: dict[str, object] = {}
    for line in text.splitlines():
        if match := _STATISTIC.match(line):
            found[match[1]] = int(match[2])
    if not found:
        raise ValueError("the answer holds no statistics")
    return found


Parser = Callable[[str], dict[str, object]]


def _block(
    index: str,
    state: str,
    owner: str,
    claim_count: str,
    offered: str | None,
    leased: str | None,
    timeout: str,
) -> dict[str, object]:
    number = int(state)
    return {
        "index": int(index),
        "state": number,
        "state_name": STATE_NAMES[number] if number < len(STATE_NAMES) else "unknown",
        "owner": owner.upper(),
        "claim_count": int(claim_count),
        "offered": None if offered is None else int(offered),
        "leased": None if leased is None else int(leased),
        "timeout_s": int(timeout),
    }
