"""A bus's settings in, an open and configured port out: serial ports and TCP links, ready for the loop."""

import errno
import os
import socket
import stat
import termios
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agent._native.codec import ASCII, RTU, TCP
from agent.acquire import identity, latency, lock, rs485, terminal
from agent.acquire.kernel import Kernel, Note, reason
from agent.acquire.terminal import Terminal
from agent.acquire.tls import Relay
from agent.acquire.wire import LEAST_SILENCE_CHARACTERS, character_time_ns, silence_time_ns, switch_time_ns
from agent.config.model import Bus
from agent.config.ports import address_of, is_datagrams, scheme_of
from agent.errors import BusError, FieldtapError, NotPermittedError

CONNECT_TIMEOUT_S = 2.0
FRAMINGS = {"modbus-rtu": RTU, "modbus-ascii": ASCII, "modbus-tcp": TCP}
VANISHED = (errno.EIO, errno.ENODEV, errno.ENXIO)  # what a driver says once the adapter is gone
GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP
USUAL_GROUP = "dialout"  # that of serial ports on Debian and what descends from it
LINUX = Kernel()


class Wire(NamedTuple):
    """What the loop must know of a line's physics."""

    framing: int  # of _native.codec
    char_ns: int  # one character on the wire; 0: no wire to speak of
    quiet_ns: int  # t3.5, the silence between two frames
    switch_ns: int = 0  # the one before a request to another unit than the last one, where longer
    least_ns: int = 0  # silences may shrink so far where devices go along; 0: not below t3.5

    @property
    def is_tcp(self) -> bool:
        """Whether requests are numbered; else frames are told in RTU, whatever their notation on the wire."""
        return self.framing == TCP


def wire_of(bus: Bus) -> Wire:
    """The timing of a bus."""
    framing = FRAMINGS[bus.protocol]
    if framing == TCP:
        return Wire(framing, 0, 0, switch_time_ns(bus))  # a link keeps it before every request
    if is_remote(bus.port):
        return Wire(framing, 0, 0, bus.switch_ns)
    char_ns = character_time_ns(bus)
    least_ns = LEAST_SILENCE_CHARACTERS * char_ns if bus.gap == "learned" else 0
    return Wire(framing, char_ns, silence_time_ns(char_ns, bus.baud), bus.switch_ns, least_ns)


def is_remote(port: str) -> bool:
    """Whether a port is an address in the network."""
    return bool(scheme_of(port))


def whereabouts(port: str, kernel: Kernel = LINUX) -> str:
    """What two names of one port have in common: the path of its node, the address of one in the network in full."""
    if is_remote(port):
        host, number = address_of(port)
        return f"{scheme_of(port)}://{host}:{number}"
    if port.startswith(identity.PREFIX):
        try:
            port = identity.find(kernel, port)
        except BusError:  # unplugged: its name is all there is
            return port
    return os.path.realpath(port)


class Port:
    """An open port: its descriptor, exclusive and non-blocking, and what its driver granted."""

    def __init__(self, kernel: Kernel, fd: int, path: str) -> None:
        self.kernel = kernel
        self.fd = fd
        self.path = path
        self.notes: tuple[Note, ...] = ()
        self.before: Terminal | None = None  # how a serial port was found; close() puts it back
        self.relay: Relay | None = None  # what encrypts for it

    def mark(self, *, on: bool) -> None:
        """Have damaged characters marked in what is read, or not. Raises OSError."""
        terminal.mark(self.kernel, self.fd, on=on)

    def close(self) -> None:
        """Close it, as it was found; an adapter that is unplugged has nothing left to be put back."""
        if self.before:
            with suppress(OSError):
                terminal.restore(self.kernel, self.fd, self.before)
            with suppress(OSError):
                lock.unlock(self.kernel, self.fd)
        self.kernel.close(self.fd)
        if self.relay:
            self.relay.stop()

    def why_lost(self, seen: str) -> str:
        """Why it can no longer be used: what TLS says, or what was `seen` of it."""
        return (self.relay and self.relay.why(0)) or seen


def open_port(bus: Bus, kernel: Kernel = LINUX) -> Port:
    """Open, lock and configure. Raises BusError or NotPermittedError with the remedy."""
    if is_remote(bus.port):
        return _connect(bus, kernel)
    path = identity.find(kernel, bus.port) if bus.port.startswith(identity.PREFIX) else bus.port
    try:
        port = Port(kernel, kernel.open(path), path)
    except OSError as error:
        raise _open_error(kernel, path, error) from error
    try:
        _prepare(port, bus)
    except OSError as error:
        port.close()
        raise _driver_error(path, error) from error
    except BaseException:
        port.close()
        raise
    return port


