"""Answers that come just after the timeout: how many each master takes for the next one's, and how much it reads.

    python -m benchmarks.late_answers [--quick] [--json]

One device with one transmitter, late with 2 % of its answers by a little more than the timeout of 100 ms; two blocks of
registers are read in turn, so that an answer taken for the next one has the wrong registers. Every master has a pty and
a device process of its own, all dice fall alike. What the guard costs is a test (tests/native/test_fault_matrix.py): it
needs two builds of the same master. Needs libmodbus5.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.acquisition import reply, running

ROOT = Path(__file__).parent.parent
MASTERS = ("fieldtap", "pymodbus", "pymodbus async", "minimalmodbus", "libmodbus")
CHANCE, DELAY_S = 0.02, 0.102
SEED = 1
SECONDS, QUICK_SECONDS = 20.0, 2.0


class Outcome(NamedTuple):
    """What one master took for good."""

    taken_per_s: float
    wrong: int
    right_per_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds: does it work at all")
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    args = parser.parse_args()
    seconds = QUICK_SECONDS if args.quick else SECONDS
    outcomes = {master: measure(master, seconds) for master in MASTERS}
    print(json.dumps({master: each._asdict() for master, each in outcomes.items()})) if args.json else show(outcomes)


def measure(master: str, seconds: float) -> Outcome:
    device = [sys.executable, "-m", "benchmarks.peers.late_device", str(CHANCE), str(DELAY_S), str(SEED)]
    with running(device, cpu=-2) as child:
        command = [sys.executable, "-m", "benchmarks.peers.late_masters", master, reply(child), str(seconds)]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    taken, wrong = map(int, done.stdout.split())
    return Outcome(taken / seconds, wrong, (taken - wrong) / seconds)


def show(outcomes: dict[str, Outcome]) -> None:
    print(f"{'2 % of the answers come 2 ms after the timeout':48}{'taken/s':>10}{'WRONG':>10}{'right/s':>10}")
    for master, each in outcomes.items():
        print(f"  {master:46}{each.taken_per_s:10.1f}{each.wrong:10}{each.right_per_s:10.1f}")


if __name__ == "__main__":
    main()
