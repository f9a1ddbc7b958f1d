"""One poll every 100 ms beside a thread that burns in the same process: a port in; the polls are seen by its device.

    python -m benchmarks.peers.clockwork (fieldtap|pymodbus) PORT

Polls FC 3 of unit 1 from the first line on stdin to the next one. What burns is Python, as a user's script would.
"""

import asyncio
import sys
import threading
import time

from pymodbus.client import AsyncModbusSerialClient

from agent._native.busloop import BusLoop
from agent._native.samples import Samples
from agent.acquire.port import open_port, wire_of
from agent.config.model import Bus
from benchmarks.peers.fieldtap_master import plan

PERIOD_NS = 100_000_000
REGISTERS = 10


def main() -> None:
    which, port = sys.argv[1:]
    stop = threading.Event()
    print("ready", flush=True)
    sys.stdin.readline()
    threading.Thread(target=burn, daemon=True).start()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    {"fieldtap": fieldtap, "pymodbus": lambda *args: asyncio.run(pymodbus(*args))}[which](port, stop)


def burn() -> None:
    count = 0
    while True:
        count += 1


def fieldtap(port: str, stop: threading.Event) -> None:
    bus = Bus(name=port, port=port, baud=115200, parity="N", timeout_ns=500_000_000, devices=())
    loop, samples = BusLoop([(*wire_of(bus), 10)]), Samples()
    loop.adopt(0, *plan(REGISTERS, PERIOD_NS), 1)
    loop.attach(0, open_port(bus).fd)
    threading.Thread(target=loop.run, daemon=True).start()
    while not stop.wait(1.0):
        loop.drain(samples)
        samples.clear()
    loop.stop()


async def pymodbus(port: str, stop: threading.Event) -> None:
    client = AsyncModbusSerialClient(port, baudrate=115200, parity="N", timeout=0.5)
    await client.connect()
    due = time.monotonic_ns()
    while not stop.is_set():
        await client.read_holding_registers(0, count=REGISTERS, device_id=1)
        due += PERIOD_NS
        await asyncio.sleep((due - time.monotonic_ns()) / 1e9)
    client.close()


if __name__ == "__main__":
    main()