def _prepare(port: Port, bus: Bus) -> None:
    """The lock first: nothing is changed on a port that another program uses."""
    kernel, fd, path = port.kernel, port.fd, port.path
    found = _terminal_of(kernel, fd, path)
    notes = lock.lock(kernel, fd, path)
    port.before = found
    notes.append(rs485.set_direction(kernel, fd, bus.rs485, path))
    terminal.configure(kernel, fd, bus, path)
    port.notes = (*notes, *latency.quicken(kernel, fd), *lock.console(kernel, fd))
    with suppress(OSError):  # what is left in there is drained before the first request, too
        kernel.ioctl(fd, termios.TCFLSH, termios.TCIOFLUSH)


def _terminal_of(kernel: Kernel, fd: int, path: str) -> Terminal:
    try:
        if stat.S_ISCHR(kernel.stat(fd).st_mode):
            return Terminal.read(kernel, fd)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
    raise BusError(f"{path} is no serial port")


# --- what can go wrong ---


def _open_error(kernel: Kernel, path: str, error: OSError) -> FieldtapError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermittedError(f"{path}: no permission; {_permission_remedy(path)}")
    if error.errno == errno.EBUSY:
        return lock.busy(kernel, path)
    if error.errno in (errno.EISDIR, errno.ETXTBSY):
        return BusError(f"{path} is no serial port")
    hint = ""
    if error.errno == errno.ENOENT and Path(path).is_relative_to(kernel.dev):
        hint = f"; {identity.nearby(identity.adapters(kernel))}"
    return BusError(f"{path}: {reason(error)}{hint}")


def _driver_error(path: str, error: OSError) -> FieldtapError:
    if error.errno in VANISHED:
        return BusError(f"{path}: unplugged while it was being opened")
    return BusError(f"{path}: the driver refuses these settings: {reason(error)}")


def _permission_remedy(path: str) -> str:
    """The port's group, if that may use it; else a rule that lets one."""
    import grp  # noqa: PLC0415 # only for this message

    try:
        status = Path(path).stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (KeyError, OSError):
        return _join(USUAL_GROUP)
    if status.st_gid and status.st_mode & GROUP_MAY == GROUP_MAY:
        return _join(group)
    rule = f'KERNEL=="{Path(os.path.realpath(path)).name}", GROUP="{USUAL_GROUP}", MODE="0660"'
    return f"let a group use it with this line in {latency.RULE_FILE}: {rule}; then {_join(USUAL_GROUP)}"


def _join(group: str) -> str:
    return (
        f"add this user to the group of the port: sudo usermod -aG {group} $USER, then log in again "
        f"(a service: SupplementaryGroups={group})"
    )


# --- the network ---


def tune(link: socket.socket) -> None:
    """Small segments at once; a peer that is gone is noticed. Datagrams know nothing of either."""
    if link.type == socket.SOCK_STREAM:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def kind_of(port: str) -> socket.SocketKind:
    """Of the socket that leads there."""
    return socket.SOCK_DGRAM if is_datagrams(port) else socket.SOCK_STREAM


def _stream(bus: Bus) -> socket.socket:
    return socket.create_connection(address_of(bus.port), timeout=CONNECT_TIMEOUT_S)


def _datagrams(bus: Bus) -> socket.socket:
    """Connected, so that nobody else's are heard."""
    [(family, kind, _, _, address), *_] = socket.getaddrinfo(*address_of(bus.port), type=socket.SOCK_DGRAM)
    link = socket.socket(family, kind)
    try:
        link.connect(address)
    except OSError:
        link.close()
        raise
    return link


def _connect(bus: Bus, kernel: Kernel) -> Port:
    try:
        link = _datagrams(bus) if is_datagrams(bus.port) else _stream(bus)
    except OSError as error:
        raise BusError(f"{bus.port}: cannot connect: {error.strerror or error}") from error
    tune(link)
    if scheme_of(bus.port) == "tls":
        return _secured(bus, kernel, link)
    link.setblocking(False)
    return Port(kernel, link.detach(), bus.port)


def _secured(bus: Bus, kernel: Kernel, link: socket.socket) -> Port:
    relay = Relay()
    relay.ask(0, link, bus)
    found = relay.wait()
    if isinstance(found, str):
        relay.stop()
        raise BusError(f"{bus.port}: cannot connect: {found}")
    port = Port(kernel, found, bus.port)
    port.relay = relay
    return port
