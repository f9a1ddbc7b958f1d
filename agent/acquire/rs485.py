"""`rs485 = auto|kernel|none` in, a direction pin that the kernel drives out, where there is one; read back, compared.

It is not turned off again at the end: RTS would go back to its idle level, which makes most transceivers send.
"""

import struct

from agent.acquire.kernel import Kernel, Note, reason
from agent.errors import BusError

# struct serial_rs485: flags, milliseconds before and after sending, padding.
RS485 = struct.Struct("=3I20x")
TIOCGRS485 = 0x542E
TIOCSRS485 = 0x542F
ENABLED = 0x01
RTS_ON_SEND = 0x02
RTS_AFTER_SEND = 0x04
RX_DURING_TX = 0x10
TERMINATE_BUS = 0x20
POLARITY = RTS_ON_SEND | RTS_AFTER_SEND
WHAT = "rs485"


def set_direction(kernel: Kernel, fd: int, mode: str, path: str) -> Note:
    """Do what `mode` says. Raises BusError where the kernel must drive the pin and does not."""
    try:
        return _off(kernel, fd) if mode == "none" else _on(kernel, fd, mode, path)
    except OSError as error:
        if mode == "kernel":
            raise BusError(
                f'{path}: asked for rs485 = "kernel", its driver has no such mode ({reason(error)}); '
                'use rs485 = "auto" if the adapter switches direction by itself'
            ) from error
        return Note(WHAT, False, f"left to the adapter, its driver has no such mode ({reason(error)})")


def _off(kernel: Kernel, fd: int) -> Note:
    if _read(kernel, fd)[0] & ENABLED:
        kernel.ioctl(fd, TIOCSRS485, RS485.pack(0, 0, 0))
    return Note(WHAT, True, "off")


def _on(kernel: Kernel, fd: int, mode: str, path: str) -> Note:
    """What the board's device tree says of polarity, delays and termination stays: it knows the transceiver."""
    before, *delays = _read(kernel, fd)
    polarity = before & POLARITY
    if polarity not in (RTS_ON_SEND, RTS_AFTER_SEND):  # exactly one of them
        polarity = RTS_ON_SEND
    wanted = ENABLED | polarity | before & TERMINATE_BUS
    got = before
    if wanted != before:
        kernel.ioctl(fd, TIOCSRS485, RS485.pack(wanted, *delays))
        got = _read(kernel, fd)[0]
    return _compare(wanted, got, mode, path)


def _compare(wanted: int, got: int, mode: str, path: str) -> Note:
    """An accepted call says little: some drivers take it and do nothing."""
    if (got ^ wanted) & (ENABLED | POLARITY):
        text = f"asked its driver for flags 0x{wanted:02x}, it made 0x{got:02x}"
        if mode == "kernel":
            raise BusError(f'{path}: {WHAT}: {text}; use rs485 = "auto" if the adapter switches direction by itself')
        return Note(WHAT, False, f"{text}: left to the adapter")
    text = f"the kernel drives RTS, {'low' if got & RTS_AFTER_SEND else 'high'} to send"
    if got & RX_DURING_TX:
        text += ", and the port hears what it sends"
    return Note(WHAT, True, text)


def _read(kernel: Kernel, fd: int) -> tuple[int, ...]:
    return RS485.unpack(kernel.ioctl(fd, TIOCGRS485, bytes(RS485.size)))
