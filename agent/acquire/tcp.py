"""Addresses of devices in, open connections out to the loop of the links: hundreds of connects at once, none waits.

Those over TLS make a way round by its thread (tls.py). Datagrams are "connected" at once: no one has answered yet.
"""

import errno
import os
import select
import socket
from collections.abc import Sequence
from typing import Protocol

from agent.acquire.backoff import Backoff
from agent.acquire.chronicle import Chronicle
from agent.acquire.events import Kind
from agent.acquire.port import CONNECT_TIMEOUT_S, kind_of, tune
from agent.acquire.resolve import Addresses, Resolver
from agent.acquire.tls import Relay
from agent.clock import boot_ns
from agent.config.model import Bus
from agent.config.ports import address_of, scheme_of
from agent.model import NS_PER_MS, NS_PER_S

CONNECT_TIMEOUT_NS = int(CONNECT_TIMEOUT_S * NS_PER_S)
NEVER_NS = 2**63 - 1


class Links(Protocol):
    """What the connector needs of the native loop."""

    def attach(self, link: int, fd: int) -> None:
        """Serve the link through this connection."""

    def fail(self, link: int) -> None:
        """There is no connection: the link's tags say so."""

    def take_lost(self, link: int) -> tuple[int, int] | None:
        """The connection that was lost and its errno, to be closed; None: all is well."""


