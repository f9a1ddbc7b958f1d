"""What a simulated device costs: processor time per transaction beside pymodbus's server, over unpaced ptys."""

import argparse
import os
import sys
import tempfile
import tty
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent._native.codec import RTU, frame
from benchmarks.rig import process, simulator

ROUNDS = 12
TRANSACTIONS = 300  # a round; the minimum over the rounds counts, as noise only ever adds
SIZES = (10, 60, 125)  # registers
UNIT = 1

CONFIG = """schema = 1
[[bus]]
name = "line"
port = "/dev/null"
parity = "N"
[[bus.device]]
name = "device"
unit = 1
every = "1s"
[[bus.device.tag]]
name = "tag"
register = "holding:0"
type = "u16"
"""
PYMODBUS_DEVICE = """
import sys
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock
from pymodbus.datastore import ModbusServerContext
from pymodbus.server import StartSerialServer
device = ModbusDeviceContext(hr=ModbusSequentialDataBlock(1, list(range(200))))
context = ModbusServerContext(devices={1: device}, single=False)
print("ready", flush=True)
StartSerialServer(context, port=sys.argv[1], baudrate=115200, parity="N")
"""


class Device(NamedTuple):
    """A device process and our end of its line."""

    pid: int
    fd: int

    def cpu_ns(self) -> int:
        """Processor time of all its threads (schedstat: nanoseconds on the processor come first)."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def transact(self, registers: int) -> None:
        """One read."""
        os.write(self.fd, frame(RTU, 0, UNIT, bytes([3, 0, 0, 0, registers])))
        left = 5 + 2 * registers
        while left > 0:
            left -= len(os.read(self.fd, left))

    def cost_us(self, registers: int) -> float:
        """Processor time of one transaction."""
        before = self.cpu_ns()
        for _ in range(TRANSACTIONS):
            self.transact(registers)
        return (self.cpu_ns() - before) / TRANSACTIONS / 1000


def measure(rounds: int, tell: Callable[[str], None]) -> dict[int, tuple[float, float]]:
    """Microseconds of a transaction by its registers: ours, pymodbus's."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "line.toml")
        config.write_text(CONFIG)
        master, slave = os.openpty()
        tty.setraw(slave)
        with (
            simulator(config, Path(folder)) as ours,
            process(sys.executable, "-c", PYMODBUS_DEVICE, os.ttyname(slave)) as theirs,
        ):
            assert theirs.stdout is not None
            theirs.stdout.readline()
            fd = os.open(Path(folder, "line"), os.O_RDWR | os.O_NOCTTY)
            devices = Device(ours.pid, fd), Device(theirs.pid, master)
            return {registers: _best(devices, registers, rounds, tell) for registers in SIZES}


def _best(
    devices: tuple[Device, Device], registers: int, rounds: int, tell: Callable[[str], None]
) -> tuple[float, float]:
    costs_us = [[device.cost_us(registers) for device in devices] for _ in range(rounds)]
    ours, theirs = (min(costs) for costs in zip(*costs_us, strict=True))
    tell(f"{registers:>9} {ours:>17.2f} {theirs:>19.1f} {theirs / ours:>7.0f}x")
    return ours, theirs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round: does it work at all")
    print("registers  fieldtap us/trans.  pymodbus us/trans.   ratio")
    measure(1 if parser.parse_args().quick else ROUNDS, print)
