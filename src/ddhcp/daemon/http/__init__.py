"""HTTP for operators: metrics, the JSON API and the dashboard. Off unless asked for; needs the extra ``ddhcp[http]``.

It runs in a thread of its own and never touches the node: it asks the loop through the bridge, and what many ask is
asked once (``snapshots``). Only :class:`HttpServer` and :func:`parse_listen` are for the rest of the daemon; nothing
else here is imported before HTTP is switched on.
"""

from .listen import Listen, open_listener, parse_listen, read_token
from .service import HttpServer

__all__ = ["HttpServer", "Listen", "open_listener", "parse_listen", "read_token"]
