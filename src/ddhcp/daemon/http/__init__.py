"""HTTP for operators: metrics, the JSON API and the dashboard. Off unless asked for; needs the extra ``ddhcp[http]``.

It runs in a thread of its own and never touches the node: it asks the loop through the bridge, and what many ask is
asked once (``snapshots``). Only :class:`~.service.HttpServer` and what ``listen`` has are for the rest of the daemon.
The former is imported when HTTP is switched on: asyncio takes a good part of the time that a start takes.
"""

from .listen import Listen, open_listener, parse_listen, read_token

__all__ = ["Listen", "open_listener", "parse_listen", "read_token"]
