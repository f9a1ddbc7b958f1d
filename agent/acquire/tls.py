"""Connections to devices in, descriptors that carry the plain bytes of a TLS connection out: one thread for all.

The loop of the links knows descriptors, not TLS. So what a link reads and writes is one end of a socket pair; at the
other end is this thread, which encrypts and decrypts. Either side has one piece under way at a time: who does not read
is not sent more.
"""

import os
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from agent import tls
from agent.clock import boot_ns
from agent.config.model import Bus
from agent.config.ports import address_of
from agent.model import NS_PER_MS, NS_PER_S

HANDSHAKE_S = 10  # small devices take seconds to sign
PIECE_BYTES = 16 * 1024  # a record of TLS holds no more


class _Session:
    """One connection: shaking hands as long as it has no pair, then carrying bytes."""

    def __init__(self, key: int, link: ssl.SSLSocket, peer: tls.Peer) -> None:
        self.key = key
        self.link = link
        self.peer = peer
        self.ours: socket.socket | None = None  # our end of the pair
        self.due_ns = boot_ns() + HANDSHAKE_S * NS_PER_S  # of the handshake
        self.to_device = b""
        self.to_agent = b""
        self.wants = select.POLLIN  # what TLS waits for at the connection
        self.has_spoken = False  # the device, since its handshake

    def interests(self) -> Iterator[tuple[int, int]]:
        """Descriptors, and what is waited for there; those that nothing is waited for are left alone."""
        if self.wants:
            yield self.link.fileno(), self.wants
        if self.ours is not None:
            events = (0 if self.to_device else select.POLLIN) | (select.POLLOUT if self.to_agent else 0)
            if events:
                yield self.ours.fileno(), events

    def close(self) -> None:
        """Hang up on both sides."""
        self.link.close()
        if self.ours is not None:
            self.ours.close()

    def shake_hands(self) -> bool:
        """Whether it is done. Raises OSError, of which ssl.SSLError is one."""
        self.wants = 0
        try:
            self.link.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
            self._await(want)
            return False
        return True

    def carry(self, ours: socket.socket) -> bool:
        """Move bytes both ways until both have to wait; False once a side has hung up. Raises OSError."""
        self.wants = 0
        return self._carry_to_agent(ours) and self._carry_to_device(ours)

    def _carry_to_agent(self, ours: socket.socket) -> bool:
        try:
            while data := self.to_agent or self.link.recv(PIECE_BYTES):
                self.to_agent = data
                self.has_spoken = True
                self.to_agent = data[ours.send(data) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
            self._await(want)
        except BlockingIOError:
            return True  # the agent has not read what it got before
        else:
            return False
        return True

    def _carry_to_device(self, ours: socket.socket) -> bool:
        try:
            while data := self.to_device or ours.recv(PIECE_BYTES):
                self.to_device = data
                self.to_device = data[self.link.send(data) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
            self._await(want)
        except BlockingIOError:
            return True
        else:
            return False
        return True

    def _await(self, want: ssl.SSLError) -> None:
        """What TLS wants has little to do with the way that bytes go: new keys are asked for and sent at any time."""
        self.wants |= select.POLLIN if isinstance(want, ssl.SSLWantReadError) else select.POLLOUT


def secured(link: socket.socket, bus: Bus) -> ssl.SSLSocket:
    """The connection, taken over, to shake hands on. Raises OSError or ValueError when a file or a name is no good."""
    context = tls.prepare(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), bus)  # checks certificate and host name
    link.setblocking(False)
    return context.wrap_socket(link, do_handshake_on_connect=False, server_hostname=_name_of(bus))


def _name_of(bus: Bus) -> str:
    return bus.server_name or address_of(bus.port)[0]


class Relay:
    """Answers to ask() are fetched with take(); `bell` is called when there is one. The thread comes with the first."""

    def __init__(self, bell: Callable[[], None] = lambda: None) -> None:
        self._bell = bell
        self._asked: queue.SimpleQueue[tuple[int, socket.socket, Bus]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, int | str]] = queue.SimpleQueue()
        self._ends: dict[int, str] = {}
        self._sessions: list[_Session] = []
        self._mailbox = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        self._stopping = False

    def __del__(self) -> None:
        os.close(self._mailbox)

    def ask(self, key: int, link: socket.socket, bus: Bus) -> None:
        """Secure this connection, which is taken over."""
        self._asked.put((key, link, bus))
        os.eventfd_write(self._mailbox, 1)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fieldtap-tls", daemon=True)
            self._thread.start()

    def take(self) -> tuple[int, int | str] | None:
        """The key and the descriptor of a connection, which is the caller's, or why there is none; None: no news."""
        try:
            return self._answers.get_nowait()
        except queue.Empty:
            return None

    def wait(self) -> int | str:
        """The next answer, for who has asked for one."""
        return self._answers.get()[1]

    def why(self, key: int) -> str:
        """Why the last connection of this key ended on the device's side; empty: it simply did."""
        return self._ends.get(key, "")

    def stop(self) -> None:
        """Hang up on all."""
        self._stopping = True
        os.eventfd_write(self._mailbox, 1)
        if self._thread is not None:
            self._thread.join()

    # --- the thread ---

    def _run(self) -> None:
        while not self._stopping:
            self._sleep()
            self._take_asked()
            for session in self._sessions[:]:
                self._serve(session)
        for session in self._sessions:
            session.close()
        while (answer := self.take()) is not None:  # nobody has
            if isinstance(answer[1], int):
                os.close(answer[1])

    def _sleep(self) -> None:
        waiter = select.poll()
        waiter.register(self._mailbox, select.POLLIN)
        for session in self._sessions:
            for fd, events in session.interests():
                waiter.register(fd, events)
        due_ns = min((session.due_ns for session in self._sessions if session.ours is None), default=None)
        ready = waiter.poll(None if due_ns is None else max(0, due_ns - boot_ns()) / NS_PER_MS + 1)
        if any(fd == self._mailbox for fd, _ in ready):
            os.eventfd_read(self._mailbox)

    def _take_asked(self) -> None:
        while not self._asked.empty():
            key, link, bus = self._asked.get()
            peer = tls.Peer("the device", _name_of(bus))
            try:
                self._sessions.append(_Session(key, secured(link, bus), peer))
            except (OSError, ValueError) as error:
                link.close()
                self._answer(key, _reason(error, peer))

    def _serve(self, session: _Session) -> None:
        try:
            if session.ours is None:
                self._shake_hands(session)
            if session.ours is not None and not session.carry(session.ours):
                self._end(session, "")
        except OSError as error:
            self._end(session, "" if session.has_spoken and _is_cut(error) else _reason(error, session.peer))

    def _shake_hands(self, session: _Session) -> None:
        if session.shake_hands():
            session.ours, theirs = socket.socketpair()
            session.ours.setblocking(False)
            theirs.setblocking(False)
            self._ends.pop(session.key, None)
            self._answer(session.key, theirs.detach())
        elif boot_ns() >= session.due_ns:
            self._end(session, f"no TLS handshake within {HANDSHAKE_S} s")

    def _end(self, session: _Session, reason: str) -> None:
        if session.ours is None:
            self._answer(session.key, reason)
        else:
            self._ends[session.key] = reason
        self._sessions.remove(session)
        session.close()

    def _answer(self, key: int, answer: int | str) -> None:
        self._answers.put((key, answer))
        self._bell()


def _is_cut(error: Exception) -> bool:
    return isinstance(error, ssl.SSLEOFError | ConnectionError)


def _reason(error: Exception, peer: tls.Peer) -> str:
    if _is_cut(error):  # a device that refuses says why, and closes so quickly that the words are often lost
        return f"{peer.who} hung up on TLS: does it want a client certificate, or another (cert)?"
    if isinstance(error, ssl.SSLError):
        return tls.explain(error, peer)
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"cannot read the file of ca, cert or key: {error.strerror}"
    return getattr(error, "strerror", None) or str(error)
