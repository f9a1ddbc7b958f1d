"""A bus's settings in, an open and configured file descriptor out: serial ports and TCP links, ready for the loop."""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from agent.acquire.wire import character_time_ns, silence_time_ns
from agent.config.model import Bus
from agent.errors import BusError, NotPermittedError

BAUD_TOLERANCE = 0.02  # a UART further off reads wrong bits within a character of 11
CONNECT_TIMEOUT_S = 2.0
MODBUS_TCP_PORT = 502

# Linux, asm-generic (x86, ARM, RISC-V): struct termios2 is 4 flags, line discipline, 19 control characters, 2 speeds.
TERMIOS2 = struct.Struct("=4IB19s2I")
TCGETS2 = 0x802C542A
TCSETS2 = 0x402C542B
BOTHER = 0o010000  # the speed is the number in c_ospeed
IBSHIFT = 16

# struct serial_rs485: flags, two delays, padding.
RS485 = struct.Struct("=3I20x")
TIOCSRS485 = 0x542F
RS485_ENABLED = 1
RS485_RTS_ON_SEND = 2

# struct serial_struct: only its flags are looked at; it is at most 80 bytes long.
SERIAL_STRUCT_BYTES = 128
SERIAL_FLAGS_AT = 16
TIOCGSERIAL = 0x541E
TIOCSSERIAL = 0x541F
ASYNC_LOW_LATENCY = 0x2000

PTY_MAJORS = range(136, 144)  # Unix98 pty slaves
NO_SUCH_IOCTL = (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP)


class Wire(NamedTuple):
    """What the loop must know of a line's physics."""

    tcp: bool
    char_ns: int  # one character on the wire; 0: no wire to speak of
    quiet_ns: int  # t3.5, the silence between two frames


def wire_of(bus: Bus) -> Wire:
    """The timing of a bus."""
    if is_tcp(bus.port):
        return Wire(bus.protocol == "modbus-tcp", 0, 0)
    char_ns = character_time_ns(bus.baud, bus.parity, bus.stop_bits)
    return Wire(False, char_ns, silence_time_ns(char_ns, bus.baud))


def is_tcp(port: str) -> bool:
    """Whether a port is an address in the network."""
    return "://" in port


def open_port(bus: Bus) -> int:
    """An open, exclusive, non-blocking file descriptor. Raises BusError or NotPermittedError with the remedy."""
    if is_tcp(bus.port):
        return _connect(bus)
    path = _resolve(bus.port)
    fd = _open_exclusive(path)
    try:
        _configure(fd, bus)
    except OSError as error:
        os.close(fd)
        raise BusError(f"{path}: the driver refuses these settings: {error.strerror}") from error
    except BaseException:
        os.close(fd)
        raise
    return fd


# --- opening ---


def _resolve(port: str) -> str:
    """The path of a port; `usb:VID:PID[:SERIAL]` is looked up among the adapters that are plugged in now."""
    if not port.startswith("usb:"):
        return port
    from serial.tools.list_ports import comports  # noqa: PLC0415 # seldom used, and never on a start without USB names

    vid, pid, *serial = port.removeprefix("usb:").split(":", 2)
    for found in comports():
        named = not serial or (found.serial_number or "").lower() == serial[0].lower()
        if found.vid == int(vid, 16) and found.pid == int(pid, 16) and named:
            return str(found.device)
    raise BusError(f"{port}: no such USB adapter is plugged in (`lsusb` lists those that are)")


def _open_exclusive(path: str) -> int:
    """Open and lock against other programs, without becoming the terminal of this one."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _open_error(path, error) from error
    try:
        _check_terminal(fd, path)
        _lock(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_terminal(fd: int, path: str) -> None:
    if not os.isatty(fd):
        raise BusError(f"{path} is no serial port")


def _open_error(path: str, error: OSError) -> BusError | NotPermittedError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermittedError(
            f"{path}: no permission; add this user to the group of the port: {_group_remedy(path)}"
        )
    if error.errno == errno.EBUSY:
        return _busy(path)
    return BusError(f"{path}: {error.strerror}")


def _group_remedy(path: str) -> str:
    import grp  # noqa: PLC0415 # only for this message

    try:
        group = grp.getgrgid(Path(path).stat().st_gid).gr_name
    except (KeyError, OSError):
        group = "dialout"
    return f"sudo usermod -aG {group} $USER, then log in again"


def _busy(path: str) -> BusError:
    return BusError(f"{path} is in use by another program; `fuser -v {path}` names it (often ModemManager or a getty)")


def _lock(fd: int, path: str) -> None:
    """Flock keeps out programs that ask, TIOCEXCL those that do not; a pty would stay marked after we are gone."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy(path) from error
    if not _is_pty(fd):
        _optional(fd, termios.TIOCEXCL, 0)


