"""Messages out of the outbox, QoS 1 publishes to a broker, acknowledgements back."""

import logging
from collections.abc import Callable, Mapping
from random import random
from select import POLLIN, poll
from typing import NamedTuple

from agent.clock import boot_ns
from agent.config.model import Mqtt
from agent.model import NS_PER_MS, NS_PER_S, Outbox
from agent.uplink.session import DEFAULT_LIMITS, Limits, Session
from agent.uplink.topics import Topics

GOODBYE_NS = NS_PER_S // 2  # of the time to stop, kept for the DISCONNECT

log = logging.getLogger(__name__)


class UplinkStats(NamedTuple):
    """What the uplink has done since the start; schemas count as messages, and so does everything sent again."""

    connected: bool
    messages_sent: int
    messages_acked: int
    messages_rejected: int
    bytes_sent: int  # payloads
    in_flight: int
    reconnects: int
    last_error: str  # in words; the last one stays after it is over


class Uplink:
    """Publishes what the outbox holds. The agent's loop watches fileno() and calls pump(), also after every put()."""

    def __init__(
        self,
        settings: Mqtt,
        gateway: str,
        outbox: Outbox,
        schemas: Callable[[], Mapping[bytes, bytes]],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        from agent.uplink.link import Link  # noqa: PLC0415 paho takes 11 MiB: not for those who only need the topics

        self._session = Session(outbox, schemas, Topics(settings.topic, gateway), random, limits)
        self._link = Link(settings, gateway)
        self._url = settings.url
        self._told = False, ""  # whether connected, and the last error: as the log has them

    def start(self) -> None:
        """Begin; the first pump() connects."""
        self._link.start()

    def fileno(self) -> int:
        """An eventfd, readable when the network thread has something for pump()."""
        return self._link.fileno()

    def pump(self, now_ns: int) -> int | None:
        """Handle what the broker said, send what may be sent; never blocks. When to call again; None: on an event."""
        for event in self._link.events():
            self._session.handle(event, now_ns)
            self._tell()
        self._link.do(self._session.step(now_ns))
        self._tell()
        return self._session.deadline_ns()

    def stop(self, deadline_ns: int) -> None:
        """Send what is in flight and live as long as there is a connection and time, then DISCONNECT."""
        self.pump(boot_ns())
        self._session.close()
        self._flush(deadline_ns - GOODBYE_NS)
        self._session.abandon()
        self._link.close(max(0, deadline_ns - boot_ns()) / NS_PER_S)

    def stats(self) -> UplinkStats:
        """The counters and the state of the connection."""
        counts = self._session.counts
        return UplinkStats(
            connected=self._session.connected,
            messages_sent=counts.sent,
            messages_acked=counts.acknowledged,
            messages_rejected=counts.rejected,
            bytes_sent=counts.bytes_sent,
            in_flight=self._session.in_flight,
            reconnects=max(0, counts.connections - 1),
            last_error=self._session.last_error,
        )

    def _tell(self) -> None:
        """Log when the connection comes and goes, and why there is none: what stays the same once, not at every try."""
        told, self._told = self._told, (self._session.connected, self._session.last_error)
        if self._told == told:
            return
        connected, error = self._told
        if connected and not told[0]:
            log.info("connected to %s", self._url)
        else:
            log.warning("%s", error)

    def _flush(self, until_ns: int) -> None:
        waiter = poll()
        waiter.register(self.fileno(), POLLIN)
        while self._session.connected:
            now_ns = boot_ns()
            wake_ns = self.pump(now_ns)
            if self._session.drained or now_ns >= until_ns:
                return
            waiter.poll(max(0, min(until_ns, wake_ns or until_ns) - now_ns) / NS_PER_MS)
