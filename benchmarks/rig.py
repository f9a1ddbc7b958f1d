"""Pieces of a test bench in, running processes out: a simulated bus, a broker and an agent, each its own process."""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

FIELDTAP = [sys.executable, "-m", "agent"]
STOP_S = 10
WAKE_ROUNDS, WAKES = 5, 20


def run_config(
    folder: Path, port: Path | str, broker_url: str, *, units: int, registers: int, every: str, batch_s: float
) -> Path:
    """One bus with `units` equal devices of `registers` holding registers each, read `every`."""
    path = folder / "bench.toml"
    devices = "\n".join(_device(unit, registers, every) for unit in range(1, units + 1))
    path.write_text(
        f"""schema = 1
[gateway]
id = "bench"
[mqtt]
url = "{broker_url}"
batch_s = {batch_s}
[store]
path = "{folder / "store"}"
journal_bytes = "4 MiB"
[[bus]]
name = "line"
port = "{port}"
{'protocol = "modbus-tcp"' if "://" in str(port) else 'parity = "N"'}
{"" if "://" in str(port) else "baud = 115200"}
{devices}
"""
    )
    return path


def _device(unit: int, registers: int, every: str) -> str:
    tags = "\n".join(
        f'[[bus.device.tag]]\nname = "r{n}"\nregister = "holding:{n}"\ntype = "u16"' for n in range(registers)
    )
    return f'[[bus.device]]\nname = "unit{unit}"\nunit = {unit}\nevery = "{every}"\n{tags}'


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended, politely and then not, when the block ends."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()


@contextlib.contextmanager
def simulator(config: Path, links: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`fieldtap simulate`, once it has said that its first bus is there."""
    with process(*FIELDTAP, "simulate", str(config), "--link", str(links), *options) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A TCP port on loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def cpu_of(pid: int) -> float:
    """Time all threads of a process have run so far, in seconds; exact, unlike the ticks of /proc/PID/stat.

    Threads that have ended do not count: measure between two moments at which the same ones live.
    """
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def wake_up_us() -> float:
    """What one sleep of 12 ms and its wake-up cost in processor time here: the floor under any poll of a slow line."""
    sleeper = select.poll()
    rounds = []
    for _ in range(WAKE_ROUNDS):
        before = time.thread_time_ns()
        for _ in range(WAKES):
            sleeper.poll(12)
        rounds.append((time.thread_time_ns() - before) / WAKES / 1000)
    return min(rounds)
