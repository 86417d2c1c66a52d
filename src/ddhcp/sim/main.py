"""The command ``ddhcp-sim``: simulate swarms of nodes and check that no address has two clients, whatever fails."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import math
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from ..core import ConfigError, PoolError
from .draw import draw_setup
from .memory import LARGE_NODES, uncollected, use_large_pages
from .scenarios import SCENARIOS
from .setup import FAULT_KINDS, REMEDY_NAMES, Setup
from .shrink import Shrinker, describe
from .simulation import Report, Simulation, run

EXIT_GOOD, EXIT_SAFETY, EXIT_USAGE, EXIT_SERVICE, EXIT_EXCEPTION, EXIT_TRACE = 0, 1, 2, 3, 4, 5
_EXITS = (
    (("I10",), EXIT_EXCEPTION),
    (("I1", "I2"), EXIT_SAFETY),
    (("I3", "I4", "I5", "I6", "I7", "I8"), EXIT_SERVICE),
)
_DESCRIPTION = """\
Simulate swarms of nodes and check that no address has two clients, whatever
fails."""


def _wrapped(title: str, names: Sequence[str]) -> str:
    """A list of names as a paragraph that fits a terminal."""
    return textwrap.fill(f"{title}: {', '.join(names)}", 80, subsequent_indent="  ", break_on_hyphens=False)


_EPILOG = f"""exit status:
  {EXIT_GOOD}  every invariant held
  {EXIT_SAFETY}  an address had two clients (I1), or a lease outlasted its promise (I2)
  {EXIT_USAGE}  the command line makes no sense
  {EXIT_SERVICE}  clients or the network were served badly (I3 to I8)
  {EXIT_EXCEPTION}  a node raised an exception (I10)
  {EXIT_TRACE}  the same seed gave two different traces (I11, with --twice)

{_wrapped("remedies", REMEDY_NAMES)}
{_wrapped("faults", FAULT_KINDS)}

