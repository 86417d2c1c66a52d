"""ddhcpctl against a real UNIX stream socket that answers as a daemon does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctl_daemon import Daemon
from ddhcp.ctl import connection
from ddhcp.ctl import main as ctl
from ddhcp.ctl.protocol import Command, Request, parse_request

CAPTURES = Path(__file__).parent.parent / "captures"
BLOCKS = (CAPTURES / "classic-ctl-b.txt").read_bytes()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "ctl")
    yield daemon
    daemon.close()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(daemon: Daemon, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    def run(*arguments: str, answer: bytes = b"") -> tuple[int, str, str]:
        daemon.answer = lambda request: answer
        try:
            status = ctl.main(["-C", str(daemon.path), *arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return run


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["-b"], b"\x01"),
        (["--blocks"], b"\x01"),
        (["-d"], b"\x02"),
        (["--dhcp-options"], b"\x02"),
        (["-o", "3:4:10.0.0.1"], b"\x03\x03\x04\x0a\x00\x00\x01"),
        (["--set-option", "3:4:10.0.0.1"], b"\x03\x03\x04\x0a\x00\x00\x01"),
        (["-r", "3"], b"\x04\x03"),
        (["--remove-option", "3"], b"\x04\x03"),
        (["-l", "300"], b"\x03\x33\x04\x00\x00\x01\x2c"),
        (["--lease-time", "300"], b"\x03\x33\x04\x00\x00\x01\x2c"),
        (["-v", "2"], b"\x05\x02"),
        (["--log-level", "2"], b"\x05\x02"),
        (["-s"], b"\x06"),
        (["--statistics"], b"\x06"),
        (["-S"], b"\x07"),
        (["--reset-statistics"], b"\x07"),
    ],
)
def test_each_action_sends_the_classic_bytes_and_prints_the_answer_untouched(
    run: Run, daemon: Daemon, arguments: list[str], sent: bytes
) -> None:
    assert run(*arguments, answer=BLOCKS) == (0, BLOCKS.decode(), "")
    assert daemon.requests == [sent]


def test_bytes_that_are_no_text_pass_through(daemon: Daemon, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    daemon.answer = lambda request: b"\xff\xfe\x00"
    assert ctl.main(["-C", str(daemon.path), "-s"]) == 0
    assert capfdbinary.readouterr().out == b"\xff\xfe\x00"


def test_blocks_as_json(run: Run) -> None:
    status, out, err = run("-b", "--json", answer=BLOCKS)
    assert (status, err) == (0, "")
    assert [block["index"] for block in json.loads(out)["blocks"]] == [2152, 4136, 6648]


def test_options_and_statistics_as_json(run: Run) -> None:
    _, out, _ = run("-d", "--json", answer=(CAPTURES / "classic-ctl-d.txt").read_bytes())
    assert json.loads(out)["lease_time_s"] == 300
    _, out, _ = run("-S", "--json", answer=(CAPTURES / "classic-ctl-s.txt").read_bytes())
    assert json.loads(out)["mcast.recv_pkg"] == 48


def test_a_change_says_that_it_was_made(run: Run) -> None:
    assert run("-r", "3") == (0, "", "")
    status, out, _ = run("-r", "3", "--json")
    assert (status, json.loads(out)) == (0, {"ok": True})


def test_status_is_a_json_request(run: Run, daemon: Daemon) -> None:
    status, out, _ = run("--status", answer=b'{"node_id": "622E9730E4090000"}')
    assert (status, json.loads(out)) == (0, {"node_id": "622E9730E4090000"})
    request = parse_request(daemon.requests[0])
    assert (request.command, request.arguments) == (Command.JSON, {"command": "status"})


@pytest.mark.parametrize(
    ("arguments", "answer", "words"),
    [
        (["-b"], b"", "without an answer"),
        (["-b", "--json"], b"", "without an answer"),
        (["-b", "--json"], b"gibberish", "not a block table"),
        (["--status"], b"", "classic daemon"),
        (["--status"], b"gibberish", "not JSON"),
        (["--status"], b"[]", "not a JSON object"),
        (["--status"], b'{"error": "not\\nnow"}', "not?now"),
        (["-r", "3"], b"error: option 3 is not set\n", "option 3 is not set"),
        (["-r", "3"], b"error: \x1b[2Jgone\nmore", "?[2Jgone"),
        (["-b", "-d"], b"", "not allowed with"),
        ([], b"", "required"),
        (["-o", "3:4"], b"", "CODE:LEN"),
        (["-o", "3:4:1.2.3"], b"", "announces 4 bytes"),
        (["-r", "0"], b"", "option code 0"),
        (["-l", "0"], b"", "lease time 0 s"),
        (["-l", "-5"], b"", "lease"),
        (["-l", "1e3"], b"", "not a number"),
        (["-v", "256"], b"", "log level 256"),
        (["--no-such"], b"", "unrecognized"),
    ],
)
def test_what_goes_wrong_is_one_line_and_status_2(run: Run, arguments: list[str], answer: bytes, words: str) -> None:
    status, out, err = run(*arguments, answer=answer)
    assert (status, out) == (2, "")
    assert err.startswith("ddhcpctl: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert words in err


def test_no_socket_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["-C", str(tmp_path / "nothing"), "-b"]) == 2
    assert "is the daemon running?" in capsys.readouterr().err


def test_a_stale_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_over:
        left_over.bind(str(tmp_path / "ctl"))
    assert ctl.main(["-C", str(tmp_path / "ctl"), "-b"]) == 2
    assert "nobody listens" in capsys.readouterr().err


def test_a_path_that_no_socket_can_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["-C", str(tmp_path / ("x" * 200)), "-b"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def default_socket_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDHCP_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(connection, "default_socket_path", lambda: path)


def test_a_directory_that_the_environment_names_is_the_only_one(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDHCP_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(connection, "CLASSIC_SOCKET_PATH", daemon.path)
    assert ctl.main(["-b"]) == 2
    assert f"no control socket at {tmp_path}/none/ddhcp.sock;" in capsys.readouterr().err


def test_without_a_socket_of_ours_the_classic_one_is_asked_and_named(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    default_socket_at(tmp_path / "none", monkeypatch)
    monkeypatch.setattr(connection, "CLASSIC_SOCKET_PATH", daemon.path)
    daemon.answer = lambda request: BLOCKS
    assert ctl.main(["-b"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == BLOCKS
    assert b"classic" in err
    assert err.count(b"\n") == 1


def test_a_socket_of_ours_goes_before_a_classic_one(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    default_socket_at(daemon.path, monkeypatch)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as classic:
        classic.bind(str(tmp_path / "classic"))
        monkeypatch.setattr(connection, "CLASSIC_SOCKET_PATH", tmp_path / "classic")
        assert connection.find_socket() == daemon.path
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["-b"], ["-C", "mesh", "-b"]])
def test_the_daemon_of_a_swarm_is_found_by_its_name_or_because_no_other_runs(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    default_socket_at(tmp_path / "ddhcp.sock", monkeypatch)
    (tmp_path / "mesh").mkdir()
    daemon = Daemon(tmp_path / "mesh" / "ddhcp.sock", lambda request: BLOCKS)
    assert ctl.main(arguments) == 0
    assert capfdbinary.readouterr() == (BLOCKS, b"")
    daemon.close()


def test_of_several_daemons_the_name_has_to_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    default_socket_at(tmp_path / "ddhcp.sock", monkeypatch)
    for name in ("mesh", "lab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ddhcp.sock").touch()
    assert ctl.main(["-b"]) == 2
    assert "say which with -C NAME: lab, mesh" in capsys.readouterr().err


def test_a_swarm_that_does_not_run_is_looked_for_where_it_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDHCP_RUNTIME_DIR", str(tmp_path))
    assert ctl.main(["-C", "lab", "-b"]) == 2
    assert f"no control socket at {tmp_path}/lab/ddhcp.sock" in capsys.readouterr().err


@pytest.mark.parametrize("planted", ["a file", "a stranger's socket", "a link"])
def test_what_a_stranger_may_have_put_in_place_of_the_classic_socket_is_not_trusted(
    daemon: Daemon,
    planted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    default_socket_at(tmp_path / "none", monkeypatch)
    path = tmp_path / "planted"
    if planted == "a file":
        path.touch()
    elif planted == "a link":
        path.symlink_to(daemon.path)
    else:
        path = daemon.path
        if os.geteuid() == 0:
            os.chown(path, 4242, -1)
        else:
            monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr(connection, "CLASSIC_SOCKET_PATH", path)
    assert ctl.main(["-b"]) == 2
    assert f"no control socket at {tmp_path}/none;" in capsys.readouterr().err


def test_a_stuck_daemon_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "ctl"))
        listener.listen()
        with pytest.raises(connection.CtlError, match="did not answer"):
            list(connection.ask(tmp_path / "ctl", Request(Command.SHOW_BLOCKS), timeout_s=0.05))


def test_an_answer_without_end_is_not_collected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER", 1000)
    status, _, err = run("-s", "--json", answer=b"x" * 100_000)
    assert status == 2
    assert "longer than 1000 bytes" in err


def test_help_bears_any_default_path(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDHCP_RUNTIME_DIR", "/100%s")
    status, out, _ = run("--help")
    assert status == 0
    assert "/100%s/ddhcp.sock" in out


def test_help_teaches_by_example(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    for word in ("--blocks", "--set-option", "--json", "examples:", "-o 6:4:10.0.0.53", "block states"):
        assert word in out


def test_version(run: Run) -> None:
    status, out, _ = run("-V")
    assert status == 0
    assert out.startswith("ddhcpctl ")


def test_a_reader_that_leaves_early_causes_no_traceback(daemon: Daemon) -> None:
    daemon.answer = lambda request: BLOCKS * 10_000
    reading, writing = os.pipe()
    os.close(reading)
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "ddhcp.ctl.main", "-C", str(daemon.path), "-b"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    assert (finished.returncode, finished.stderr) == (141, b"")


def test_an_output_that_takes_no_more_is_one_line_and_status_2(daemon: Daemon) -> None:
    daemon.answer = lambda request: BLOCKS
    with open("/dev/full", "wb") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "ddhcp.ctl.main", "-C", str(daemon.path), "-b"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=30,
            check=False,
        )
    assert finished.returncode == 2
    assert finished.stderr.startswith(b"ddhcpctl: cannot write the answer: ")
    assert finished.stderr.count(b"\n") == 1
