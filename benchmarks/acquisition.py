"""Acquisition beside its peers: CPU per transaction, use of paced lines, silences kept; prints tables of ratios.

    python -m benchmarks.acquisition [--quick] [--json]

Every peer is a resident process with a pty and a device process of its own; slices are interleaved, and the best of
the rounds counts, so that a neighbour's noise hits no one alone. Peers run on the last CPU, devices on the one before
it; ratios need a machine with two idle CPUs. Needs cc, make and libmodbus-dev (peers/Makefile).
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
BUILT = ROOT / "build" / "bench"
MASTERS = {
    "fieldtap": [sys.executable, "-m", "benchmarks.peers.fieldtap_master"],
    "bare C": [str(BUILT / "bare_master")],
    "libmodbus": [str(BUILT / "libmodbus_master")],
    "pymodbus async": [sys.executable, "-m", "benchmarks.peers.pymodbus_master"],
    "minimalmodbus": [sys.executable, "-m", "benchmarks.peers.minimalmodbus_master"],
}
REGISTERS = (10, 60, 125)
BAUDS = (9600, 19200, 115200, 921600)
MANY_LINES = (8, 32)
LEAST_TRANSACTIONS = 30  # of a slice on a paced line
PACED_ROUNDS = 4  # the best one counts: a neighbour's millisecond on this CPU is not the master's


class Effort(NamedTuple):
    """How long to measure."""

    rounds: int
    slice_s: float
    warm_up_s: float  # predictions are learned, caches are warm
    registers: Sequence[int]
    bauds: Sequence[int]
    lines: Sequence[int]


FULL = Effort(14, 0.25, 1.5, REGISTERS, BAUDS, MANY_LINES)
QUICK = Effort(2, 0.05, 0.2, REGISTERS[:1], BAUDS[-1:], MANY_LINES[:1])


class Slice(NamedTuple):
    """What a master did in one slice."""

    transactions: int
    failures: int
    cpu_s: float
    rate: float  # transactions/s
    calls: int = 0
    switches: int = 0  # of threads, wanted or not

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / max(1, self.transactions) * 1e6


class Line:
    """A device process and a master process on its ptys."""

    def __init__(self, stack: contextlib.ExitStack, master: str, baud: int, lines: int = 1) -> None:
        self.master = master
        self.device = stack.enter_context(running([str(BUILT / "device"), str(lines), str(baud)], cpu=-2))
        ports = [reply(self.device) for _ in range(lines)]
        self.process = stack.enter_context(running([*MASTERS[master], str(baud), *ports], cpu=-1))
        if reply(self.process) != "ready":
            raise RuntimeError(f"{master} does not start")

    def poll(self, seconds: float, registers: int) -> Slice:
        numbers = ask(self.process, f"{seconds} {registers}").split()
        return Slice(int(numbers[0]), int(numbers[1]), float(numbers[2]), float(numbers[3]), *map(int, numbers[4:]))

    def device_counts(self) -> tuple[int, int]:
        """Requests served and silences violated since the last call."""
        served, violations, *_ = ask(self.device, "").split()
        return int(served), int(violations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few short rounds: does it work at all")
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    args = parser.parse_args()
    subprocess.run(["make", "-s", "-C", str(ROOT / "benchmarks/peers")], check=True)
    effort = QUICK if args.quick else FULL
    document = {"unpaced": unpaced(effort), "many": many(effort), "paced": paced(effort)}
    print(json.dumps(document)) if args.json else show(document)


# --- one bus, as fast as the host can ---


def unpaced(effort: Effort) -> dict[str, dict[str, list[float]]]:
    """Registers -> master -> [CPU us per transaction, transactions/s, system calls and context switches of each]."""
    with contextlib.ExitStack() as stack:
        lines = [Line(stack, master, 0) for master in MASTERS]
        return {str(registers): best_of(lines, effort, effort.slice_s, registers) for registers in effort.registers}


def best_of(lines: Sequence[Line], effort: Effort, seconds: float, registers: int) -> dict[str, list[float]]:
    slices: dict[str, list[Slice]] = {line.master: [] for line in lines}
    for _ in range(effort.rounds):
        for line in lines:
            slices[line.master].append(line.poll(seconds, registers))
    return {master: summary(done) for master, done in slices.items()}


def summary(done: Sequence[Slice]) -> list[float]:
    if any(each.failures for each in done):
        print(f"failures: {[each.failures for each in done]}", file=sys.stderr)
    transactions = max(1, sum(each.transactions for each in done))
    calls, switches = (
        sum(numbers) / transactions for numbers in zip(*((each.calls, each.switches) for each in done), strict=True)
    )
    return [min(each.cpu_us for each in done), max(each.rate for each in done), calls, switches]


# --- many buses at 115200 ---


def many(effort: Effort) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Lines -> as unpaced(), for so many paced lines in one process."""
    return {str(count): many_of(count, effort) for count in effort.lines}


