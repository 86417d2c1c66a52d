"""What people ask of a running daemon: the control socket's commands and their answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, MutableMapping

from ..core import Node
from ..core import events as e
from ..ctl.protocol import Command, Request
from . import report
from .api import Api, check_option
from .clock import boot_time
from .event_log import EventLog
from .health import Facts
from .links import Links
from .performer import Performer


class Operator:
    """Answers control requests.

    ``performer`` gives the node what the operator wants changed. ``statistics()``: all counters by name; ``counters``:
    those that belong to the daemon, set to zero on request. ``stop(reason, now)`` has the daemon stop in good order;
    ``reload(now)`` has it read its configuration anew, and raises ValueError if that cannot be used.
    ``api``: the same questions, and more, as plain data.
    """

    def __init__(
        self,
        node: Node,
        log: EventLog,
        links: Links,
        *,
        performer: Performer,
        is_durable: bool,
        counters: MutableMapping[str, int],
        statistics: Callable[[], dict[str, int]],
        stop: Callable[[str, float], None],
        reload: Callable[[float], dict[str, object]],
    ) -> None:
        self._node = node
        self._log = log
        self._links = links
        self._is_durable = is_durable
        self._counters = counters
        self._statistics = statistics
        self._performer = performer
        self._stop = stop
        self._reload = reload
        self._began_at = boot_time()
        self.api = Api(node, self, log.recent)

    def answer(self, request: Request) -> str:
        """The text that answers a control request. Raises ValueError to refuse it."""
        node, now = self._node, boot_time()
        match request.command:
            case Command.SHOW_BLOCKS:
                return report.blocks_text(node.view(), node.block_views(now))
            case Command.SHOW_OPTIONS:
                return self._options_text()
            case Command.SET_OPTION:
                check_option(request.code, request.payload)
                self._performer.feed(e.SetOption(request.code, request.payload), now)
                return self._options_text()
            case Command.REMOVE_OPTION:
                self._performer.feed(e.RemoveOption(request.code), now)
                return self._options_text()
            case Command.SET_LOG_LEVEL:
                self._log.level = log_level(request.level)
                self._log.write(logging.INFO, "log-level", {"level": logging.getLevelName(self._log.level).lower()})
                return ""
            case Command.STATISTICS:
                return report.statistics_text(self._statistics())
            case Command.STATISTICS_RESET:
                text = report.statistics_text(self._statistics())
                self._performer.feed(e.ResetStatistics(), now)
                self._counters.update(dict.fromkeys(self._counters, 0))
                return text
            case _:
                return json.dumps(self.api.answer(request.arguments)) + "\n"

    # --- what the API asks of the daemon --------------------------------------------------------

    def feed_event(self, event: e.Event) -> None:
        """Have the node handle an event of the operator's."""
        self._performer.feed(event, boot_time())

    def statistics(self) -> dict[str, int]:
        """All counters and gauges."""
        return self._statistics()

    def facts(self) -> Facts:
        """Links and store, for those who ask how the daemon is."""
        up = self._links.clients_up()
        return Facts(
            server_interface=self._links.server_name,
            server_link_up=self._links.server_is_up,
            client_interfaces=tuple(up),
            clients_missing=tuple(name for name in self._links.client_names if name not in up),
            store="sqlite" if self._is_durable else "memory",
            store_error=self._performer.store_error,
            uptime_s=boot_time() - self._began_at,
        )

    def drain(self) -> None:
        """Hand all blocks over, then stop."""
        self._stop("drain", boot_time())

    def reload(self) -> dict[str, object]:
        """Read the configuration anew, and say what of it is in force now."""
        return self._reload(boot_time())

    def _options_text(self) -> str:
        return report.options_text(self._node.options(), self._node.lease_time_s, not self._links.client_names)


def log_level(verbosity: int) -> int:
    """The log level for a number of ``-v`` (or the classic level byte): 0 warnings, 1 events, 2 and more everything."""
    return (logging.WARNING, logging.INFO)[verbosity] if verbosity < 2 else logging.DEBUG
