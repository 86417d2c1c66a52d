"""Requests on the control socket: what classic tools send, and everything else that may arrive."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.ctl.protocol import (
    MAX_REQUEST,
    Command,
    Request,
    default_socket_path,
    lease_time_request,
    parse_option_code,
    parse_option_spec,
    parse_request,
    request_is_complete,
)

codes = st.integers(1, 254)
requests = st.one_of(
    st.sampled_from([Command.SHOW_BLOCKS, Command.SHOW_OPTIONS]).map(Request),
    st.sampled_from([Command.STATISTICS, Command.STATISTICS_RESET]).map(Request),
    st.builds(lambda c, p: Request(Command.SET_OPTION, code=c, payload=p), codes, st.binary(max_size=255)),
    st.builds(lambda c: Request(Command.REMOVE_OPTION, code=c), codes),
    st.builds(lambda level: Request(Command.SET_LOG_LEVEL, level=level), st.integers(0, 255)),
    st.builds(
        lambda name, more: Request(Command.JSON, arguments={**more, "command": name}),
        st.text(max_size=20),
        st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9) | st.none(), max_size=4),
    ),
)


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        ("01", Request(Command.SHOW_BLOCKS)),
        ("02", Request(Command.SHOW_OPTIONS)),
        ("0303040a000001", Request(Command.SET_OPTION, code=3, payload=b"\x0a\0\0\x01")),
        ("035000", Request(Command.SET_OPTION, code=80)),
        ("0406", Request(Command.REMOVE_OPTION, code=6)),
        ("0507", Request(Command.SET_LOG_LEVEL, level=7)),
        ("06", Request(Command.STATISTICS)),
        ("07", Request(Command.STATISTICS_RESET)),
        ("40" + b'{"command":"status"}'.hex(), Request(Command.JSON, arguments={"command": "status"})),
    ],
)
def test_each_request_has_these_bytes(data: str, request_: Request) -> None:
    assert parse_request(bytes.fromhex(data)) == request_
    assert parse_request(request_.encode()) == request_


def test_a_classic_tool_may_send_its_whole_buffer() -> None:
    assert parse_request(b"\x01" + bytes(40)) == Request(Command.SHOW_BLOCKS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x00", "unknown command 0"),
        (b"\x08", "unknown command 8"),
        (b"\x03", "before an option code"),
        (b"\x03\x03", "before an option length"),
        (b"\x03\x03\x04\x0a", "announces 4 bytes but has 1"),
        (b"\x03\x00\x00", "option code 0"),
        (b"\x03\xff\x00", "option code 255"),
        (b"\x04", "before an option code"),
        (b"\x05", "before a log level"),
        (b"\x40", "JSON"),
        (b"\x40[1]", "JSON"),
        (b"\x40{}", "JSON"),
        (b'\x40{"command":1}', "JSON"),
        (b"\x40\xff\xfe", "JSON"),
        (b"\x40" + b"[" * 4000, "JSON"),
        (b'\x40{"command":"x","a":NaN}', "JSON"),
        (b'\x40{"command":"\\ud800"}', "JSON"),
        (b"\x01" * (MAX_REQUEST + 1), "longer"),
    ],
)
def test_what_is_not_a_request_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_request(data)
    assert "\n" not in str(caught.value)


@given(requests)
def test_every_request_survives_the_socket(request_: Request) -> None:
    assert parse_request(request_.encode()) == request_


@given(requests.filter(lambda request_: request_.command is not Command.JSON))
def test_a_classic_request_is_complete_with_its_last_byte_and_not_before(request_: Request) -> None:
    data = request_.encode()
    assert [request_is_complete(data[:size]) for size in range(len(data))] == [False] * len(data)
    assert request_is_complete(data)


def test_a_json_request_ends_only_with_the_half_close_or_when_it_is_too_long() -> None:
    assert not request_is_complete(b'\x40{"command":"status"}')
    assert request_is_complete(b"\x40" + b" " * MAX_REQUEST)


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b"\x40" + tail))
def test_garbage_raises_nothing_but_value_errors(data: bytes) -> None:
    try:
        request_ = parse_request(data)
    except ValueError:
        return
    assert request_.command == data[0]


class TestOptionSpec:
    def test_the_classic_spelling(self) -> None:
        assert parse_option_spec("3:4:10.0.0.1") == (3, bytes([10, 0, 0, 1]))
        assert parse_option_spec("80:0:") == (80, b"")

    @given(codes, st.binary(max_size=255))
    def test_any_option_can_be_written(self, code: int, payload: bytes) -> None:
        spec = f"{code}:{len(payload)}:" + ".".join(str(byte) for byte in payload)
        assert parse_option_spec(spec) == (code, payload)

    @pytest.mark.parametrize(
        "spec",
        [
            "",
            "3",
            "3:4",
            "3:4:10.0.0.1:5",
            "0:1:1",
            "255:1:1",
            "3:5:10.0.0.1",
            "3:4:10.0.0.256",
            "3:4:10.0.0.-1",
            "3:4:10.0.0.",
            "3:4:10.0.0.0x1",
            "3:4:10.0.0. 1",
            "3:1:²",
            "3:1:1_0",
            "-3:1:1",
            "3:1:" + "9" * 5000,
        ],
    )
    def test_anything_else_is_refused_in_one_short_line(self, spec: str) -> None:
        with pytest.raises(ValueError, match=r"option|byte|length") as caught:
            parse_option_spec(spec)
        assert len(str(caught.value)) < 120

    @given(st.text(max_size=30))
    def test_arbitrary_text_raises_nothing_but_value_errors(self, spec: str) -> None:
        try:
            code, payload = parse_option_spec(spec)
        except ValueError:
            return
        assert 1 <= code <= 254
        assert len(payload) <= 255

    def test_codes_alone(self) -> None:
        assert parse_option_code("6") == 6
        for text in ("0", "255", "six", ""):
            with pytest.raises(ValueError, match="option code"):
                parse_option_code(text)


def test_the_lease_time_is_option_51_in_network_order() -> None:
    assert lease_time_request(300).encode() == bytes([3, 51, 4, 0, 0, 1, 44])
    for seconds in (0, -1, 1 << 32):
        with pytest.raises(ValueError, match="lease time"):
            lease_time_request(seconds)


@pytest.mark.parametrize(
    ("environment", "uid", "path"),
    [
        ({"DDHCP_RUNTIME_DIR": "/x"}, 0, "/x/ddhcp.sock"),
        ({"DDHCP_RUNTIME_DIR": "/x", "XDG_RUNTIME_DIR": "/y"}, 7, "/x/ddhcp.sock"),
        ({"XDG_RUNTIME_DIR": "/y"}, 0, "/run/ddhcp/ddhcp.sock"),
        ({"XDG_RUNTIME_DIR": "/y"}, 7, "/y/ddhcp/ddhcp.sock"),
        ({}, 7, "/home/u/.cache/ddhcp/ddhcp.sock"),
    ],
)
def test_the_socket_stands_where_only_its_owner_can_write(
    environment: dict[str, str], uid: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DDHCP_RUNTIME_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/u")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert default_socket_path() == Path(path)
