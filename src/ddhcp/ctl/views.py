"""The answers of a daemon as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from .poolmap import PoolMap
from .text import clock, count, duration, safe, table, text

Object = dict[str, Any]
HEALTH_STYLES = {"ok": "bold green", "warning": "bold yellow", "failing": "bold red"}
STATE_STYLES = {"leased": "green", "ours": "green", "offered": "yellow", "tentative": "yellow", "claiming": "yellow"}
OUTCOME_STYLES = {"granted": "green", "offered": "green", "refused": "red", "ignored": "red", "waiting": "yellow"}
LEVEL_STYLES = {"warning": "yellow", "error": "red", "critical": "red"}


def pairs(rows: Iterable[tuple[str, RenderableType]]) -> RenderableType:
    """Names and values in two columns."""
    made = table("", "")
    made.show_header = False
    for name, value in rows:
        made.add_row(text(name, "dim"), value)
    return made


def status(found: Object) -> RenderableType:
    """How the node is."""
    pool, blocks, leases, peers = found["pool"], found["blocks"], found["leases"], found["peers"]
    state = "stopping" if found["stopping"] else "learning who owns what" if found["learning"] else "serving"
    clients = ", ".join(map(safe, found["client_interfaces"])) or "none"
    rows: list[tuple[str, RenderableType]] = [
        ("health", Text(found["health"], HEALTH_STYLES.get(found["health"], ""))),
        ("node", text(f"{found['node_id']} at {safe(found['address'])}")),
        ("state", text(f"{state}, up {duration(found['uptime_s'])}, ddhcp {safe(found['version'])}")),
        ("links", text(f"server {safe(found['server_interface'])} ({found['server_link']}), clients {clients}")),
        ("store", text(found["store"])),
        (
            "pool",
            text(
                f"{pool['network']}, {count(pool['addresses'])} addresses in {count(pool['blocks'])} blocks "
                f"of {pool['block_size']}"
            ),
        ),
        (
            "blocks",
            text(f"{count(blocks['ours'])} ours, {count(blocks['claimed'])} of others, {count(blocks['free'])} free"),
        ),
        (
            "leases",
            text(
                f"{count(leases['leased'])} leased, {count(leases['offered'])} offered, {count(leases['free'])} free, "
                f"{count(leases['waiting'])} clients waiting"
            ),
        ),
        ("peers", text(f"{peers['known']} known: {peers['ddhcp']} ddhcp, {peers['classic']} classic")),
        ("promised", text(f"for at least another {duration(found['promise_margin_s'])}")),
    ]
    if found["promise_margin_s"] is None:
        rows.pop()
    return Group(pairs(rows), *problem_lines(found["problems"]))


def problem_lines(problems: Iterable[Object]) -> list[RenderableType]:
    """What is wrong, each in a line of its own."""
    lines: list[RenderableType] = []
    for problem in problems:
        line = Text("\n" if not lines else "")
        line.append(f"{safe(problem['level'])}: ", HEALTH_STYLES.get(problem["level"], ""))
        line.append(safe(problem["text"]))
        lines.append(line)
    return lines


def classic_status(found: Object) -> RenderableType:
    """What the block table of a classic daemon says of its node."""
    own = str(found.get("node_id", "")).lower()
    ours = [row for row in found["blocks"] if row["state_name"] == "ours"]
    others = {row["owner"] for row in found["blocks"] if row["state_name"] == "claimed"} - {own}
    rows: list[tuple[str, RenderableType]] = [
        ("node", text(own or "-")),
        ("pool", text(f"{found.get('network')}, {found.get('block_count')} blocks of {found.get('block_size')}")),
        ("blocks", text(f"{len(ours)} ours, {found.get('blocks_in_use', len(found['blocks']))} in use")),
        ("leases", text(f"{sum(row['leased'] or 0 for row in ours)} leased in our blocks")),
        ("others", text(f"{len(others)} node ids own blocks")),
    ]
    return Group(pairs(rows), Text("\nA classic daemon does not tell its health, links, store and peers.", "dim"))


def pool_map(found: Object, network: str, block_size: int) -> RenderableType:
    """The pool as a picture, with its legend."""
    drawn = PoolMap(found, IPv4Network(network, strict=False), block_size)
    return Group(*drawn.rows(), Text(""), *drawn.legend())


def blocks(rows: Sequence[Object]) -> RenderableType:
    """Blocks as a table."""
    if not rows:
        return Text("No block of the pool is in use.", "dim")
    made = table("block", "first address", "state", "owner", "leases", "left", right=("block", "leases", "left"))
    for row in rows:
        leases = "-" if row["leased"] is None else f"{row['leased']}"
        made.add_row(
            text(row["index"]), text(row["first"]), text(row["state_name"], STATE_STYLES.get(row["state_name"], "")),
            text("this node" if row["state_name"] == "ours" else row["owner_address"] or _owner(row["owner"])),
            text(leases), text(duration(row["timeout_s"])),
        )  # fmt: skip
    return made


def _owner(node_id: str) -> str:
    return node_id if node_id.strip("0") else "-"


def leases(rows: Sequence[Object], is_search: bool) -> RenderableType:
    """Leases as a table."""
    if not rows:
        return Text("No lease matches." if is_search else "This node has no leases.", "dim")
    made = table("address", "hardware address", "state", "left", "where", "name", right=("left",))
    for row in rows:
        left = row["expires_in_s"] if row["state"] in ("leased", "offered", "kept", "declined") else None
        made.add_row(
            text(row["address"]), text(row["mac"]), text(row["state"], STATE_STYLES.get(row["state"], "dim")),
            text(duration(left)), _where(row), text(row["hostname"]),
        )  # fmt: skip
    return made


def _where(row: Object) -> Text:
    """In whose realm the client renewed last; for a copy, whose lease it is."""
    elsewhere = row.get("at") or row.get("lessor")
    return text(elsewhere) if elsewhere else text("here", "dim")


def peers(rows: Sequence[Object]) -> RenderableType:
    """Peers as a table."""
    if not rows:
        return Text("No other node was heard.", "dim")
    made = table("address", "node id", "kind", "heard", "refresh", "loss", right=("heard", "refresh", "loss"))
    for row in rows:
        loss = "-" if row["loss"] is None else f"{100 * row['loss']:.0f} %"
        made.add_row(
            text(row["address"]), text(row["node_id"]),
            text(row.get("software") or row["kind"], "green" if row["kind"] == "ddhcp" else ""),
            text(f"{duration(row['heard_ago_s'])} ago"), text(duration(row["refresh_s"])), text(loss),
        )  # fmt: skip
    return made


def classic_peers(found: Object) -> RenderableType:
    """The owners in a classic block table."""
    owned: dict[str, int] = {}
    for row in found["blocks"]:
        if row["state_name"] == "claimed":
            owned[row["owner"]] = owned.get(row["owner"], 0) + 1
    made = table("node id", "blocks", right=("blocks",))
    for owner, number in sorted(owned.items(), key=lambda item: -item[1]):
        made.add_row(text(owner), text(number))
    note = Text("\nA classic daemon tells the owners of blocks only, not when they were heard.", "dim")
    return Group(made if owned else Text("Nobody else owns a block.", "dim"), note)


def statistics(found: dict[str, int]) -> RenderableType:
    """Counters as a table; those that are 0 are left out."""
    made = table("counter", "value", right=("value",))
    for name, value in found.items():
        if value:
            made.add_row(text(name), text(count(value)))
    left_out = sum(not value for value in found.values())
    return Group(made, Text(f"\n{left_out} more are 0.", "dim")) if left_out else made


def options(found: Object) -> RenderableType:
    """The DHCP options as a table."""
    made = table("code", "bytes", "as text", right=("code",))
    for row in found["options"]:
        value = bytes.fromhex(row["value"])
        made.add_row(text(row["code"]), text(".".join(map(str, value)) or "-"), text(_readable(value)))
    return Group(text(f"Leases last {duration(found['lease_time_s'])}."), Text(""), made)


def _readable(value: bytes) -> str:
    return value.decode("ascii") if value and all(32 <= byte < 127 for byte in value) else ""


def reservations(found: Object) -> RenderableType:
    """Reserved hosts and held addresses."""
    made = table("host", "address", "hardware addresses")
    for host in found["hosts"]:
        what = "never served" if host["deny"] else host["address"] or "any"
        made.add_row(text(host["name"]), text(what), text(", ".join(host["macs"])))
    held = Text("Held back: " + (", ".join(map(safe, found["held"])) or "nothing") + ".")
    return Group(made, Text(""), held) if found["hosts"] else Group(Text("No host is reserved.", "dim"), held)


def event(found: Object) -> Text:
    """One event as a line."""
    line = Text.assemble((f"{clock(found['time'])} ", "dim"))
    line.append(f"{safe(found['level']):7} ", LEVEL_STYLES.get(found["level"], "dim"))
    line.append(f"{safe(found['event'])}", "bold")
    for name, value in found["fields"].items():
        line.append(f"  {safe(name)}=", "dim")
        line.append(safe(",".join(map(str, value)) if isinstance(value, list) else value))
    return line


def explanation(found: Object) -> RenderableType:
    """Why an address or a client is served, or is not."""
    head = Text(safe(found.get("address") or found.get("mac")), "bold")
    lines: list[RenderableType] = [head, *(Text(f"- {safe(reason)}") for reason in found["because"])]
    if found.get("decisions"):
        lines += [Text("\nDecided lately:"), *(_decision(row) for row in reversed(found["decisions"]))]
    return Group(*lines)


def _decision(row: Object) -> Text:
    line = Text.assemble((f"{duration(row['ago_s']):>7} ago  ", "dim"), f"{safe(row['mac'])}  ")
    line.append(safe(row["message"]), "bold")
    line.append(f" for {safe(row['address'])} " if row["address"] else " ")
    line.append(safe(row["outcome"]), OUTCOME_STYLES.get(row["outcome"], ""))
    line.append(f" ({row['times']} times)" if row["times"] > 1 else "")
    line.append(f": {safe(row['why'])}" if row["why"] else "")
    return line


def show(screen: Console, what: RenderableType) -> None:
    """Print it."""
    screen.print(what)
