"""A bus's baud rate and frame format in, a raw terminal that has them out, read back; and how it was before."""

import struct
import termios
from typing import NamedTuple, Self

from agent.acquire.kernel import Kernel
from agent.config.model import Bus
from agent.errors import BusError

BAUD_TOLERANCE = 0.02  # a UART further off reads wrong bits within a character of 11

# Linux, asm-generic (x86, ARM, RISC-V): struct termios2 is 4 flags, line discipline, 19 control characters, 2 speeds.
TERMIOS2 = struct.Struct("=4IB19s2I")
TCGETS2 = 0x802C542A
TCSETS2 = 0x402C542B
BOTHER = 0o010000  # the speed is the number in c_ospeed
IBSHIFT = 16
SPEED_BITS = 0o010017 | 0o010017 << IBSHIFT  # CBAUD and CIBAUD: the speeds in the old code, or BOTHER
CONTROLS = 19
FORMAT = termios.PARENB | termios.PARODD | termios.CSTOPB | termios.CSIZE

MARKING = termios.INPCK | termios.PARMRK  # damaged characters come as FF 00 x, a break as FF 00 00, FF as FF FF


class Terminal(NamedTuple):
    """A struct termios2."""

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    discipline: int
    controls: bytes
    ispeed: int
    ospeed: int

    @classmethod
    def read(cls, kernel: Kernel, fd: int) -> Self:
        """As the driver has it now."""
        return cls._make(TERMIOS2.unpack(kernel.ioctl(fd, TCGETS2, bytes(TERMIOS2.size))))

    def write(self, kernel: Kernel, fd: int) -> None:
        """Have the driver take it, unless it has it: on a USB adapter each change is several transfers."""
        if not self.is_like(self.read(kernel, fd)):
            kernel.ioctl(fd, TCSETS2, TERMIOS2.pack(*self))

    def is_like(self, other: "Terminal") -> bool:
        """Whether both work alike; the old code for a speed and its number are two ways to say one thing."""
        return self._essence() == other._essence()  # noqa: SLF001 # its own kind

    def _essence(self) -> tuple[int, ...]:
        waits = self.controls[termios.VMIN], self.controls[termios.VTIME]
        return (self.iflag, self.oflag, self.cflag & ~SPEED_BITS, self.lflag, self.ospeed, *waits)


def configure(kernel: Kernel, fd: int, bus: Bus, path: str) -> None:
    """Make the port raw, at the bus's rate and format. Raises BusError if it is not so then."""
    wanted = raw(bus)
    wanted.write(kernel, fd)
    got = Terminal.read(kernel, fd)
    _check_rate(path, bus.baud, got.ospeed)
    if (got.cflag ^ wanted.cflag) & FORMAT and not kernel.is_pty(fd):  # a pty has no parity to set
        raise BusError(
            f"{path}: asked for {bus.data_bits}{bus.parity}{bus.stop_bits}, its driver makes {_format(got.cflag)}; "
            f"set {'data_bits, ' if bus.data_bits == 7 else ''}parity and stop_bits to a format that it and the "
            "devices share, or use another adapter"
        )


def raw(bus: Bus) -> Terminal:
    """Characters as they come, no flow control, modem lines left alone; in ASCII damaged ones as 00, no digit."""
    flags = (
        (termios.CS7 if bus.data_bits == 7 else termios.CS8)
        | termios.CREAD
        | termios.CLOCAL
        | BOTHER
        | BOTHER << IBSHIFT
    )  # no HUPCL: DTR and RTS stay
    if bus.parity != "N":
        flags |= termios.PARENB
    if bus.parity == "O":
        flags |= termios.PARODD
    if bus.stop_bits == 2:
        flags |= termios.CSTOPB
    controls = bytearray(CONTROLS)
    controls[termios.VMIN] = 1  # poll() honours VMIN: a leftover of 64 would hold answers back
    checks = termios.INPCK if bus.protocol == "modbus-ascii" else 0
    return Terminal(termios.IGNBRK | checks, 0, flags, 0, 0, bytes(controls), bus.baud, bus.baud)


def mark(kernel: Kernel, fd: int, *, on: bool) -> None:
    """Have the driver mark damaged characters and breaks in what is read, or not."""
    now = Terminal.read(kernel, fd)
    now._replace(iflag=MARKING if on else termios.IGNBRK).write(kernel, fd)


def restore(kernel: Kernel, fd: int, before: Terminal) -> None:
    """Leave the port as it was found, but for HUPCL and a speed of 0: closing must not move DTR and RTS."""
    if before.ospeed:
        before._replace(cflag=before.cflag & ~termios.HUPCL).write(kernel, fd)


def _check_rate(path: str, asked: int, got: int) -> None:
    if abs(got - asked) > asked * BAUD_TOLERANCE:
        raise BusError(
            f"{path}: asked for {asked} baud, its driver makes {got}; set baud to a rate that it can make "
            "within 2 %, or use another adapter"
        )


def _format(cflag: int) -> str:
    bits = 5 + (cflag & termios.CSIZE) // termios.CS6
    parity = "N" if not cflag & termios.PARENB else "O" if cflag & termios.PARODD else "E"
    return f"{bits}{parity}{2 if cflag & termios.CSTOPB else 1}"