class _Link:
    """One bus's connection: open, being made, or waiting for the next try."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.host, self.port = address_of(bus.port)
        self.is_tls = scheme_of(bus.port) == "tls"
        self.fd: int | None = None  # open
        self.trying: socket.socket | None = None
        self.addresses: Addresses = ()  # those not tried yet
        self.is_asking = False  # for its addresses, or for TLS
        self.due_ns = 0  # of the next try, or of giving this one up
        self.backoff = Backoff()
        self.error = ""  # why it is not open; empty before the first try

    @property
    def state(self) -> str:
        if self.fd is not None:
            return "open"
        return "failed" if self.error else "opening"


class Connector:
    """Connects every link; when that fails or a connection is lost, again with growing pauses. run() is its thread."""

    def __init__(self, links: Links, bell: int, buses: Sequence[Bus], chronicle: Chronicle) -> None:
        """`bell`: the eventfd that the loop rings when it has lost a connection."""
        self._native = links
        self._bell = bell
        self._chronicle = chronicle
        self._links = [_Link(bus) for bus in buses]
        self._by_fd: dict[int, int] = {}  # sockets that are being connected
        self._poll = select.poll()
        self._poll.register(bell, select.POLLIN)
        self._resolver = Resolver(self._ring)
        self._relay = Relay(self._ring)
        self._stopping = False

    def run(self) -> None:
        """Serve until stop(); closes all connections at the end."""
        while not self._stopping:
            now_ns = boot_ns()
            for number, link in enumerate(self._links):
                self._serve(number, link, now_ns)
            self._take_addresses()
            self._take_secured()
            self._sleep()
        self._relay.stop()
        for link in self._links:
            if link.trying is not None:
                link.trying.close()
            if link.fd is not None:
                os.close(link.fd)

    def stop(self) -> None:
        """Make run() return; the loop must not use the connections any more."""
        self._stopping = True
        os.eventfd_write(self._bell, 1)

    def state(self, link: int) -> tuple[str, str]:
        """`opening`, `open` or `failed`, and the last error."""
        return self._links[link].state, self._links[link].error

    def _ring(self) -> None:
        """There is an answer, in the thread of the resolver, which may live on when nobody asks any more, or of TLS."""
        if not self._stopping:
            os.eventfd_write(self._bell, 1)

    def _sleep(self) -> None:
        """Until a try is due or over, a connection was lost, or a name was found."""
        due_ns = min(link.due_ns for link in self._links)
        pause_ms = None if due_ns == NEVER_NS else max(0, due_ns - boot_ns()) / NS_PER_MS + 1
        for fd, _ in self._poll.poll(pause_ms):
            if fd == self._bell:
                os.eventfd_read(fd)
            else:
                self._conclude(self._by_fd[fd])

    def _serve(self, number: int, link: _Link, now_ns: int) -> None:
        lost = self._native.take_lost(number)
        if lost is not None:
            self._lose(number, link, *lost)
        if now_ns < link.due_ns or link.fd is not None or link.is_asking:
            return
        if link.trying is not None:
            self._refuse(number, link, f"no connection within {CONNECT_TIMEOUT_S:g} s")
            return
        link.is_asking = True
        link.due_ns = NEVER_NS
        self._resolver.ask(number, link.host, link.port)

    def _lose(self, number: int, link: _Link, fd: int, why: int) -> None:
        os.close(fd)
        link.fd = None
        reason = os.strerror(why) if why else "closed by the other side"
        if why == errno.ETIMEDOUT:
            reason = "no answers"
        elif link.is_tls:
            reason = self._relay.why(number) or "closed by the other side"
        self._wait(link, f"{link.bus.port}: lost: {reason}")

    # --- one try: all addresses of a name, one after the other ---

    def _take_addresses(self) -> None:
        while (answer := self._resolver.take()) is not None:
            number, found = answer
            link = self._links[number]
            link.is_asking = False
            if isinstance(found, OSError):
                link.addresses = ()
                self._refuse(number, link, found.strerror or str(found))
            else:
                link.addresses = found
                self._begin(number, link)

    def _begin(self, number: int, link: _Link) -> None:
        """Connect to the next address; what cannot even be begun is refused."""
        (family, address), *rest = link.addresses
        link.addresses = tuple(rest)
        link.due_ns = boot_ns() + CONNECT_TIMEOUT_NS
        try:
            kind = kind_of(link.bus.port) | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            link.trying = socket.socket(family, kind)
        except OSError as error:
            self._refuse(number, link, error.strerror or str(error))
            return
        self._by_fd[link.trying.fileno()] = number
        code = link.trying.connect_ex(address)
        if code in (0, errno.EINPROGRESS):
            self._poll.register(link.trying, select.POLLOUT)
        else:
            self._refuse(number, link, os.strerror(code))

    def _conclude(self, number: int) -> None:
        link = self._links[number]
        if link.trying is None:
            return
        code = link.trying.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._refuse(number, link, os.strerror(code))
            return
        tune(link.trying)
        self._forget(link.trying)
        connected, link.trying = link.trying, None
        link.due_ns = NEVER_NS
        if link.is_tls:
            link.is_asking = True
            self._relay.ask(number, connected, link.bus)
        else:
            self._open(number, link, connected.detach())

    def _take_secured(self) -> None:
        while (answer := self._relay.take()) is not None:
            number, found = answer
            link = self._links[number]
            link.is_asking = False
            if isinstance(found, int):
                self._open(number, link, found)
            else:
                self._refuse(number, link, found)

    def _open(self, number: int, link: _Link, fd: int) -> None:
        link.fd = fd
        link.error = ""
        link.backoff.succeeded(boot_ns())
        self._native.attach(number, fd)
        # Last: who hears of it may have requests for it.
        self._chronicle.tell(Kind.PORT_UP, link.bus.name, f"{link.bus.port} is open")

    def _refuse(self, number: int, link: _Link, reason: str) -> None:
        """One address will not do; the next one, or all of them later."""
        if link.trying is not None:
            self._forget(link.trying)
            link.trying.close()
            link.trying = None
        if link.addresses:
            self._begin(number, link)
            return
        first = not link.error  # a lost connection has failed its tags already
        self._wait(link, f"{link.bus.port}: cannot connect: {reason}")
        if first:
            self._native.fail(number)

    def _forget(self, trying: socket.socket) -> None:
        if self._by_fd.pop(trying.fileno(), None) is not None:
            try:
                self._poll.unregister(trying)
            except KeyError:  # it failed before it could be waited for
                return

    def _wait(self, link: _Link, error: str) -> None:
        """Say it once, not at every try."""
        if error != link.error:
            self._chronicle.tell(Kind.PORT_DOWN, link.bus.name, error)
        link.error = error
        link.backoff.failed(boot_ns())
        link.due_ns = link.backoff.due_ns
