"""Fuzzing that is guided by coverage (atheris, which is libFuzzer): the same targets and seeds as the short test.

Usage: python tests/fuzz/guided.py [--minutes 2] [TARGET...]

Each target runs in a process of its own. Inputs that reached something new are kept in build/fuzz/TARGET and are what
the next run begins with; an input that breaks a property is written to build/fuzz/TARGET-*, and the exit status
is 1. `python tests/fuzz/guided.py --replay TARGET FILE` plays one input.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLACE = ROOT / "build" / "fuzz"
NAMES = ("dhcp", "swarm", "seal", "control", "settings", "node", "session")
MAX_BYTES = {"settings": 16384, "node": 4096, "session": 1024}  # of an input; 2048 for the others
SLOW_S = 10  # an input that takes longer is a finding
MEMORY_MB = 1024  # so is more memory than that
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERED = re.compile(r"cov: (\d+)")


def fuzz(name: str, arguments: list[str]) -> None:
    """Be the fuzzer of one target, with the arguments of libFuzzer; does not return."""
    import atheris

    with atheris.instrument_imports(include=["ddhcp"], enable_loader_override=False):
        from fuzz_targets import TARGETS
    target = TARGETS[name]()
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


def run(name: str, seconds: int) -> tuple[int, int, list[Path]]:
    """Fuzz one target for a while: how many inputs, how many places in the code were reached, and what broke it."""
    from fuzz_seeds import seeds

    corpus = PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds(name):
        (corpus / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)
    began = time.time()
    command = [
        sys.executable, __file__, "--target", name, str(corpus), f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES.get(name, 2048)}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={PLACE / name}-", "-print_final_stats=1", "-reload=0",
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    log = PLACE / f"{name}.log"
    log.write_text(finished.stdout + finished.stderr)
    executed = _EXECUTED.search(finished.stderr)
    covered = _COVERED.findall(finished.stderr)
    broken = [path for path in PLACE.glob(f"{name}-*-*") if path.stat().st_mtime >= began - 1]
    if finished.returncode and not broken:
        raise SystemExit(f"the fuzzer of {name} failed; see {log}")
    return int(executed[1]) if executed else 0, int(covered[-1]) if covered else 0, broken


def main() -> int:
    """Fuzz the targets one after another and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--minutes", type=float, default=2.0, help="for each target (default 2)")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="play one input and show what breaks")
    parser.add_argument("--target", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(HERE)]
    os.chdir(ROOT)
    if options.target:
        fuzz(options.target[0], options.target[1:])
    if options.replay:
        from fuzz_targets import TARGETS

        TARGETS[options.replay[0]]()(Path(options.replay[1]).read_bytes())
        return 0
    if unknown := set(options.targets) - set(NAMES):
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    failed = False
    print("target      inputs    reached", flush=True)
    for name in options.targets or NAMES:
        inputs, covered, broken = run(name, int(options.minutes * 60))
        print(f"{name:9} {inputs:8}  {covered:8}", *(f"  BROKEN by {path}" for path in broken), flush=True)
        failed |= bool(broken)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
