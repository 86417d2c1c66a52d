"""Answer texts read back to plain data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core.views import BlockView, NodeView
from ddhcp.ctl.answers import Parser, parse_blocks, parse_options, parse_statistics
from ddhcp.daemon.report import CLASSIC_STATISTICS, blocks_text, options_text, statistics_text

CAPTURES = Path(__file__).parent.parent / "captures"
PARSERS = [parse_blocks, parse_options, parse_statistics]
counts = st.integers(0, 1 << 32)


def test_a_classic_block_table() -> None:
    assert parse_blocks((CAPTURES / "classic-ctl-b.txt").read_text()) == {
        "block_size": 4,
        "block_count": 8192,
        "tentative_timeout_s": 4,
        "timeout_s": 20,
        "refresh_factor": 4,
        "spare_leases": 2,
        "network": "10.0.128.0/17",
        "node_id": "622E9730E4090000",
        "blocks_in_use": 3,
        "blocks": [
            row(2152, 2, "claimed", "8E535CCB97440000", 0, 0, 1, 20),
            row(4136, 2, "claimed", "F2843F5154EE0000", 1, None, None, 14),
            row(6648, 4, "ours", "622E9730E4090000", 3, 0, 0, 20),
        ],
    }


def row(
    index: int, state: int, name: str, owner: str, claims: int, offered: int | None, leased: int | None, left: int
) -> dict[str, object]:
    return {
        "index": index,
        "state": state,
        "state_name": name,
        "owner": owner,
        "claim_count": claims,
        "offered": offered,
        "leased": leased,
        "timeout_s": left,
    }


@pytest.mark.parametrize(
    "line",
    [
        "7 4 622E9730E4090000 3 0/2 20",
        "7\t4\t622e9730e4090000\t\t3\t0/2\t20\t",
        "7\t4\t622E9730E4090000\t3\t0/2\t20\tmore\t1",
    ],
)
def test_a_row_is_read_however_its_columns_are_set(line: str) -> None:
    assert parse_blocks(line)["blocks"] == [row(7, 4, "ours", "622E9730E4090000", 3, 0, 2, 20)]


def test_a_table_that_was_cut_short_says_so() -> None:
    assert parse_blocks("\nblocks in use: 6\nblocks left out: 3\n") == {
        "blocks_in_use": 6,
        "blocks_left_out": 3,
        "blocks": [],
    }


def test_a_state_of_a_later_build_is_kept() -> None:
    expected = row(7, 9, "unknown", "622E9730E4090000", 3, None, None, -4)
    assert parse_blocks("7\t9\t622E9730E4090000\t3\t-\t-4")["blocks"] == [expected]


def test_classic_options() -> None:
    data = parse_options((CAPTURES / "classic-ctl-d.txt").read_text())
    assert (data["lease_time_s"], data["disabled"]) == (300, False)
    options = data["options"]
    assert isinstance(options, list)
    assert [option["code"] for option in options] == [54, 1, 51, 6, 3, 2, 28]
    assert options[3] == {"code": 6, "payload": [10, 0, 0, 53]}


@pytest.mark.parametrize("line", ["6\t4\t10\t0\t0", "6\t1\t256\t", "300\t1\t1\t"])
def test_an_option_that_contradicts_itself_is_passed_over(line: str) -> None:
    assert parse_options(f"DHCP Lease Time: 300\n{line}\n")["options"] == []


def test_classic_statistics_keep_their_order() -> None:
    data = parse_statistics((CAPTURES / "classic-ctl-s.txt").read_text())
    assert list(data) == list(CLASSIC_STATISTICS)
    assert data["mcast.recv_byte"] == 1092


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("text", ["", "\n\n", "no such thing\n", "\x00\x1b[2J"])
def test_a_foreign_answer_is_refused(parser: Parser, text: str) -> None:
    with pytest.raises(ValueError, match="the answer"):
        parser(text)


@pytest.mark.parametrize("parser", PARSERS)
@given(text=st.text(max_size=200) | st.from_regex(r"([a-z0-9./:\t -]{0,40}\n){0,6}", fullmatch=True))
def test_arbitrary_text_raises_nothing_but_value_errors(parser: Parser, text: str) -> None:
    try:
        data = parser(text)
    except ValueError:
        return
    assert json.loads(json.dumps(data)) == data


@given(
    st.lists(
        st.builds(
            BlockView,
            index=counts,
            state=st.integers(0, 5),
            owner=st.binary(min_size=8, max_size=8),
            claim_count=counts,
            offered=counts,
            leased=counts,
            timeout_s=counts,
        )
    )
)
def test_the_reader_undoes_the_block_table(blocks: list[BlockView]) -> None:
    node = NodeView(bytes(8), 0x0A000000, 8, 4, 1 << 22, 12, 60, 2, 4)
    data = parse_blocks(blocks_text(node, blocks))
    names = ("free", "tentative", "claimed", "claiming", "ours", "blocked")
    assert data["blocks"] == [
        row(
            block.index,
            block.state,
            names[block.state],
            block.owner.hex().upper(),
            block.claim_count,
            block.offered,
            block.leased,
            block.timeout_s,
        )
        for block in blocks
    ]
    assert data["network"] == "10.0.0.0/8"


@given(st.dictionaries(st.integers(1, 254), st.binary(max_size=255)), counts, st.booleans())
def test_the_reader_undoes_the_option_table(options: dict[int, bytes], lease_time_s: int, off: bool) -> None:
    assert parse_options(options_text(options, lease_time_s, off)) == {
        "lease_time_s": lease_time_s,
        "disabled": off,
        "options": [{"code": code, "payload": list(value)} for code, value in options.items()],
    }


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.\-]{0,20}", fullmatch=True), counts))
def test_the_reader_undoes_the_statistics(stats: dict[str, int]) -> None:
    data = parse_statistics(statistics_text(stats))
    assert data == dict.fromkeys(CLASSIC_STATISTICS, 0) | stats
