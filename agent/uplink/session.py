"""What the outbox holds, what the link reports and the time come in; what the link is to do next goes out. No I/O.

One connection after the other: announce the schemas, then keep a small window of QoS 1 messages in flight, live ones
first. Only a successful PUBACK lets the outbox forget a message; whatever is in flight when a connection ends is given
back and sent again on the next, so a cut costs at most a window of duplicates and never a message.
"""

from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from agent.model import NS_PER_S, BatchKey, Message, Outbox
from agent.uplink.events import (
    Acknowledged,
    Action,
    Connect,
    Connected,
    Disconnected,
    Drop,
    Event,
    Publish,
    Terms,
)
from agent.uplink.pace import Backoff, TokenBucket
from agent.uplink.topics import Topics

# MQTT 5 reason codes that we treat apart; everything else from FAILURE on is worth another try.
FAILURE = 0x80
PACKET_TOO_LARGE = 0x95
QUOTA_EXCEEDED = 0x97
PAYLOAD_FORMAT_INVALID = 0x99
REFUSES_MESSAGE = frozenset({PACKET_TOO_LARGE, PAYLOAD_FORMAT_INVALID})
# Not authorised and topic name invalid are about the connection's rights and the configured topic, not about one
# message: setting messages aside for it would empty the store, one by one, because of one wrong line elsewhere.
REFUSES_SENDER = {0x87: "not authorised", 0x90: "topic name invalid"}
PACKET_OVERHEAD_BYTES = 16  # fixed header 5, topic length 2, packet id 2, properties 1, and room


class Limits(NamedTuple):
    """Every bound of a session, with its reason."""

    window: int = 10  # in flight: every cloud endpoint allows it, and it bounds the duplicates after a cut
    backlog_window: int = 5  # of these for the backlog, so that a live message never waits behind a full window of old
    backlog_per_s: int = 10  # half of what a careful endpoint takes from one client, also in bursts of as many
    backoff_first_ns: int = 1 * NS_PER_S  # full jitter: the wait is random below this, doubled with every failure ...
    backoff_longest_ns: int = 60 * NS_PER_S  # ... up to this, so that a broker coming back is not run over
    stable_ns: int = 30 * NS_PER_S  # a connection that lived so long was a good one: back-off starts anew
    ack_timeout_ns: int = 60 * NS_PER_S  # no PUBACK for so long: dead link; 120 KiB at 20 kbit/s take 48 s
    tries: int = 3  # refusals without a clear meaning before a message counts as rejected


DEFAULT_LIMITS = Limits()


class Counts(NamedTuple):
    """What a session has done since the start; schemas count as messages."""

    sent: int = 0
    acknowledged: int = 0
    rejected: int = 0
    bytes_sent: int = 0
    connections: int = 0


class _State(Enum):
    WAITING = 0
    CONNECTING = 1
    UP = 2
    CLOSING = 3  # up, but takes no backlog and will not connect again
    CLOSED = 4


class _Flight(NamedTuple):
    """A message from the moment it is taken until its fate is known; compares by token, the order of taking."""

    token: int
    publish: Publish
    key: BatchKey | None  # None: a schema
    historical: bool = False
    tries: int = 1


