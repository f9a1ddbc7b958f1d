"""pymodbus's asynchronous client as a peer: one port in, transactions and CPU time out.

    python -m benchmarks.peers.pymodbus_master BAUD PORT

For every line "SECONDS REGISTERS" on stdin: polls FC 3 of unit 1 so long and prints transactions, failures, CPU
seconds, transactions/s.
"""

import asyncio
import resource
import sys
import time

from pymodbus.client import AsyncModbusSerialClient


async def main() -> None:
    client = AsyncModbusSerialClient(sys.argv[2], baudrate=int(sys.argv[1]) or 115200, parity="N", timeout=0.5)
    await client.connect()
    print("ready", flush=True)
    while order := sys.stdin.readline():
        seconds, registers = order.split()
        print(*await poll(client, float(seconds), int(registers)), flush=True)


async def poll(client: AsyncModbusSerialClient, seconds: float, registers: int) -> tuple[int, int, float, float]:
    done = failed = 0
    cpu, begin = cpu_s(), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        answer = await client.read_holding_registers(0, count=registers, device_id=1)
        if answer.isError():
            failed += 1
        else:
            done += 1
    return done, failed, cpu_s() - cpu, done / (time.perf_counter() - begin)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(main())