def _is_pty(fd: int) -> bool:
    return os.major(os.fstat(fd).st_rdev) in PTY_MAJORS


def _optional(fd: int, request: int, argument: int | bytes) -> bytes | int | None:
    """An ioctl that drivers may lack: its result, or None where the driver does not know it."""
    try:
        return fcntl.ioctl(fd, request, argument)
    except OSError as error:
        if error.errno in NO_SUCH_IOCTL:
            return None
        raise


# --- configuring ---


def _configure(fd: int, bus: Bus) -> None:
    _set_rs485(fd, bus)
    _set_line(fd, bus)
    _ask_low_latency(fd)
    termios.tcflush(fd, termios.TCIOFLUSH)


def _set_line(fd: int, bus: Bus) -> None:
    """Raw 8-bit characters at any baud rate; whatever another program left behind is overwritten."""
    wanted = _line_flags(bus)
    control = bytearray(19)
    control[termios.VMIN] = 1  # poll() honours VMIN: a leftover of 64 would hold answers back
    fcntl.ioctl(fd, TCSETS2, TERMIOS2.pack(termios.IGNBRK, 0, wanted, 0, 0, bytes(control), bus.baud, bus.baud))
    _, _, flags, _, _, _, _, speed = TERMIOS2.unpack(fcntl.ioctl(fd, TCGETS2, bytes(TERMIOS2.size)))
    if abs(speed - bus.baud) > bus.baud * BAUD_TOLERANCE:
        raise BusError(f"{bus.port}: the driver makes {speed} baud of {bus.baud}; choose a rate it can do")
    checked = termios.PARENB | termios.PARODD | termios.CSTOPB
    if (flags ^ wanted) & checked and not _is_pty(fd):  # a pty has no parity to set
        raise BusError(f"{bus.port}: the driver cannot do parity {bus.parity} with {bus.stop_bits} stop bits")


def _line_flags(bus: Bus) -> int:
    flags = termios.CS8 | termios.CREAD | termios.CLOCAL | BOTHER | BOTHER << IBSHIFT  # no HUPCL: DTR stays
    if bus.parity != "N":
        flags |= termios.PARENB
    if bus.parity == "O":
        flags |= termios.PARODD
    if bus.stop_bits == 2:
        flags |= termios.CSTOPB
    return flags


def _set_rs485(fd: int, bus: Bus) -> None:
    """Let the kernel drive the direction pin where it can; many adapters do it themselves and know no such call."""
    flags = 0 if bus.rs485 == "none" else RS485_ENABLED | RS485_RTS_ON_SEND
    done = _optional(fd, TIOCSRS485, RS485.pack(flags, 0, 0))
    if bus.rs485 != "kernel":
        return
    kept = RS485.unpack(done)[0] if isinstance(done, bytes) else 0
    if not kept & RS485_ENABLED:
        raise BusError(
            f'{bus.port}: its driver has no RS-485 mode; use rs485 = "auto" if the adapter switches by itself'
        )


def _ask_low_latency(fd: int) -> None:
    """USB adapters hold bytes back for up to 16 ms unless asked not to; those that cannot are as they are."""
    with contextlib.suppress(OSError):
        latency = Path("/sys/bus/usb-serial/devices", Path(os.ttyname(fd)).name, "latency_timer")
        latency.write_text("1")
        return
    state = _optional(fd, TIOCGSERIAL, bytes(SERIAL_STRUCT_BYTES))
    if isinstance(state, bytes):
        changed = bytearray(state)
        flags = struct.unpack_from("=i", changed, SERIAL_FLAGS_AT)[0] | ASYNC_LOW_LATENCY
        struct.pack_into("=i", changed, SERIAL_FLAGS_AT, flags)
        with contextlib.suppress(OSError):  # needs privileges with some drivers
            fcntl.ioctl(fd, TIOCSSERIAL, bytes(changed))


# --- TCP ---


def _connect(bus: Bus) -> int:
    url = urlsplit(bus.port)
    host, port = url.hostname or "", url.port or MODBUS_TCP_PORT
    try:
        link = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    except OSError as error:
        raise BusError(f"{bus.port}: cannot connect: {error.strerror or error}") from error
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setblocking(False)
    return link.detach()
