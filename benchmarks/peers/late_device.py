"""A device that is late now and then: chance, delay and seed in, a pty whose registers hold their own addresses out.

    python -m benchmarks.peers.late_device CHANCE DELAY_S SEED

Prints the port, then answers FC 3 of any unit, one request after the other as a device with one transmitter does:
while it is late with an answer, what it is asked meanwhile waits. Knows nothing of fieldtap: no master is favoured.
"""

import os
import random
import struct
import sys
import time
import tty

READ_HOLDING, LOOP_BACK = 3, 8
REQUEST_BYTES = 8


def main() -> None:
    chance, delay_s, dice = float(sys.argv[1]), float(sys.argv[2]), random.Random(int(sys.argv[3]))
    master, slave = os.openpty()
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    waiting = b""
    while True:
        waiting += os.read(master, 4096)
        while len(waiting) >= REQUEST_BYTES:
            request, waiting = waiting[:REQUEST_BYTES], waiting[REQUEST_BYTES:]
            if dice.random() < chance:
                time.sleep(delay_s)
            os.write(master, answer_to(request))


def answer_to(request: bytes) -> bytes:
    unit, function, address, quantity = struct.unpack_from(">BBHH", request)
    if function == LOOP_BACK:
        return request
    if function != READ_HOLDING:
        return with_crc(bytes([unit, function | 0x80, 1]))
    return with_crc(
        bytes([unit, function, 2 * quantity]) + struct.pack(f">{quantity}H", *range(address, address + quantity))
    )


def with_crc(frame: bytes) -> bytes:
    crc = 0xFFFF
    for byte in frame:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return frame + crc.to_bytes(2, "little")


def table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


TABLE = [table_entry(byte) for byte in range(256)]

if __name__ == "__main__":
    main()