def many_of(count: int, effort: Effort) -> dict[str, dict[str, list[float]]]:
    with contextlib.ExitStack() as stack:
        lines = [Line(stack, master, 115200, count) for master in ("fieldtap", "libmodbus")]
        for line in lines:
            line.poll(effort.warm_up_s, REGISTERS[0])
        return {str(registers): best_of(lines, effort, 4 * effort.slice_s, registers) for registers in effort.registers}


# --- paced lines ---


def paced(effort: Effort) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Baud -> registers -> master -> [share of the ceiling, share of requests that cut t3.5 short, CPU us]."""
    return {str(baud): paced_at(baud, effort) for baud in effort.bauds}


def paced_at(baud: int, effort: Effort) -> dict[str, dict[str, list[float]]]:
    with contextlib.ExitStack() as stack:
        lines = [Line(stack, master, baud) for master in ("fieldtap", "bare C", "libmodbus")]
        return {str(n): {line.master: paced_slice(line, baud, n, effort) for line in lines} for n in effort.registers}


def paced_slice(line: Line, baud: int, registers: int, effort: Effort) -> list[float]:
    seconds = max(4 * effort.slice_s, LEAST_TRANSACTIONS / ceiling(baud, registers))
    line.poll(max(effort.warm_up_s, seconds / 2), registers)
    line.device_counts()
    done = [line.poll(seconds, registers) for _ in range(min(PACED_ROUNDS, effort.rounds))]
    served, violations = line.device_counts()
    share = max(each.rate for each in done) / ceiling(baud, registers)
    return [share, violations / max(1, served), min(each.cpu_us for each in done)]


def ceiling(baud: int, registers: int) -> float:
    """Transactions/s that the standard allows: the wire and twice t3.5."""
    character_s = 10 / baud
    quiet_s = 1.75e-3 if baud > 19200 else 3.5 * character_s
    return 1 / ((8 + 5 + 2 * registers) * character_s + 2 * quiet_s)


# --- tables ---


def show(document: dict[str, dict]) -> None:
    show_cpu("one bus, unpaced pty", document["unpaced"])
    for count, table in document["many"].items():
        show_cpu(f"{count} buses, paced at 115200", table)
    print(f"\n{'paced line, share of 1/(wire + 2 t3.5)':44}{'of ceiling':>12}{'t3.5 cut':>10}{'CPU us/tx':>11}")
    for baud, by_registers in document["paced"].items():
        for registers, masters in by_registers.items():
            for master, (share, cut, cpu_us) in masters.items():
                print(f"  {baud:>7} baud {registers:>4} registers  {master:18}{share:12.1%}{cut:10.1%}{cpu_us:11.1f}")


def show_cpu(title: str, table: dict[str, dict[str, list[float]]]) -> None:
    print(f"\n{title:44}{'CPU us/tx':>12}{'tx/s':>10}{'calls/tx':>10}{'switches/tx':>13}{'fieldtap is':>14}")
    for registers, masters in table.items():
        ours = masters["fieldtap"][0]
        for master, (cpu_us, rate, calls, switches) in masters.items():
            shown = (f"{calls:10.2f}" if calls else f"{'':10}") + (f"{switches:13.2f}" if switches else f"{'':13}")
            print(f"  {registers:>4} registers  {master:26}{cpu_us:12.2f}{rate:10.0f}{shown}{ours / cpu_us:12.3f} x")


# --- processes ---


@contextlib.contextmanager
def running(command: Sequence[str], cpu: int) -> Iterator[subprocess.Popen[str]]:
    """A process on one of this machine's CPUs that ends with the block."""
    cpus = sorted(os.sched_getaffinity(0))
    chosen = cpus[cpu] if len(cpus) >= -cpu else cpus[0]
    pinned = ["taskset", "-c", str(chosen), *command]
    child = subprocess.Popen(pinned, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


def ask(child: subprocess.Popen[str], order: str) -> str:
    assert child.stdin is not None
    child.stdin.write(order + "\n")
    child.stdin.flush()
    return reply(child)


def reply(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"{child.args} ended")
    return line.strip()


if __name__ == "__main__":
    main()