What is not given on the command line is drawn from the seed. docs/simulator.md
tells more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.scenario is not None:
        return _play(options.scenario)
    try:
        fixed = _fixed(options)
        for seed in _seeds(options)[:1]:
            draw_setup(seed, fixed).node_config()
    except (ValueError, ConfigError, PoolError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_USAGE
    if arguments is None and (options.nodes or 0) >= LARGE_NODES:
        use_large_pages()
    try:
        with contextlib.ExitStack() as stack:
            try:
                trace, lines = _open(stack, options.trace), _open(stack, options.json)
            except OSError as error:
                print(f"{parser.prog}: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
                return EXIT_USAGE
            return _run_all(options, fixed, trace, lines)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ddhcp-sim", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seed", type=int, default=0, metavar="N", help="the first seed (default 0)")
    add("--seeds", type=_positive, default=1, metavar="N", help="how many seeds to run, one after the other")
    add("--jobs", type=_positive, default=1, metavar="N", help="how many to run at a time")
    add("--nodes", type=_positive, metavar="N", help="nodes in the swarm (else 2 to 100)")
    add("--clients", type=_natural, metavar="N", help="clients")
    add("--classic", type=float, default=0.0, metavar="SHARE", help="share of classic nodes, 0 to 1 (default 0)")
    add("--hours", type=float, metavar="H", help="virtual time with faults, in hours")
    add("--lease", type=_positive, metavar="S", help="lease time, in seconds")
    add("--faults", metavar="KINDS", help="which kinds of faults happen, with commas; 'none' for none")
    add("--fault-length", type=float, metavar="F",
        help="the longest silence that a fault makes, as a share of what the promise of a block survives")  # fmt: skip
    add("--without", action="append", default=[], metavar="REMEDY", help="switch a remedy off (may be given again)")
    add("--trace", metavar="FILE", help="write what happens to FILE ('-' for standard output); with one seed")
    add("--json", metavar="FILE", help="write a line of JSON for each seed to FILE ('-' for standard output)")
    add("--shrink", action="store_true", help="look for the smallest part of a failing run that fails still")
    add("--twice", action="store_true", help="run every seed twice and compare the traces (I11)")
    add("--scenario", metavar="NAME",
        help="play the scripted failures of that name ('all': all) with and without their remedy")  # fmt: skip
    add("--quiet", action="store_true", help="show no progress")
    return parser


def _play(name: str) -> int:
    """Play scenarios and print what happened. A remedy has to make the difference."""
    chosen = [scenario for scenario in SCENARIOS if name in ("all", scenario.name)]
    if not chosen:
        names = ", ".join(dict.fromkeys(scenario.name for scenario in SCENARIOS))
        print(f"ddhcp-sim: there is no scenario {name!r}; there are {names}", file=sys.stderr)
        return EXIT_USAGE
    is_good = True
    for scenario in chosen:
        results = [scenario.fails(has_remedy=has_remedy) for has_remedy in (True, False)]
        is_good = is_good and results == [False, True]
        told = ["fails" if failed else "holds" for failed in results]
        aside = f" (without {', '.join(remedy.value for remedy in scenario.aside)})" if scenario.aside else ""
        print(f"{scenario.name}: {told[0]} with {scenario.remedy}, {told[1]} without{aside}")
    return EXIT_GOOD if is_good else EXIT_SAFETY


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _fixed(options: argparse.Namespace) -> dict[str, object]:
    """What the command line fixes. Raises ValueError."""
    fixed: dict[str, Any] = {"classic": options.classic, "without": frozenset(options.without)}
    for name in ("nodes", "clients", "fault_length"):
        if getattr(options, name) is not None:
            fixed[name] = getattr(options, name)
    if not 0 <= fixed.get("fault_length", 0.0) < math.inf:
        raise ValueError(f"a fault length of {options.fault_length} is none; give 0 or more")
    if options.trace is not None and options.seeds > 1:
        raise ValueError(f"a trace of {options.seeds} seeds would mix them; leave out --seeds or --trace")
    if options.lease is not None:
        fixed["lease_s"] = options.lease
    if options.hours is not None:
        if not 0 < options.hours < math.inf:
            raise ValueError(f"{options.hours} hours are no time; give more than 0")
        fixed["safety_s"] = options.hours * 3600
    if options.faults is not None:
        fixed["faults"] = () if options.faults == "none" else tuple(options.faults.split(","))
    return fixed


def _seeds(options: argparse.Namespace) -> range:
    return range(options.seed, options.seed + options.seeds)


def simulate(
    seed: int, fixed: dict[str, object], *, trace: TextIO | None = None, is_told: bool = False, twice: bool = False
) -> tuple[Report, bool]:
    """Run one seed. Returns the report and whether a second run (``twice``) gave the same trace."""
    setup = draw_setup(seed, fixed)
    with uncollected():
        report = run(Simulation(setup, seed, trace=trace), progress=_progress(seed) if is_told else None)
    if not twice:
        return report, True
    with uncollected():
        return report, run(Simulation(setup, seed)).digest == report.digest


class _progress:
    """Shows on standard error how far a run has come."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._began_at = time.monotonic()

    def __call__(self, phase: str, now: float, end: float) -> None:
        took_s = time.monotonic() - self._began_at
        print(
            f"\rseed {self._seed}: {phase} phase, {now:.0f} of {end:.0f} s, {now / max(took_s, 1e-9):.0f} x real time ",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip


def _simulate_job(seed: int, fixed: dict[str, object], twice: bool) -> tuple[Report, bool]:
    return simulate(seed, fixed, twice=twice)


def _results(
    options: argparse.Namespace, fixed: dict[str, object], trace: TextIO | None
) -> Iterator[tuple[Report, bool]]:
    seeds = _seeds(options)
    is_told = not options.quiet and sys.stderr.isatty()
    if options.jobs == 1:
        for seed in seeds:
            yield simulate(seed, fixed, trace=trace, is_told=is_told, twice=options.twice)
        return
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        waiting: set[concurrent.futures.Future[tuple[Report, bool]]] = set()
        for seed in seeds:
            waiting.add(pool.submit(_simulate_job, seed, fixed, options.twice))
            if len(waiting) >= 4 * options.jobs:
                done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                yield from (future.result() for future in done)
        for future in concurrent.futures.as_completed(waiting):
            yield future.result()


def _run_all(options: argparse.Namespace, fixed: dict[str, object], trace: TextIO | None, lines: TextIO | None) -> int:
    counts: dict[str, int] = {}
    seconds = by_classic = 0.0
    done = 0
    is_same = True
    began_at = told_at = time.monotonic()
    for report, same in _results(options, fixed, trace):
        done += 1
        seconds += report.duplicate_seconds
        by_classic += report.duplicate_seconds_by_classic
        for invariant in report.invariants():
            counts[invariant] = counts.get(invariant, 0) + 1
        if lines is not None:
            lines.write(json.dumps(report.as_dict()) + "\n")
            lines.flush()
        if not same:
            is_same = False
            print(f"\rseed {report.seed}: two runs gave different traces (I11)")
        if not report.is_good:
            _tell(options, report)
        if not options.quiet and time.monotonic() - told_at > 2.0:
            told_at = time.monotonic()
            rate = done / (told_at - began_at)
            print(f"\r{done} of {options.seeds} seeds, {rate:.1f} a second, {sum(counts.values())} violations ",
                  end="", file=sys.stderr, flush=True)  # fmt: skip
    if not options.quiet:
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
    out = sys.stderr if "-" in (options.json, options.trace) else sys.stdout
    print(_summary(done, counts, seconds, by_classic, time.monotonic() - began_at), file=out)
    if counts:
        return next((status for invariants, status in _EXITS if any(i in counts for i in invariants)), EXIT_SERVICE)
    return EXIT_GOOD if is_same else EXIT_TRACE


def _open(stack: contextlib.ExitStack, path: str | None) -> TextIO | None:
    if path is None:
        return None
    return sys.stdout if path == "-" else stack.enter_context(open(path, "w"))


def _tell(options: argparse.Namespace, report: Report) -> None:
    """Describe a failure so that it can be seen again."""
    setup = report.setup
    print(f"\rseed {report.seed} ({setup.nodes} nodes, {setup.clients} clients, lease {setup.lease_s} s): "
          f"{', '.join(report.invariants())}")  # fmt: skip
    shown: set[str] = set()
    for violation in report.violations:
        if violation.invariant in shown:
            continue
        shown.add(violation.invariant)
        print(f"  {violation.at:.1f} s: {violation.invariant} {violation.text}")
        for line in violation.context:
            print(f"    {line}")
    if options.shrink:
        _shrink(options, report, setup)


def _shrink(options: argparse.Namespace, report: Report, setup: Setup) -> None:
    def tell(line: str) -> None:
        if not options.quiet:
            print(f"\r{line} ", end="", file=sys.stderr, flush=True)

    shrunk = Shrinker(setup, report.seed, report.violations[0].invariant, tell).shrink()
    if shrunk is not None:
        print("\r" + "\n".join(describe(shrunk)))


def _summary(done: int, counts: dict[str, int], seconds: float, by_classic: float, took_s: float) -> str:
    violated = ", ".join(f"{name} in {count}" for name, count in sorted(counts.items())) or "none"
    text = f"{done} seeds in {took_s:.1f} s; violations: {violated}; duplicate address-seconds: {seconds:.1f}"
    return text + (f", by classic nodes: {by_classic:.1f}" if by_classic else "")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        os._exit(EXIT_USAGE)
