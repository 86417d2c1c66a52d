"""The import rules: what is pure stays pure, and the simulator and the daemon do not know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

# The pure packages, with what each may import of the project.
PURE = {
    "ddhcp.values": (),
    "ddhcp.dhcp": ("ddhcp.values",),
    "ddhcp.swarm": ("ddhcp.values",),
    "ddhcp.core": ("ddhcp.values", "ddhcp.dhcp", "ddhcp.swarm"),
}

# What pure code may use of the standard library: nothing that reads a clock, draws randomness on its own, does I/O,
# starts threads or keeps global state. `random` is allowed for the type random.Random, whose instance is handed in;
# `logging` only for its level numbers.
PURE_STDLIB = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "inspect",
    "ipaddress",
    "itertools",
    "logging",
    "math",
    "operator",
    "random",
    "struct",
    "types",
    "typing",
    "zlib",
}
ALLOWED_ATTRIBUTES = {"random": {"Random"}, "logging": {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}}
FORBIDDEN_BUILTINS = {"open", "print", "input", "__import__", "exec", "eval", "breakpoint", "hash", "id"}


def modules(package: str) -> list[Path]:
    path = SOURCE / package.replace(".", "/")
    return sorted(path.rglob("*.py")) or [path.with_suffix(".py")]


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """Every import anywhere in the file, as (absolute module, imported name or None)."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def impurities(path: Path, package: str) -> list[str]:
    """What the file may not do as part of the pure package."""
    found = []
    for module, name in imports(path):
        full = f"{module}.{name}" if name else module
        if within(module, "ddhcp"):
            # `from .. import x` names a package by what is imported from it
            target = full if module == "ddhcp" else module
            pure = any(within(target, allowed) for allowed in (package, *PURE[package]))
        else:
            pure = module in PURE_STDLIB and (name is None or name in ALLOWED_ATTRIBUTES.get(module, (name,)))
        if not pure:
            found.append(f"imports {full}")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            allowed = ALLOWED_ATTRIBUTES.get(node.value.id)
            if allowed is not None and node.attr not in allowed:
                found.append(f"line {node.lineno}: uses {node.value.id}.{node.attr}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_BUILTINS:
            found.append(f"line {node.lineno}: calls {node.func.id}")
    return found


@pytest.mark.parametrize("package", sorted(PURE))
def test_pure_packages_stay_pure(package: str) -> None:
    files = modules(package)
    assert files, f"{package} has no modules"
    found = {module_name(path): impure for path in files if (impure := impurities(path, package))}
    assert not found


@pytest.mark.parametrize(("package", "other"), [("ddhcp.sim", "ddhcp.daemon"), ("ddhcp.daemon", "ddhcp.sim")])
def test_simulator_and_daemon_do_not_know_each_other(package: str, other: str) -> None:
    for path in modules(package):
        reached = {f"{module}.{name}" if name else module for module, name in imports(path)}
        assert not {r for r in reached if within(r, other)}, module_name(path)


@pytest.mark.parametrize(
    "text",
    [
        "import socket",
        "from time import monotonic",
        "def f():\n    import os",
        "from ..daemon import main",
        "from .. import daemon",
        "import random\nrandom.random()",
        "from random import randint",
        "import logging\nlogging.getLogger()",
        "open('/etc/passwd')",
    ],
)
def test_the_rule_finds_what_it_forbids(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ddhcp" / "core" / "example.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    monkeypatch.setattr("test_imports.SOURCE", tmp_path)
    assert impurities(path, "ddhcp.core")
