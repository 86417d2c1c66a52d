"""Key files: what is read, which key signs, and the one line that says what is wrong."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ddhcp.daemon.cli import parse
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.keys import MAX_KEYS, load_keys
from ddhcp.daemon.main import _config, _reloader, main
from ddhcp.swarm import Key, KeyRing

NETWORK = IPv4Network("10.0.0.0/16")


def key_file(path: Path, text: str = "0123456789abcdef\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_holds_a_key_whatever_white_space_is_around_it(tmp_path: Path) -> None:
    plain = load_keys(key_file(tmp_path / "a", "0123456789abcdef"), is_mixed=False)
    assert plain == load_keys(key_file(tmp_path / "b", "\n 0123456789abcdef \r\n"), is_mixed=False)
    assert plain == KeyRing(Key.derive(b"0123456789abcdef"), (Key.derive(b"0123456789abcdef"),))
    assert load_keys(tmp_path / "a", is_mixed=True).is_mixed


def test_of_a_directory_all_keys_are_accepted_and_the_last_by_name_signs(tmp_path: Path) -> None:
    for name, text in [("2", "second of the keys"), ("1", "the first of the keys"), (".3", "x" * 20), ("4~", "y" * 20)]:
        key_file(tmp_path / name, text)
    ring = load_keys(tmp_path, is_mixed=False)
    assert ring.signing == Key.derive(b"second of the keys")
    assert len(ring.accepted) == 2


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666, 0o777])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(StartError, match="chmod 600"):
        load_keys(key_file(tmp_path / "key", mode=mode), is_mixed=False)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_key_for_its_owner_and_group_is_read(tmp_path: Path, mode: int) -> None:
    load_keys(key_file(tmp_path / "key", mode=mode), is_mixed=False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "holds 0 bytes"), ("short\n", "holds 5 bytes"), ("x" * 5000, "more than 4096 bytes")],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(StartError, match=reason) as caught:
        load_keys(key_file(tmp_path / "key", content), is_mixed=False)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_overfull_places_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="does not exist; make one with"):
        load_keys(tmp_path / "key", is_mixed=False)
    directory = tmp_path / "keys"
    directory.mkdir()
    with pytest.raises(StartError, match="holds no key"):
        load_keys(directory, is_mixed=False)
    for number in range(MAX_KEYS + 1):
        key_file(directory / f"{number}", f"the key with number {number}")
    with pytest.raises(StartError, match="17 files"):
        load_keys(directory, is_mixed=False)


def test_the_same_key_twice_is_a_mistake(tmp_path: Path) -> None:
    key_file(tmp_path / "1")
    key_file(tmp_path / "2")
    with pytest.raises(StartError, match="two of the keys are the same"):
        load_keys(tmp_path, is_mixed=False)


def test_what_is_no_file_does_not_block_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(StartError, match="not a regular file"):
        load_keys(tmp_path / "fifo", is_mixed=False)


def test_a_reload_reads_the_keys_again_and_bad_ones_leave_everything_as_it_is(tmp_path: Path) -> None:
    path = key_file(tmp_path / "key")
    invocation = parse(["--key-file", str(path)])
    settings = invocation.settings()
    reloader = _reloader(invocation, settings, _config(settings, NETWORK))
    assert reloader is not None
    key_file(path, "another key, sixteen bytes or more")
    keys = reloader.prepare().config.keys
    assert keys is not None
    assert keys.signing == Key.derive(b"another key, sixteen bytes or more")
    path.chmod(0o644)
    with pytest.raises(StartError, match="chmod 600"):
        reloader.prepare()


def test_a_key_that_cannot_be_read_stops_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "ddhcp.toml"
    settings.write_text(f'[swarm]\nkey-file = "{tmp_path}/missing"\n')
    assert main(["--check-config", str(settings)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "missing does not exist" in line