class Session:
    """The rules by which messages leave the outbox for one broker."""

    def __init__(
        self,
        outbox: Outbox,
        schemas: Callable[[], Mapping[bytes, bytes]],
        topics: Topics,
        random: Callable[[], float],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._outbox = outbox
        self._schemas = schemas
        self._topics = topics
        self._limits = limits
        self._state = _State.WAITING
        self._backoff = Backoff(limits.backoff_first_ns, limits.backoff_longest_ns, random)
        self._slowdown = Backoff(limits.backoff_first_ns, limits.backoff_longest_ns, random)
        self._backlog_pace = TokenBucket(limits.backlog_per_s)
        self._retry_ns = 0
        self._actions: list[Action] = []
        self._flights: dict[int, _Flight] = {}  # by token
        self._resend: list[_Flight] = []  # refused for now, in the order in which they were taken
        self._next_token = 0
        self._suspicious = False  # the last connection ended over a message it did not name: one at a time until found
        self.counts = Counts()
        self.last_error = ""
        self._begin_connection(0, Terms())

    @property
    def connected(self) -> bool:
        """True while a broker takes messages."""
        return self._state in (_State.UP, _State.CLOSING)

    @property
    def in_flight(self) -> int:
        """Messages handed to the link whose fate is open."""
        return len(self._flights)

    def handle(self, event: Event, now_ns: int) -> None:
        """Take in what the link reports."""
        match event:
            case Connected(terms):
                self._connected(terms, now_ns)
            case Acknowledged(token, code):
                self._acknowledged(token, code, now_ns)
            case Disconnected(why, code):
                self._disconnected(why, code, now_ns)

    def step(self, now_ns: int) -> list[Action]:
        """What the link is to do now."""
        if self._state is _State.WAITING and now_ns >= self._retry_ns:
            self._state = _State.CONNECTING
            self._actions.append(Connect())
        if self.connected and self._is_stalled(now_ns):
            seconds = self._limits.ack_timeout_ns // NS_PER_S
            self._drop(f"the broker has acknowledged nothing for {seconds} s: connecting anew", now_ns)
        if self.connected and now_ns >= self._pause_until_ns:
            self._actions.extend(self._fill_window(now_ns))
        actions, self._actions = self._actions, []
        return actions

    def deadline_ns(self) -> int | None:
        """When step() has something to do although nothing was reported; None: never."""
        if self._state is _State.WAITING:
            return self._retry_ns
        if not self.connected:
            return None
        times = []
        if self._flights:
            times.append(self._progress_ns + self._limits.ack_timeout_ns)
        if self._resend and len(self._flights) < self._window:
            times.append(self._pause_until_ns)
        if self._backlog_left and self._has_room_for_backlog():
            times.append(max(self._backlog_pace.ready_ns(), self._pause_until_ns))
        return min(times, default=None)

    def close(self) -> bool:
        """Finish what is in flight and live, then nothing more; True when there is no connection to do it on."""
        if self.connected:
            self._state = _State.CLOSING
            self._backlog_left = False
            return False
        self.abandon()
        return True

    @property
    def drained(self) -> bool:
        """True when a closing session has nothing more to wait for; ask after step()."""
        return not self._flights and not self._resend

    def abandon(self) -> None:
        """Give everything in flight back and end for good."""
        self._give_back()
        self._state = _State.CLOSED

    # --- connections

    def _begin_connection(self, now_ns: int, terms: Terms) -> None:
        self._terms = terms
        self._since_ns = now_ns
        self._progress_ns = now_ns
        self._pause_until_ns = 0
        self._window_limit = 1 if self._suspicious else max(1, min(self._limits.window, terms.receive_maximum))
        self._window = 1  # grows by one with every success: a broker that takes nothing gets nothing twice
        self._announced: set[bytes] = set()
        self._backlog_left = True

    def _connected(self, terms: Terms, now_ns: int) -> None:
        if self._state is not _State.CONNECTING:
            return
        self._state = _State.UP
        self.counts = self.counts._replace(connections=self.counts.connections + 1)
        self._begin_connection(now_ns, terms)

    def _disconnected(self, why: str, code: int, now_ns: int) -> None:
        if self._state is _State.CLOSED:
            return
        if self.connected and now_ns - self._since_ns >= self._limits.stable_ns:
            self._backoff.reset()
            self._suspicious = False
        if code in REFUSES_MESSAGE:
            self._suspect(why)
        self.last_error = why
        self._give_back()
        closing = self._state is _State.CLOSING
        self._state = _State.CLOSED if closing else _State.WAITING
        self._retry_ns = now_ns + self._backoff.next_ns()

    def _suspect(self, why: str) -> None:
        """The broker hung up over a message without saying which: it is known when it was the only one in flight."""
        self._suspicious = True
        if len(self._flights) == 1:
            self._reject(self._flights.popitem()[1], why)

    def _drop(self, why: str, now_ns: int) -> None:
        self._actions.append(Drop())
        self._disconnected(why, 0, now_ns)

    def _give_back(self) -> None:
        self._flights.clear()
        self._resend.clear()
        self._outbox.give_back()

    def _is_stalled(self, now_ns: int) -> bool:
        return bool(self._flights) and now_ns - self._progress_ns >= self._limits.ack_timeout_ns

    # --- acknowledgements

    def _acknowledged(self, token: int, code: int, now_ns: int) -> None:
        flight = self._flights.pop(token, None)
        if flight is None:
            return
        self._progress_ns = now_ns
        if code < FAILURE:
            self._delivered(flight)
        elif code in REFUSES_SENDER:
            topic = flight.publish.topic
            self._drop(f"the broker refuses {topic}: {REFUSES_SENDER[code]}: check its access rules", now_ns)
        elif code in REFUSES_MESSAGE or (code != QUOTA_EXCEEDED and flight.tries >= self._limits.tries):
            self._reject(flight, f"refused by the broker with reason code 0x{code:02x}")
        else:
            self._slow_down(flight, code, now_ns)

    def _delivered(self, flight: _Flight) -> None:
        self.counts = self.counts._replace(acknowledged=self.counts.acknowledged + 1)
        self._window = min(self._window + 1, self._window_limit)
        self._slowdown.reset()
        if flight.key is not None:
            self._outbox.acknowledge(flight.key)

    def _reject(self, flight: _Flight, reason: str) -> None:
        """Set one message aside so that it does not block the rest; a schema is tried again on the next connection."""
        self.counts = self.counts._replace(rejected=self.counts.rejected + 1)
        self.last_error = f"message of {len(flight.publish.payload)} bytes: {reason}"
        self._suspicious = False
        if flight.key is not None:
            self._outbox.reject(flight.key, reason)

    def _slow_down(self, flight: _Flight, code: int, now_ns: int) -> None:
        self.last_error = f"the broker asks for less (reason code 0x{code:02x}): sending slower"
        tries = flight.tries if code == QUOTA_EXCEEDED else flight.tries + 1
        insort(self._resend, flight._replace(tries=tries), key=_by_token)
        self._window = max(1, self._window // 2)
        self._pause_until_ns = now_ns + self._slowdown.next_ns()

    # --- sending

    def _fill_window(self, now_ns: int) -> Iterator[Publish]:
        while len(self._flights) < self._window:
            flight = self._next_flight(now_ns)
            if flight is None:
                return
            if len(flight.publish.payload) + self._overhead(flight) > self._terms.maximum_packet_bytes:
                self._reject(flight, f"more than the broker takes ({self._terms.maximum_packet_bytes} bytes)")
                continue
            if not self._flights:
                self._progress_ns = now_ns
            self._flights[flight.token] = flight
            bytes_sent = self.counts.bytes_sent + len(flight.publish.payload)
            self.counts = self.counts._replace(sent=self.counts.sent + 1, bytes_sent=bytes_sent)
            yield flight.publish

    @staticmethod
    def _overhead(flight: _Flight) -> int:
        return PACKET_OVERHEAD_BYTES + len(flight.publish.topic.encode())

    def _next_flight(self, now_ns: int) -> _Flight | None:
        """Refused ones again, then schemas, then what is live, then the backlog as its pace allows."""
        if self._resend:
            return self._resend.pop(0)
        return self._next_schema() or self._next_live() or self._next_backlog(now_ns)

    def _next_schema(self) -> _Flight | None:
        for schema_hash, payload in self._schemas().items():
            if schema_hash not in self._announced:
                self._announced.add(schema_hash)
                return self._flight(self._topics.schema(schema_hash), payload, None, retain=self._terms.retain)
        return None

    def _next_live(self) -> _Flight | None:
        message = self._outbox.take_live()
        return message and self._data_flight(message)

    def _next_backlog(self, now_ns: int) -> _Flight | None:
        if (
            self._state is _State.CLOSING
            or not self._has_room_for_backlog()
            or not self._backlog_pace.has_token(now_ns)
        ):
            return None
        message = self._outbox.take_backlog()
        self._backlog_left = message is not None
        if message is None:
            return None
        self._backlog_pace.take()
        return self._data_flight(message, historical=True)

    def _has_room_for_backlog(self) -> bool:
        historical = sum(flight.historical for flight in self._flights.values())
        return len(self._flights) < self._window and historical < self._limits.backlog_window

    def _data_flight(self, message: Message, *, historical: bool = False) -> _Flight:
        return self._flight(self._topics.data, message.payload, message.key, historical=historical)

    def _flight(
        self, topic: str, payload: bytes, key: BatchKey | None, *, retain: bool = False, historical: bool = False
    ) -> _Flight:
        self._next_token += 1
        return _Flight(self._next_token, Publish(self._next_token, topic, payload, retain), key, historical)


def _by_token(flight: _Flight) -> int:
    return flight.token
