"""Lines of JSON from other programs in, the lines that answer them out: one Unix socket, which waits for nobody.

A connection has one request under way; what it sends meanwhile stays in the kernel. So what is held for others is
bounded, and one who sends without reading is cut off rather than waited for.
"""

import logging
import os
import pwd
import select
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.acquire.tickets import Ticket
from agent.control import protocol
from agent.control.protocol import MAX_LINE_BYTES, Facts, Request
from agent.errors import ExitCode, FieldtapError, UsageError
from agent.model import NS_PER_S

MAX_CONNECTIONS = 16  # people and pages at one gateway, with room to spare
REST_NS = NS_PER_S  # after accept(2) failed, say for lack of descriptors
PEER = struct.Struct("=iII")  # struct ucred: pid, uid, gid
MODE = 0o660  # the agent's user and group, as unix(7) has it: who may write to a socket may connect

log = logging.getLogger(__name__)

Serve = Callable[[Request, str, int], Ticket | Facts]
Told = Callable[[Any], Facts]


class _Connection:
    """One program that asks, and what of its next request has come."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self.link = link
        self.who = _who(link)
        self.received = b""
        self.ticket: Ticket | None = None  # what it waits for


class Server:
    """The socket of one agent. turn() does what there is to do, `fileno()` is readable when there is something."""

    def __init__(self, path: Path, serve: Serve, told: Told) -> None:
        """`serve(request, who, now_ns)` answers, at once or by a ticket whose result `told` puts into facts."""
        self._path = path
        self._serve = serve
        self._facts_of = told
        self._listener = _listener(path)
        self._connections: dict[int, _Connection] = {}
        self._rest_until_ns = 0
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when turn() has something to do."""
        return self._epoll.fileno()

    def turn(self, finished: Iterable[Ticket], now_ns: int) -> None:
        """Answer those whose tickets are done, hear those who have something to say."""
        done = set(map(id, finished))
        for connection in list(self._connections.values()):
            if connection.ticket is not None and id(connection.ticket) in done:
                self._finish(connection, connection.ticket, now_ns)
        if self._rest_until_ns and now_ns >= self._rest_until_ns:
            self._rest_until_ns = 0
            self._epoll.register(self._listener, select.EPOLLIN)
        for fd, _ in self._epoll.poll(0):
            if fd == self._listener.fileno():
                self._accept(now_ns)
            elif fd in self._connections:
                self._hear(self._connections[fd], now_ns)

    def close(self) -> None:
        """Let nobody in any more, and everybody go."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._epoll.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self, now_ns: int) -> None:
        try:
            link, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("%s: nobody is let in for a moment: %s", self._path, error.strerror)
            self._epoll.unregister(self._listener)
            self._rest_until_ns = now_ns + REST_NS
            return
        connection = _Connection(link)
        if len(self._connections) >= MAX_CONNECTIONS:
            self._say(connection, _refusal(f"{MAX_CONNECTIONS} programs are connected already"))
            link.close()
            return
        self._connections[link.fileno()] = connection
        self._epoll.register(link, select.EPOLLIN | select.EPOLLONESHOT)

    def _hear(self, connection: _Connection, now_ns: int) -> None:
        try:
            data = connection.link.recv(MAX_LINE_BYTES)
        except OSError:
            data = b""
        connection.received += data
        if not data:
            self._drop(connection)
        else:
            self._serve_received(connection, now_ns)

    def _serve_received(self, connection: _Connection, now_ns: int) -> None:
        """Serve the lines that are there, until one has to be waited for."""
        while connection.ticket is None and b"\n" in connection.received:
            line, _, connection.received = connection.received.partition(b"\n")
            if not self._served(connection, line, now_ns):
                self._drop(connection)
                return
        if connection.ticket is not None:
            return
        if len(connection.received) >= MAX_LINE_BYTES:
            self._say(connection, _refusal(f"a line has less than {MAX_LINE_BYTES} bytes"))
            self._drop(connection)
        else:
            self._epoll.modify(connection.link, select.EPOLLIN | select.EPOLLONESHOT)

    def _served(self, connection: _Connection, line: bytes, now_ns: int) -> bool:
        """Carry out one request; False: its owner is gone."""
        try:
            result = self._serve(protocol.read_request(line), connection.who, now_ns)
        except FieldtapError as error:
            return self._say(connection, protocol.error_line(error))
        if not isinstance(result, Ticket):
            return self._say(connection, protocol.answer_line(result))
        connection.ticket = result
        return self._told(connection, result) if result.done else True

    def _finish(self, connection: _Connection, ticket: Ticket, now_ns: int) -> None:
        if self._told(connection, ticket):
            self._serve_received(connection, now_ns)
        else:
            self._drop(connection)

    def _told(self, connection: _Connection, ticket: Ticket) -> bool:
        connection.ticket = None
        if ticket.error:
            return self._say(connection, protocol.error_line(ticket.error))
        return self._say(connection, protocol.answer_line(self._facts_of(ticket.result)))

    @staticmethod
    def _say(connection: _Connection, line: bytes) -> bool:
        """Whether all of it went out: an answer is far smaller than what the kernel holds for one who reads."""
        try:
            return connection.link.send(line) == len(line)
        except OSError:
            return False

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.link.fileno(), None)
        connection.link.close()


def _refusal(why: str) -> bytes:
    error = UsageError(why)
    error.exit_code = ExitCode.UNAVAILABLE
    return protocol.error_line(error)


def _listener(path: Path) -> socket.socket:
    """Listening, with the mode from its first moment; what an agent of this number left behind is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o777 & ~MODE)
    try:
        listener.bind(str(path))
        listener.listen(MAX_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _who(link: socket.socket) -> str:
    """For the record of writes: the kernel's word, not that of the program."""
    pid, uid, _ = PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return f"{name} (pid {pid})"
