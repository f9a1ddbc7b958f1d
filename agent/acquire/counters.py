"""An open port in, what its UART has counted out, where its driver tells (TIOCGICOUNT)."""

import struct

from agent.acquire.diagnosis import Uart
from agent.acquire.kernel import Kernel

TIOCGICOUNT = 0x545D
# struct serial_icounter_struct: four modem lines, rx, tx, frame, overrun, parity, brk, buf_overrun, nine spare.
ICOUNT = struct.Struct("=11i36x")


def read(kernel: Kernel, fd: int) -> Uart | None:
    """As counted so far; None: this driver does not tell, or the port is gone."""
    try:
        counted = ICOUNT.unpack(kernel.ioctl(fd, TIOCGICOUNT, bytes(ICOUNT.size)))
    except OSError:
        return None
    _, _, _, _, received, _, framing, overruns, parity, breaks, buffer_overruns = counted
    return Uart(received, framing, parity, breaks, overruns + buffer_overruns)
