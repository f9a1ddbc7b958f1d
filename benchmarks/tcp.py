"""Modbus TCP beside its peers: transactions/s and CPU of each with 1, 4 and 16 requests under way; prints ratios.

    python -m benchmarks.tcp [--quick] [--json]

As in acquisition.py: a device process and a resident master each, interleaved slices, the best of the rounds. libmodbus
and pymodbus have one request under way whatever is asked of them.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from typing import NamedTuple

from benchmarks.acquisition import BUILT, ROOT, Slice, ask, reply, running

MASTERS = {
    "libmodbus": [str(BUILT / "libmodbus_master"), "0"],
    "fieldtap, 1 under way": [sys.executable, "-m", "benchmarks.peers.fieldtap_tcp_master", "1"],
    "fieldtap, 4 under way": [sys.executable, "-m", "benchmarks.peers.fieldtap_tcp_master", "4"],
    "fieldtap, 16 under way": [sys.executable, "-m", "benchmarks.peers.fieldtap_tcp_master", "16"],
    "pymodbus async": [sys.executable, "-m", "benchmarks.peers.pymodbus_tcp_master", "1"],
    "pymodbus async, 16 callers": [sys.executable, "-m", "benchmarks.peers.pymodbus_tcp_master", "16"],
}
BASE = "libmodbus"


class Effort(NamedTuple):
    """How long to measure."""

    rounds: int
    slice_s: float
    registers: tuple[int, ...]


FULL = Effort(14, 0.25, (10, 125))
QUICK = Effort(2, 0.05, (10,))


class Link:
    """A device process and a master process connected to it."""

    def __init__(self, stack: contextlib.ExitStack, master: str) -> None:
        self.master = master
        self.device = stack.enter_context(running([str(BUILT / "tcp_device")], cpu=-2))
        self.process = stack.enter_context(running([*MASTERS[master], reply(self.device)], cpu=-1))
        if reply(self.process) != "ready":
            raise RuntimeError(f"{master} does not start")

    def poll(self, seconds: float, registers: int) -> Slice:
        numbers = ask(self.process, f"{seconds} {registers}").split()
        return Slice(int(numbers[0]), int(numbers[1]), float(numbers[2]), float(numbers[3]), *map(int, numbers[4:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few short rounds: does it work at all")
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    args = parser.parse_args()
    subprocess.run(["make", "-s", "-C", str(ROOT / "benchmarks/peers")], check=True)
    document = measure(QUICK if args.quick else FULL)
    print(json.dumps(document)) if args.json else show(document)


def measure(effort: Effort) -> dict[str, dict[str, dict[str, float]]]:
    """Registers -> master -> transactions/s, CPU us and system calls per transaction, failures."""
    with contextlib.ExitStack() as stack:
        links = [Link(stack, master) for master in MASTERS]
        return {str(registers): best_of(links, effort, registers) for registers in effort.registers}


def best_of(links: list[Link], effort: Effort, registers: int) -> dict[str, dict[str, float]]:
    slices: dict[str, list[Slice]] = {link.master: [] for link in links}
    for _ in range(effort.rounds):
        for link in links:
            slices[link.master].append(link.poll(effort.slice_s, registers))
    return {master: summary(done) for master, done in slices.items()}


def summary(done: list[Slice]) -> dict[str, float]:
    return {
        "rate": max(each.rate for each in done),
        "cpu_us": min(each.cpu_us for each in done),
        "calls": sum(each.calls for each in done) / max(1, sum(each.transactions for each in done)),
        "failures": sum(each.failures for each in done),
    }


def show(document: dict[str, dict[str, dict[str, float]]]) -> None:
    heads = ("tx/s", "CPU us/tx", "calls/tx", "failures", "tx/s x", "CPU x")
    print(f"\n{'Modbus TCP on loopback, beside libmodbus':45}" + "".join(f"{head:>11}" for head in heads))
    for registers, masters in document.items():
        base = masters[BASE]
        for master, row in masters.items():
            calls = f"{row['calls']:11.2f}" if row["calls"] else f"{'':11}"
            ratios = f"{row['rate'] / base['rate']:11.2f}{row['cpu_us'] / base['cpu_us']:11.3f}"
            numbers = f"{row['rate']:11.0f}{row['cpu_us']:11.2f}{calls}{row['failures']:11.0f}"
            print(f"  {registers:>4} registers  {master:28}{numbers}{ratios}")


if __name__ == "__main__":
    main()
