"""What becomes of datagrams whose link is not there."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Iterator

import pytest

from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.links import Links


@pytest.fixture
def fed() -> list[e.Event]:
    """What the node was told."""
    return []


@pytest.fixture
def links(fed: list[e.Event]) -> Iterator[Links]:
    """The links of a node whose interfaces do not exist."""
    with selectors.DefaultSelector() as selector:
        links = Links(
            selector, EventLog(logging.NullHandler(), logging.ERROR), server_interface="no-such-link",
            client_interfaces=("nor-this",), counters={},
        )  # fmt: skip
        links.feed = lambda event, now: fed.append(event)
        yield links
        links.close()


def test_the_node_is_told_of_an_announcement_that_came_too_late_for_its_link(links: Links, fed: list[e.Event]) -> None:
    """It waited for the disk; the node counts on it otherwise."""
    links.send(f.SendMulticast(b"claim", durable=True), 1.0)
    assert [type(event) for event in fed] == [e.SendFailed]


def test_what_only_one_node_or_client_would_have_heard_is_lost_in_silence(links: Links, fed: list[e.Event]) -> None:
    links.send(f.SendUnicast(b"answer", bytes(16)), 1.0)
    links.send(f.SendDhcp("nor-this", b"offer", 1, 2, 68, None), 1.0)
    assert not fed
