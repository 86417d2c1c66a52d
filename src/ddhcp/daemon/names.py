"""Leases as names for a name server: a file that dnsmasq or unbound reads, replaced as a whole whenever it changes.

A thread of its own asks the loop through the bridge, page by page, a moment after something happened to a lease, and
now and then for what other nodes have told of theirs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from .api import MAX_PAGE
from .bridge import Bridge, Busy
from .event_log import EventLog

SETTLE_S = 1.0  # after the first event, so that many changes make one file
LOOK_EVERY_S = 15.0  # for the copies of other nodes' leases, whose changes are no events here
ANSWER_WITHIN_S = 5.0
STOP_WITHIN_S = 2.0
MAX_NAMES = 100_000  # lines of the file
MAX_LABEL = 63  # RFC 1035 2.3.4
TTL_S = 60  # of records for unbound
# Names that mean something else than a host to many programs, which a client must not be able to take.
REFUSED = frozenset(
    {"localhost", "wpad", "isatap", "broadcasthost", "ip6-localhost", "ip6-loopback", "gateway", "router", "_gateway"}
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_EVENTS = re.compile(r"lease|block|client|address|resumed|peer")

Row = dict[str, Any]


def label(hostname: str | None) -> str | None:
    """The name that a client is given in the DNS for what it calls itself: the first label, in lower case, with spaces
    and underscores as hyphens. None if that is no host name (RFC 1123 2.1), or one that no client may take."""
    if not hostname:
        return None
    name = hostname.partition(".")[0].strip().lower().replace("_", "-").replace(" ", "-")
    if len(name) > MAX_LABEL or not _LABEL.fullmatch(name) or name.isdigit() or name in REFUSED:
        return None
    return name


def assign(rows: Iterable[Row], before: dict[str, str]) -> dict[str, str]:
    """Which name goes to which address. Of several clients with one name, the one that had it ``before`` keeps it, else
    the one with the lowest address gets it: no client takes another's name away."""
    wanted: dict[str, list[str]] = {}
    for row in rows:
        name = label(row["hostname"])
        if name is not None:
            wanted.setdefault(name, []).append(row["address"])
    chosen = {
        name: before[name] if before.get(name) in addresses else min(addresses, key=IPv4Address)
        for name, addresses in wanted.items()
    }
    return dict(sorted(chosen.items(), key=lambda item: IPv4Address(item[1]))[:MAX_NAMES])


def render(names: dict[str, str], domain: str | None, style: str) -> str:
    """The text of the file. ``style``: "hosts" or "unbound"."""
    lines = ["# Leases of ddhcp, written by it; changes are lost."]
    for name, address in names.items():
        full = f"{name}.{domain}" if domain else name
        if style == "unbound":
            lines.append(f'local-data: "{full}. {TTL_S} IN A {address}"')
            lines.append(f'local-data-ptr: "{address} {TTL_S} {full}."')
        else:
            lines.append(f"{address}\t{full}" + (f" {name}" if domain else ""))
    return "\n".join(lines) + "\n"


def replace(path: Path, text: str) -> None:
    """Write a file so that no reader ever sees half of it. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


class NamesFile:
    """Keeps the file at ``path`` up to date once :meth:`start` is called."""

    def __init__(self, path: Path, domain: str | None, style: str, bridge: Bridge, log: EventLog) -> None:
        self._path = path
        self._domain = domain
        self._style = style
        self._bridge = bridge
        self._log = log
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._names: dict[str, str] = {}
        self._written: str | None = None
        self._told: str | None = None
        self._thread = threading.Thread(target=self._run, name="ddhcp-names", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._log.recent.listen(self._on_event)
        self._changed.set()
        self._thread.start()

    def close(self) -> None:
        """Write no more. The file stays: its names hold as long as the leases."""
        self._log.recent.unlisten(self._on_event)
        self._stopping.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_WITHIN_S)

    def _on_event(self) -> None:
        latest = self._log.recent.last(1)
        if latest and _EVENTS.search(latest[0].name):
            self._changed.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait(LOOK_EVERY_S)
            self._changed.clear()
            if self._stopping.wait(SETTLE_S):
                return
            with contextlib.suppress(Busy, Empty, ValueError, KeyError):  # it is tried again
                self.update()

    def update(self) -> None:
        """Ask for the leases, and write the file if that changes it."""
        rows = [*self._leases(copies=False), *self._leases(copies=True)]
        self._names = assign(rows, self._names)
        text = render(self._names, self._domain, self._style)
        if text == self._written:
            return
        try:
            replace(self._path, text)
        except OSError as error:
            self._tell(error.strerror or str(error))
            return
        self._written = text
        self._tell(None)

    def _leases(self, *, copies: bool) -> Iterator[Row]:
        after = None
        while not self._stopping.is_set():
            page = {"limit": MAX_PAGE, "after": after}
            answer = self._ask({"command": "leases", "state": "leased", "copies": copies, **page})
            yield from (row for row in answer["leases"] if row["expires_in_s"] > 0)
            after = answer["next"]
            if after is None:
                return

    def _ask(self, arguments: dict[str, object]) -> dict[str, Any]:
        answers: Queue[Any] = Queue(1)
        self._bridge.ask(arguments, answers.put)
        answer = answers.get(timeout=ANSWER_WITHIN_S)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def _tell(self, error: str | None) -> None:
        """Log that the file cannot be written, once for each reason."""
        if error != self._told and error is not None:
            fields = {"path": str(self._path), "error": error}
            self._bridge.tell(lambda: self._log.write(logging.ERROR, "names-failed", fields))
        self._told = error
