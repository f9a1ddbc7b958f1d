"""minimalmodbus as a peer: one port in, transactions and CPU time out.

    python -m benchmarks.peers.minimalmodbus_master BAUD PORT

For every line "SECONDS REGISTERS" on stdin: polls FC 3 of unit 1 so long and prints transactions, failures, CPU
seconds, transactions/s.
"""

import resource
import sys
import time

import minimalmodbus


def main() -> None:
    link = minimalmodbus.Instrument(sys.argv[2], 1)
    link.serial.baudrate = int(sys.argv[1]) or 115200
    link.serial.timeout = 0.5
    print("ready", flush=True)
    for order in sys.stdin:
        seconds, registers = order.split()
        print(*poll(link, float(seconds), int(registers)), flush=True)


def poll(link: minimalmodbus.Instrument, seconds: float, registers: int) -> tuple[int, int, float, float]:
    done = failed = 0
    cpu, begin = cpu_s(), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        try:
            link.read_registers(0, registers)
            done += 1
        except OSError:
            failed += 1
    return done, failed, cpu_s() - cpu, done / (time.perf_counter() - begin)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
