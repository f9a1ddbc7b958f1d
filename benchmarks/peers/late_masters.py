"""Masters with the same work: a port in; how many answers they took for good, and how many were another's, out.

    python -m benchmarks.peers.late_masters NAME PORT SECONDS

Each reads holding registers 0-9 and 500-509 of unit 1 in turn, as fast as it goes, with a timeout of 100 ms and no
retries. Every register holds its address. Prints polls taken for good, and those of them that hold another's registers.
"""

import asyncio
import ctypes
import logging
import select
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence

import minimalmodbus
from pymodbus.client import AsyncModbusSerialClient, ModbusSerialClient
from pymodbus.exceptions import ModbusException

from agent._native.busloop import BusLoop
from agent._native.samples import Samples
from agent.acquire.plan import BLOCK, request_adu
from agent.acquire.port import open_port
from agent.config.model import Bus
from agent.model import NS_PER_S
from benchmarks.peers.fieldtap_master import u16_points

ADDRESSES = (0, 500)
REGISTERS = 10
TIMEOUT_S = 0.1
UNIT = 1
BAUD = 115200
RING_BITS = 16
DRAIN_S = 0.1  # what the last drain may miss
SAMPLE = struct.Struct("=qQIIHBBI")  # time, value, tag, group, type, quality ...
QUALITY = 5

Counted = tuple[int, int]
Read = Callable[[int], Sequence[int] | None]


def main() -> None:
    name, port, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    logging.disable()  # pymodbus tells of every timeout
    print(*MASTERS[name](port, seconds))


def is_right(values: Sequence[int], address: int) -> bool:
    return list(values) == list(range(address, address + REGISTERS))


def alternate(read: Read, seconds: float) -> Counted:
    """Poll both blocks in turn; None is a failure that the master noticed."""
    taken = wrong = number = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        address = ADDRESSES[number % len(ADDRESSES)]
        number += 1
        values = read(address)
        if values is not None:
            taken += 1
            wrong += not is_right(values, address)
    return taken, wrong


def fieldtap(port: str, seconds: float) -> Counted:
    """Polls are told apart by block and time; a wrong one has a wrong value in any of its registers."""
    bus = Bus(name="line", port=port, baud=BAUD, parity="N", timeout_ns=int(TIMEOUT_S * NS_PER_S), devices=())
    loop, samples = BusLoop([(False, 0, 0, 0, 0, RING_BITS)]), Samples()
    loop.attach(0, open_port(bus).fd)
    loop.adopt(0, *always_due(bus.timeout_ns), 1)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    bell = select.poll()
    bell.register(loop.fileno(), select.POLLIN)
    taken, wrong = set(), set()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        bell.poll(min(left, DRAIN_S) * 1000)
        samples.clear()
        loop.drain(samples)
        good = [record for record in SAMPLE.iter_unpack(bytes(samples)) if record[QUALITY] == 0]
        taken |= {(group, at) for at, _, _, group, *_ in good}
        wrong |= {(group, at) for at, value, tag, group, *_ in good if value != tag}
    loop.stop()
    thread.join()
    return len(taken), len(wrong)


def always_due(timeout_ns: int) -> tuple[bytes, bytes]:
    """A plan of both blocks; every register is a tag, numbered by its address."""
    blocks, points = b"", b""
    for group, address in enumerate(ADDRESSES):
        request = request_adu(UNIT, 3, address, REGISTERS, is_tcp=False)
        schedule = (1, 0, timeout_ns, 0, group, 0, group * REGISTERS, REGISTERS)
        shape = (len(request), 5 + 2 * REGISTERS, UNIT, 3, address, REGISTERS)
        blocks += BLOCK.pack(*schedule, *shape, request, 0)
        points += u16_points(address, REGISTERS)
    return blocks, points


def pymodbus_sync(port: str, seconds: float) -> Counted:
    link = ModbusSerialClient(port, baudrate=BAUD, parity="N", timeout=TIMEOUT_S, retries=0)
    link.connect()

    def read(address: int) -> Sequence[int] | None:
        try:
            answer = link.read_holding_registers(address, count=REGISTERS, device_id=UNIT)
        except ModbusException:
            link.connect()
            return None
        return None if answer.isError() else answer.registers

    return alternate(read, seconds)


def pymodbus_async(port: str, seconds: float) -> Counted:
    async def poll() -> Counted:
        link = AsyncModbusSerialClient(port, baudrate=BAUD, parity="N", timeout=TIMEOUT_S, retries=0)
        await link.connect()
        taken = wrong = number = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            address = ADDRESSES[number % len(ADDRESSES)]
            number += 1
            try:
                answer = await link.read_holding_registers(address, count=REGISTERS, device_id=UNIT)
            except ModbusException:
                if not link.connected:
                    await link.connect()
                continue
            taken += not answer.isError()
            wrong += not answer.isError() and not is_right(answer.registers, address)
        return taken, wrong

    return asyncio.run(poll())


def minimal_modbus(port: str, seconds: float) -> Counted:
    link = minimalmodbus.Instrument(port, UNIT)
    link.serial.baudrate, link.serial.timeout = BAUD, TIMEOUT_S

    def read(address: int) -> Sequence[int] | None:
        try:
            return link.read_registers(address, REGISTERS)
        except (OSError, ValueError):
            return None

    return alternate(read, seconds)


def libmodbus(port: str, seconds: float) -> Counted:
    library = ctypes.CDLL("libmodbus.so.5")
    library.modbus_new_rtu.restype = ctypes.c_void_p
    link = ctypes.c_void_p(library.modbus_new_rtu(port.encode(), BAUD, ctypes.c_char(b"N"), 8, 1))
    library.modbus_set_slave(link, UNIT)
    library.modbus_set_response_timeout(link, 0, int(TIMEOUT_S * 1e6))
    if library.modbus_connect(link) < 0:
        sys.exit(f"libmodbus does not open {port}")
    values = (ctypes.c_uint16 * REGISTERS)()

    def read(address: int) -> Sequence[int] | None:
        return values if library.modbus_read_registers(link, address, REGISTERS, values) == REGISTERS else None

    return alternate(read, seconds)


MASTERS = {
    "fieldtap": fieldtap,
    "pymodbus": pymodbus_sync,
    "pymodbus async": pymodbus_async,
    "minimalmodbus": minimal_modbus,
    "libmodbus": libmodbus,
}

if __name__ == "__main__":
    main()
