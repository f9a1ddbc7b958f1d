"""An open port in, what its UART has counted out, where its driver tells (TIOCGICOUNT)."""

import struct
from typing import NamedTuple

from agent.acquire.kernel import Kernel

TIOCGICOUNT = 0x545D
# struct serial_icounter_struct: four modem lines, rx, tx, frame, overrun, parity, brk, buf_overrun, nine spare.
ICOUNT = struct.Struct("=11i36x")
WRAP = 1 << 32


class Uart(NamedTuple):
    """Characters since some time ago, and what was wrong with some of them."""

    received: int
    framing: int  # no stop bit where one should be
    parity: int
    breaks: int  # the line was low for longer than a character
    overruns: int  # nobody fetched them in time

    def since(self, before: "Uart") -> "Uart":
        """What has been counted since; the kernel's numbers are 32 bits wide."""
        return Uart(*((now - then) % WRAP for now, then in zip(self, before, strict=True)))


def read(kernel: Kernel, fd: int) -> Uart | None:
    """As counted so far; None: this driver does not tell, or the port is gone."""
    try:
        counted = ICOUNT.unpack(kernel.ioctl(fd, TIOCGICOUNT, bytes(ICOUNT.size)))
    except OSError:
        return None
    _, _, _, _, received, _, framing, overruns, parity, breaks, buffer_overruns = counted
    return Uart(received, framing, parity, breaks, overruns + buffer_overruns)
