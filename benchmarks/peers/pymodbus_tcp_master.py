"""pymodbus's asynchronous TCP client as a peer: a port and a number of callers in, transactions and CPU time out.

    python -m benchmarks.peers.pymodbus_tcp_master CALLERS PORT

For every line "SECONDS REGISTERS" on stdin: so many tasks poll FC 3 of unit 1 so long (the client lets one request out
at a time); prints transactions, failures, CPU seconds, transactions/s.
"""

import asyncio
import sys
import time

from pymodbus.client import AsyncModbusTcpClient

from benchmarks.peers.pymodbus_master import cpu_s


async def main() -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=int(sys.argv[2]), timeout=0.5)
    await client.connect()
    print("ready", flush=True)
    while order := sys.stdin.readline():
        seconds, registers = order.split()
        cpu, begin = cpu_s(), time.perf_counter()
        tasks = [poll(client, begin + float(seconds), int(registers)) for _ in range(int(sys.argv[1]))]
        done, failed = map(sum, zip(*await asyncio.gather(*tasks), strict=True))
        print(done, failed, cpu_s() - cpu, done / (time.perf_counter() - begin), flush=True)


async def poll(client: AsyncModbusTcpClient, end: float, registers: int) -> tuple[int, int]:
    done = failed = 0
    while time.perf_counter() < end:
        answer = await client.read_holding_registers(0, count=registers, device_id=1)
        failed += answer.isError()
        done += not answer.isError()
    return done, failed


if __name__ == "__main__":
    asyncio.run(main())
