"""The control socket's texts against those of a classic daemon, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core.views import BlockView, NodeView
from ddhcp.daemon import report
from ddhcp.daemon.report import CLASSIC_STATISTICS, blocks_text, options_text, statistics_text

CAPTURES = Path(__file__).parent.parent / "captures"
NODE = NodeView(
    node_id=bytes.fromhex("622e9730e4090000"),
    prefix=0x0A008000,
    prefix_len=17,
    block_size=4,
    block_count=8192,
    tentative_timeout_s=4,
    block_timeout_s=20,
    spare_leases=2,
    refresh_factor=4,
)
BLOCKS = (
    BlockView(2152, 2, bytes.fromhex("8e535ccb97440000"), 0, 0, 1, 20),
    BlockView(4136, 2, bytes.fromhex("f2843f5154ee0000"), 1, None, None, 14),
    BlockView(6648, 4, NODE.node_id, 3, 0, 0, 20),
)


def foreign(index: int, state: int = 2) -> BlockView:
    return BlockView(index, state, bytes(8), 0, None, None, 60)


def own(index: int) -> BlockView:
    return BlockView(index, 4, NODE.node_id, 3, 0, 0, 60)


def classic(name: str) -> str:
    """A classic answer, its line ends untouched."""
    return (CAPTURES / name).read_bytes().decode()


def test_blocks_as_a_classic_daemon_prints_them() -> None:
    assert blocks_text(NODE, BLOCKS) == classic("classic-ctl-b.txt")


def test_options_as_a_classic_daemon_prints_them() -> None:
    options = {
        54: bytes([10, 0, 0, 1]),
        1: bytes([255, 255, 0, 0]),
        51: bytes([0, 0, 1, 44]),
        6: bytes([10, 0, 0, 53]),
        3: bytes([10, 0, 0, 1]),
        2: bytes(4),
        28: bytes([10, 0, 255, 255]),
    }
    assert options_text(options, 300, False) == classic("classic-ctl-d.txt")


def test_statistics_as_a_classic_daemon_prints_them() -> None:
    text = classic("classic-ctl-s.txt")
    stats = {name: int(value) for name, value in (line.split() for line in text.splitlines())}
    assert statistics_text(dict(sorted(stats.items()))) == text


def test_statistics_keep_every_classic_line_and_put_ours_last_in_order() -> None:
    lines = statistics_text({"swarm.drop.too-short": 2, "dhcp.recv_inform": 7}).splitlines()
    assert [line.split()[0] for line in lines[: len(CLASSIC_STATISTICS)]] == list(CLASSIC_STATISTICS)
    assert lines[len(CLASSIC_STATISTICS) :] == ["dhcp.recv_inform 7", "swarm.drop.too-short 2"]


def test_a_node_without_blocks_still_has_the_table() -> None:
    assert blocks_text(NODE, []).endswith("\tclaim\tleases\ttimeout\n\nblocks in use: 0\n")


def test_blocks_that_are_only_spoken_of_are_not_in_use() -> None:
    tentative, claiming = foreign(1, state=1), foreign(2, state=3)
    text = blocks_text(NODE, [tentative, claiming, own(3)])
    assert "1\t1\t0000000000000000\t0\t-\t60\n" in text
    assert text.endswith("\n\nblocks in use: 1\n")


def test_a_huge_pool_does_not_make_a_huge_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_BLOCK_ROWS", 3)
    text = blocks_text(NODE, [foreign(0), foreign(1), foreign(2), own(3), foreign(4), own(5)])
    rows = text.split("timeout\n")[-1].split("\n\n")[0].splitlines()
    assert [row.split("\t")[0] for row in rows] == ["0", "3", "5"]
    assert text.endswith("\n\nblocks in use: 6\nblocks left out: 3\n")


def test_an_empty_option_has_a_row_and_disabled_is_one() -> None:
    text = options_text({80: b""}, 60, True)
    assert text.endswith("code\tlen\tpayload\n80\t0\t\n")
    assert "DHCP Disabled: 1\n" in text


@given(st.lists(st.builds(BlockView, *[st.integers(0, 5)] * 2, st.just(bytes(8)), *[st.integers(0, 9)] * 4)))
def test_every_block_row_has_six_columns_and_the_count_is_right(blocks: list[BlockView]) -> None:
    lines = blocks_text(NODE, blocks).splitlines()
    rows = lines[9:-2]
    assert [row.count("\t") for row in rows] == [5] * len(blocks)
    assert lines[-1] == f"blocks in use: {sum(block.state in (2, 4) for block in blocks)}"
