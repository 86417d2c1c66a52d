"""What people ask of a running daemon: the control socket's commands and their answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, MutableMapping

from ..core import Node
from ..core import events as e
from ..ctl.protocol import Command, Request
from . import report
from .clock import boot_time
from .links import Feed, Links
from .logs import EventLog


class Operator:
    """Answers control requests.

    ``feed(event, now)`` gives the node what the operator wants changed. ``statistics()``: all counters by name;
    ``counters``: those that belong to the daemon, set to zero on request.
    """

    def __init__(
        self,
        node: Node,
        log: EventLog,
        links: Links,
        *,
        is_durable: bool,
        counters: MutableMapping[str, int],
        statistics: Callable[[], dict[str, int]],
        feed: Feed,
    ) -> None:
        self._node = node
        self._log = log
        self._links = links
        self._is_durable = is_durable
        self._counters = counters
        self._statistics = statistics
        self._feed = feed

    def answer(self, request: Request) -> str:
        """The text that answers a control request. Raises ValueError to refuse it."""
        node, now = self._node, boot_time()
        match request.command:
            case Command.SHOW_BLOCKS:
                return report.blocks_text(node.view(), node.block_views(now))
            case Command.SHOW_OPTIONS:
                return self._options_text()
            case Command.SET_OPTION:
                self._feed(e.SetOption(request.code, request.payload), now)
                return self._options_text()
            case Command.REMOVE_OPTION:
                self._feed(e.RemoveOption(request.code), now)
                return self._options_text()
            case Command.SET_LOG_LEVEL:
                self._log.level = log_level(request.level)
                self._log.write(logging.INFO, "log-level", {"level": logging.getLevelName(self._log.level).lower()})
                return ""
            case Command.STATISTICS:
                return report.statistics_text(self._statistics())
            case Command.STATISTICS_RESET:
                text = report.statistics_text(self._statistics())
                self._feed(e.ResetStatistics(), now)
                self._counters.update(dict.fromkeys(self._counters, 0))
                return text
            case _:
                return self._answer_json(request)

    def _answer_json(self, request: Request) -> str:
        if request.arguments.get("command") != "status":
            raise ValueError("unknown command in the JSON request; this daemon knows: status")
        view = self._node.view()
        status = {
            "node_id": view.node_id.hex(),
            "server_interface": self._links.server_name,
            "server_link": "up" if self._links.server_is_up else "down",
            "client_interfaces": self._links.clients_up(),
            "store": "sqlite" if self._is_durable else "memory",
            "statistics": self._statistics(),
        }
        return json.dumps(status) + "\n"

    def _options_text(self) -> str:
        return report.options_text(self._node.options(), self._node.lease_time_s, not self._links.client_names)


def log_level(verbosity: int) -> int:
    """The log level for a number of ``-v`` (or the classic level byte): 0 warnings, 1 events, 2 and more everything."""
    return (logging.WARNING, logging.INFO)[verbosity] if verbosity < 2 else logging.DEBUG
