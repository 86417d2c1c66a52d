"""The OpenAPI description of the JSON API, which the tests hold against the API itself."""

from __future__ import annotations

from typing import Any

from ... import __version__
from ...ctl.answers import STATE_NAMES
from ..api import MAX_CELLS, MAX_PAGE, MAX_SEARCH

Object = dict[str, Any]

_LEASE_STATES = ["offered", "leased", "kept", "released", "expired", "declined"]


def _string(text: str = "", **more: Any) -> Object:
    return {"type": "string", **({"description": text} if text else {}), **more}


def _integer(text: str = "", **more: Any) -> Object:
    return {"type": "integer", **({"description": text} if text else {}), **more}


def _nullable(schema: Object) -> Object:
    return schema | {"type": [schema["type"], "null"]}


def _array(item: Object, text: str = "") -> Object:
    return {"type": "array", "items": item, **({"description": text} if text else {})}


def _object(properties: Object, text: str = "", optional: tuple[str, ...] = ()) -> Object:
    """An object that has at least these properties; later versions may add to them."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **({"description": text} if text else {})}


def _ref(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


_API = {"api": _integer("The version of the answers' shape", const=1)}
_NUMBER = {"type": "number"}
_BOOLEAN = {"type": "boolean"}

_SCHEMAS: Object = {
    "Error": _object({"error": _object({"kind": _string("Stable, for programs"), "text": _string("For people")})}),
    "Problem": _object(
        {
            "name": _string("Stable, for programs"),
            "level": _string(enum=["warning", "failing"]),
            "text": _string("What is wrong and what to do"),
        }
    ),
    "Block": _object(
        {
            "index": _integer(minimum=0),
            "first": _string("Its first address", format="ipv4"),
            "last": _string("Its last address", format="ipv4"),
            "state": _integer(minimum=0, maximum=5),
            "state_name": _string(enum=list(STATE_NAMES)),
            "owner": _string("Node id of who claims it, zeros if unknown", pattern="^[0-9a-f]{16}$"),
            "owner_address": _nullable(_string("Link-local address of who claims it")),
            "claim_count": _integer("Inquiries sent for it"),
            "offered": _nullable(_integer("Addresses offered, null in blocks of others")),
            "leased": _nullable(_integer("Addresses leased, null in blocks of others")),
            "timeout_s": _integer("Seconds until the state lapses", minimum=0),
        }
    ),
    "Lease": _object(
        {
            "address": _string(format="ipv4"),
            "mac": _string("Hardware address", pattern="^([0-9A-F]{2}:){5}[0-9A-F]{2}$"),
            "client_id": _nullable(_string("Client identifier in hexadecimal, null if it sends none")),
            "hostname": _nullable(_string("What the client calls itself; text of unknown origin: escape it")),
            "state": _string(enum=_LEASE_STATES),
            "expires_in_s": _integer("Seconds until it ends, negative if it has"),
            "block": _integer("Index of its block", minimum=0),
            "at": _nullable(_string("The other node in whose realm the client renewed last, null if that was here")),
            "lessor": _nullable(_string("The node whose lease it is, null for this one")),
        }
    ),
    "Peer": _object(
        {
            "address": _nullable(_string("Link-local address")),
            "node_id": _string(pattern="^[0-9a-f]{16}$"),
            "kind": _string(enum=["ddhcp", "classic", "unknown"]),
            "software": _nullable(_string("What it says it is; text of unknown origin: escape it")),
            "heard_ago_s": _NUMBER,
            "refresh_s": {"type": ["number", "null"], "description": "Mean time between its announcements"},
            "refreshes": _integer(minimum=0),
            "loss": {"type": ["number", "null"], "description": "Estimated share of its announcements not heard"},
            "has_key": {"type": "boolean", "description": "Whether its messages are sealed with the swarm's key"},
        }
    ),
    "Event": _object(
        {
            "seq": _integer("Its number since the daemon's start", minimum=1),
            "time": {"type": "number", "description": "Unix time"},
            "level": _string(enum=["info", "warning", "error", "critical"]),
            "event": _string("Its name, the same as in the log"),
            "fields": {"type": "object", "description": "Details; values may come from clients: escape them"},
        }
    ),
    "Options": _object(
        {
            **_API,
            "lease_time_s": _integer(minimum=1),
            "options": _array(
                _object({"code": _integer(minimum=1, maximum=254), "value": _string("Hexadecimal bytes")})
            ),
        }
    ),
    "Status": _object(
        {
            **_API,
            "version": _string(),
            "instance": _string("Differs from start to start"),
            "started_at": _NUMBER,
            "uptime_s": _integer(minimum=0),
            "node_id": _string(pattern="^[0-9a-f]{16}$"),
            "address": _nullable(_string("Own link-local address")),
            "health": _string(enum=["ok", "warning", "failing"]),
            "problems": _array(_ref("Problem")),
            "learning": _BOOLEAN,
            "stopping": _BOOLEAN,
            "server_interface": _string(),
            "server_link": _string(enum=["up", "down"]),
            "client_interfaces": _array(_string()),
            "clients_missing": _array(_string()),
            "store": _string(enum=["sqlite", "memory"]),
            "store_error": _nullable(_string()),
            "pool": _object(
                {"network": _string(), "addresses": _integer(), "block_size": _integer(), "blocks": _integer()}
            ),
            "blocks": _object({name: _integer(minimum=0) for name in STATE_NAMES}, "How many are in which state"),
            "leases": _object(
                {name: _integer(minimum=0) for name in ("leased", "offered", "free", "remembered", "waiting")}
            ),
            "peers": _object({name: _integer(minimum=0) for name in ("known", "ddhcp", "classic")}),
            "promise_margin_s": {"type": ["number", "null"]},
            "times": _object(
                {name: _integer(minimum=1) for name in ("tentative_timeout_s", "block_timeout_s", "lease_time_s")}
            ),
            "spare_leases": _integer(minimum=0),
            "claiming": _object(
                {
                    "prefers": _string(enum=["safety", "availability"]),
                    "only_own_share": _BOOLEAN,
                    "orphans": _integer(minimum=0),
                    "held": _integer(minimum=0),
                }
            ),
            "latest_event": _integer(minimum=0),
            "statistics": {"type": "object", "additionalProperties": _integer(), "description": "Every counter"},
        }
    ),
    "Map": _object(
        {
            **_API,
            "first": _integer("First block of the window"),
            "end": _integer("The block after its last"),
            "cell_size": _integer("Blocks in a cell"),
            "owners": _array(
                _object({"address": _nullable(_string()), "node_id": _string(), "self": _BOOLEAN}),
            ),
            "cells": _array(
                {"type": "array"}, "Of each cell that is not empty: its number and [place in owners, state, blocks]"
            ),
            "next": _nullable(_integer("Not null if the map is incomplete: the block it ends at")),
        }
    ),
    "Decision": _object(
        {
            "mac": _string("The client"),
            "ago_s": {
                "type": "number",
                "minimum": 0,
                "description": "Seconds since, the last time if several in a row",
            },
            "times": _integer("How often in a row", minimum=1),
            "message": _string("What the client had sent; RENEWLEASE if another node asked for it"),
            "outcome": _string(),
            "reason": _string("A stable name, empty if there is nothing to explain"),
            "why": _string("The reason for people"),
            "address": _nullable(_string("What it was about, null if no address", format="ipv4")),
        }
    ),
    "Explanation": _object(
        {
            **_API,
            "because": _array(_string(), "Sentences for people"),
            "decisions": _array(_ref("Decision"), "What was decided lately, the oldest first"),
            "lease": {"anyOf": [_ref("Lease"), {"type": "null"}]},
            "block": {"anyOf": [_ref("Block"), {"type": "null"}]},
        }
    ),
}

_LIMIT = {
    "name": "limit", "in": "query", "schema": _integer(minimum=1, maximum=MAX_PAGE),
    "description": "Rows at most; a page with a \"next\" is not the last even if it is shorter",
}  # fmt: skip


def _query(name: str, schema: Object, text: str) -> Object:
    return {"name": name, "in": "query", "schema": schema, "description": text}


def _path(name: str, schema: Object) -> Object:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _answer(schema: Object, text: str = "The answer") -> Object:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _operation(
    summary: str,
    schema: Object,
    *parameters: Object,
    refused: tuple[int, ...] = (400,),
    changes: bool = False,
    body: Object | None = None,
) -> Object:
    codes = (*refused, *((401, 403) if changes else ()), 503)
    operation: Object = {
        "summary": summary,
        "responses": {"200": _answer(schema)} | {str(code): _answer(_ref("Error"), "Why not") for code in codes},
    }
    if parameters:
        operation["parameters"] = list(parameters)
    if changes:
        operation["security"] = [{"token": []}]
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _list(key: str, item: str, following: Object) -> Object:
    return _object({**_API, key: _array(_ref(item)), "next": following})


def _reservations(with_hosts: bool) -> Object:
    held = {"held": _array(_string(format="ipv4"), "Addresses that an operator holds back")}
    if not with_hosts:
        return _object({**_API, **held})
    host = _object(
        {
            "name": _string(),
            "address": _nullable(_string(format="ipv4")),
            "macs": _array(_string()),
            "deny": _BOOLEAN,
        }
    )
    return _object({**_API, "hosts": _array(host), "left_out": _integer(minimum=0), **held})


def _paths() -> Object:
    code = _path("code", _integer(minimum=1, maximum=254))
    value = _object({"value": _string("Hexadecimal bytes", pattern="^([0-9a-fA-F]{2}){0,255}$")})
    events = _object(
        {
            **_API,
            "instance": _string("Numbers begin anew when this changes"),
            "events": _array(_ref("Event")),
            "missed": _integer("Events after the number asked for that are no longer kept", minimum=0),
            "latest": _integer("Number of the latest event", minimum=0),
        }
    )
    return {
        "/status": {"get": _operation("How the node is, and what is wrong", _ref("Status"))},
        "/history": {
            "get": _operation(
                "The last hour", _object({**_API, "every_s": _integer(), "samples": _array({"type": "object"})})
            )
        },
        "/blocks": {
            "get": _operation(
                "Blocks that are not free, by index",
                _list("blocks", "Block", _nullable(_integer("Give it as \"after\" for the next page"))),
                _query("after", _integer(minimum=0, maximum=1 << 22), "The first index wanted"), _LIMIT,
            )
        },
        "/map": {
            "get": _operation(
                "Who owns how much of a part of the pool", _ref("Map"),
                _query("first", _integer(minimum=0, maximum=1 << 22), "First block of the window"),
                _query("count", _integer(minimum=1, maximum=1 << 22), "Blocks in the window"),
                _query("cells", _integer(minimum=1, maximum=MAX_CELLS), "Cells at most"),
            )
        },
        "/leases": {
            "get": _operation(
                "Leases of this node's blocks, by address",
                _list("leases", "Lease", _nullable(_string("Give it as \"after\" for the next page"))),
                _query("after", _string(format="ipv4"), "The first address wanted"), _LIMIT,
                _query("search", _string(maxLength=MAX_SEARCH), "Part of an address, hardware address or name"),
                _query("copies", _BOOLEAN, "Other nodes' leases of which copies are kept here, instead of our own"),
                _query("state", _string(enum=_LEASE_STATES), "Those in this state only"),
            )
        },
        "/leases/{address}": {
            "delete": _operation(
                "End a lease, as if its client had given it back",
                _object({**_API, "released": _string(format="ipv4"), "mac": _string()}),
                _path("address", _string(format="ipv4")), refused=(400, 404), changes=True,
            )
        },
        "/peers": {
            "get": _operation(
                "The other nodes, the latest heard first",
                _object({**_API, "peers": _array(_ref("Peer")), "left_out": _integer(minimum=0)}), _LIMIT,
            )
        },
        "/events": {
            "get": _operation(
                "The latest events, or those after a number", events,
                _query("after", _integer(minimum=0, maximum=1 << 53), "A number"), _LIMIT,
            )
        },
        "/events/stream": {
            "get": {
                "summary": "Events as they happen",
                "description": "Server-sent events: each datum is an Event; \"missed\" tells how many were lost",
                "responses": {
                    "200": {"description": "A stream that does not end", "content": {"text/event-stream": {}}},
                    "503": _answer(_ref("Error"), "Why not"),
                },
            }
        },
        "/explain/{subject}": {
            "get": _operation(
                "Why an address or a client is served, or is not", _ref("Explanation"),
                _path("subject", _string("An IPv4 address or a hardware address", minLength=1)), refused=(400, 404),
            )
        },
        "/options": {"get": _operation("The DHCP options that clients get", _ref("Options"))},
        "/options/{code}": {
            "put": _operation(
                "Give clients an option until the next start", _ref("Options"), code, refused=(400, 404), changes=True,
                body=value,
            ),
            "delete": _operation("Give it no more", _ref("Options"), code, refused=(400, 404), changes=True),
        },
        "/reservations": {"get": _operation("Reserved hosts, and addresses that are held back", _reservations(True))},
        "/reservations/{address}": {
            "put": _operation(
                "Lease an address to nobody until the next start", _reservations(False),
                _path("address", _string(format="ipv4")), refused=(400, 409), changes=True,
            ),
            "delete": _operation(
                "Let it be leased again", _reservations(False), _path("address", _string(format="ipv4")),
                refused=(400, 404), changes=True,
            ),
        },
        "/drain": {
            "post": _operation(
                "Hand all blocks over, then stop",
                _object(
                    {
                        **_API,
                        "draining": _BOOLEAN,
                        "blocks": _integer("To be handed over"),
                        "takers": _integer("Nodes that could take them"),
                    }
                ),
                changes=True,
            )
        },
        "/reload": {
            "post": _operation(
                "Read the configuration file anew", _object(_API), refused=(400, 409), changes=True
            )
        },
    }  # fmt: skip


def description() -> Object:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ddhcp",
            "version": __version__,
            "description": "What a running ddhcp daemon knows and does. Properties may be added within a version.",
        },
        "servers": [{"url": "/api/v1"}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
