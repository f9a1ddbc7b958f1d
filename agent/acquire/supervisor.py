"""Ports that are missing or lost in, open ports out to the loop: opening and retrying, away from the bus."""

import errno
import logging
import os
import random
import select
from collections.abc import Callable, Sequence
from typing import Protocol

from agent.acquire.port import open_port
from agent.clock import boot_ns
from agent.config.model import Bus
from agent.errors import FieldtapError
from agent.model import NS_PER_MS

FIRST_RETRY_MS = 200
LAST_RETRY_MS = 5000
JITTER = 0.2  # buses that failed together do not retry together

log = logging.getLogger(__name__)


class Lines(Protocol):
    """What the supervisor needs of the native loop."""

    def attach(self, line: int, fd: int) -> None:
        """Serve the line through this port."""

    def fail(self, line: int) -> None:
        """There is no port: the line's tags say so."""

    def take_lost(self, line: int) -> tuple[int, int] | None:
        """The port that was lost and its errno, to be closed; None: all is well."""

    def supervisor_fileno(self) -> int:
        """An eventfd, readable when a port was lost."""


class _Port:
    """One bus's port: open, or waiting for the next try."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.fd: int | None = None
        self.retry_ms = FIRST_RETRY_MS
        self.retry_at_ns = 0
        self.error = ""  # why it is not open; empty before the first try

    @property
    def state(self) -> str:
        if self.fd is not None:
            return "open"
        return "failed" if self.error else "opening"


class Supervisor:
    """Opens every bus's port and, when it fails or vanishes, tries again with growing pauses. run() is its thread."""

    def __init__(self, lines: Lines, buses: Sequence[Bus], open_: Callable[[Bus], int] = open_port) -> None:
        self._lines = lines
        self._open = open_
        self._ports = [_Port(bus) for bus in buses]
        self._stopping = False

    def run(self) -> None:
        """Serve until stop(); closes all ports at the end."""
        bell = select.poll()
        bell.register(self._lines.supervisor_fileno(), select.POLLIN)
        while not self._stopping:
            for line, port in enumerate(self._ports):
                self._serve(line, port)
            if bell.poll(self._pause_ms()):
                os.eventfd_read(self._lines.supervisor_fileno())
        for port in self._ports:
            if port.fd is not None:
                os.close(port.fd)

    def stop(self) -> None:
        """Make run() return; the loop must not use the ports any more."""
        self._stopping = True
        os.eventfd_write(self._lines.supervisor_fileno(), 1)

    def state(self, line: int) -> tuple[str, str]:
        """`opening`, `open` or `failed`, and the last error."""
        return self._ports[line].state, self._ports[line].error

    def _serve(self, line: int, port: _Port) -> None:
        lost = self._lines.take_lost(line)
        if lost is not None:
            self._lose(port, *lost)
        if port.fd is None and boot_ns() >= port.retry_at_ns and not self._stopping:
            self._try(line, port)

    def _lose(self, port: _Port, fd: int, why: int) -> None:
        os.close(fd)
        port.fd = None
        reason = os.strerror(why) if why else "closed by the other side"
        if why == errno.EIO:
            reason = "unplugged"
        self._report(port, f"{port.bus.port}: lost: {reason}")
        self._schedule(port)

    def _try(self, line: int, port: _Port) -> None:
        first = not port.error
        try:
            port.fd = self._open(port.bus)
        except (FieldtapError, OSError) as error:
            self._report(port, str(error))
            self._schedule(port)
            if first:  # a lost port has failed its tags already
                self._lines.fail(line)
            return
        port.error = ""
        port.retry_ms = FIRST_RETRY_MS
        log.info("bus %s: %s is open", port.bus.name, port.bus.port)
        self._lines.attach(line, port.fd)

    def _report(self, port: _Port, error: str) -> None:
        """Say it once, not at every try."""
        if error != port.error:
            log.warning("bus %s: %s", port.bus.name, error)
        port.error = error

    def _schedule(self, port: _Port) -> None:
        jitter = 1 + JITTER * (2 * random.random() - 1)  # noqa: S311 # spreads retries, guards no secret
        port.retry_at_ns = boot_ns() + int(port.retry_ms * jitter * NS_PER_MS)
        port.retry_ms = min(2 * port.retry_ms, LAST_RETRY_MS)

    def _pause_ms(self) -> float | None:
        """Until the next try; None: until the loop loses a port."""
        waiting = [port.retry_at_ns for port in self._ports if port.fd is None]
        return max(0, min(waiting) - boot_ns()) / NS_PER_MS + 1 if waiting else None
