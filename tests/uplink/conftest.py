"""Peers for the uplink: an outbox in memory, a TCP proxy, a scripted MQTT 5 broker, certificates, and a driver."""

import select
import socket
import struct
import threading
import time
from collections import deque

import pytest
from certificates import Authority
from tcp_proxy import Proxy
from weather import Weather

from agent.clock import boot_ns
from agent.config.model import Mqtt
from agent.model import NS_PER_MS, BatchKey, Message
from agent.simulate.broker import Broker
from agent.uplink import Uplink
from agent.uplink.session import Limits

DEADLINE_S = 20.0  # for a condition to come true on a busy machine
IMPATIENT = Limits(backoff_first_ns=20 * NS_PER_MS, backoff_longest_ns=100 * NS_PER_MS)
EPOCH = b"epoch-01"


class MemoryOutbox:
    """An Outbox that keeps everything in memory and watches over the rules of its protocol."""

    def __init__(self):
        self.live = deque()
        self.backlog = deque()
        self.taken = {}
        self.acknowledged = []
        self.rejected = []
        self.historical_seqs = set()
        self._next_seq = 0

    def put(self, count, *, backlog=False, size=20):
        queue = self.backlog if backlog else self.live
        for _ in range(count):
            seq = self._next_seq
            self._next_seq += 1
            if backlog:
                self.historical_seqs.add(seq)
            queue.append(Message(BatchKey(EPOCH, seq), struct.pack(">Q", seq).ljust(size, b"."), 1, backlog))

    def take_live(self):
        return self._take(self.live)

    def take_backlog(self):
        return self._take(self.backlog)

    def _take(self, queue):
        if not queue:
            return None
        message = queue.popleft()
        self.taken[message.key] = message
        return message

    def acknowledge(self, key):
        if self.taken.pop(key, None):
            self.acknowledged.append(key)

    def reject(self, key, reason):
        del self.taken[key]
        self.rejected.append((key, reason))

    def give_back(self):
        for message in sorted(self.taken.values(), key=lambda message: message.key, reverse=True):
            (self.backlog if message.historical else self.live).appendleft(message)
        self.taken.clear()

    @property
    def empty(self):
        return not (self.live or self.backlog or self.taken)


def seq_of(payload):
    return struct.unpack(">Q", payload[:8])[0]


class Driver:
    """The agent's loop for one uplink: waits for its events and calls pump()."""

    def __init__(self, settings, outbox, schemas, limits=IMPATIENT):
        self.outbox = outbox
        self.uplink = Uplink(settings, "gw1", outbox, lambda: schemas, limits)
        self.uplink.start()
        self.slowest_pump_s = 0.0
        self._stopped = False

    @property
    def stats(self):
        return self.uplink.stats()

    def until(self, condition, timeout_s=DEADLINE_S):
        poller = select.poll()
        poller.register(self.uplink.fileno(), select.POLLIN)
        end = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            wake_ns = self.uplink.pump(boot_ns())
            self.slowest_pump_s = max(self.slowest_pump_s, time.monotonic() - began)
            if condition():
                return
            assert time.monotonic() < end, f"{self.stats}"
            wait_ms = 20 if wake_ns is None else max(0, min(20, (wake_ns - boot_ns()) / NS_PER_MS))
            poller.poll(wait_ms)

    def until_acknowledged(self):
        self.until(lambda: self.outbox.empty and self.stats.in_flight == 0)

    def stop(self, timeout_s=4.0):
        if not self._stopped:
            self._stopped = True
            self.uplink.stop(boot_ns() + int(timeout_s * 1e9))


class ScriptedBroker:
    """Just enough MQTT 5 to say what real brokers rarely say.

    `answer(topic, payload)` is the PUBACK's reason code, None for no PUBACK, or "hang up". With `hold` PUBACKs wait
    until so many are due, or until nothing more comes. `greet(level, number)` False: hang up on this CONNECT. With
    `tls`, an SSLContext, `behind_connack` follows CONNACK in the same TLS record.
    """

    def __init__(
        self,
        *,
        properties=b"",
        connack=0,
        behind_connack=b"",
        answer=lambda topic, payload: 0,
        hold=1,
        hang_up_code=0x95,
        greet=lambda level, number: True,
        tls=None,
    ):
        self._connack = bytes([0x20, 3 + len(properties), 0, connack, len(properties)]) + properties + behind_connack
        self._greet = greet
        self._tls = tls
        self._answer = answer
        self._hold = hold
        self._hang_up_code = hang_up_code
        self._due = []
        self.connects = []  # the protocol level of each
        self.clean_starts = []  # whether each asked the broker to forget what it knew of us
        self.published = []  # topic, payload, retain, answer
        self.most_unacknowledged = 0
        self.disconnects = 0
        self.left = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._due.clear()
            with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as stream:
                self._serve(stream)
            self.left.set()

    def _serve(self, connection):
        buffer = b""
        while True:
            if self._due and not select.select([connection], [], [], 0.05)[0]:
                self._send_due(connection)
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer = self._packets(connection, buffer + data)
            if buffer is None:
                return

    def _packets(self, connection, buffer):
        while len(buffer) >= 2:
            length = begin = 0
            while begin + 1 < len(buffer) and (begin == 0 or buffer[begin] > 127):
                length |= (buffer[begin + 1] & 127) << 7 * begin
                begin += 1
            end = begin + 1 + length
            if buffer[begin] > 127 or len(buffer) < end:
                break
            if not self._packet(connection, buffer[0], buffer[begin + 1 : end]):
                return None
            buffer = buffer[end:]
        return buffer

    def _packet(self, connection, header, body):
        kind = header >> 4
        if kind == 1:
            self.connects.append(body[6])
            self.clean_starts.append(bool(body[7] & 2))
            if not self._greet(self.connects[-1], len(self.connects)):
                return False
            connection.sendall(self._connack if self.connects[-1] == 5 else b"\x20\x02\0\0")
        elif kind == 3:
            return self._publish(connection, header, body)
        elif kind == 12:
            connection.sendall(b"\xd0\x00")
        elif kind == 14:
            self.disconnects += 1
        return True

    def _publish(self, connection, header, body):
        topic_end = 2 + int.from_bytes(body[:2])
        properties = self.connects[-1] == 5  # none: one zero byte
        topic, payload = body[2:topic_end].decode(), body[topic_end + 2 + properties :]
        answer = self._answer(topic, payload)
        self.published.append((topic, payload, header & 1, answer))
        if answer == "hang up":
            connection.sendall(bytes([0xE0, 1, self._hang_up_code]))
            return False
        if answer is not None:
            reason = bytes([answer, 0]) if properties else b""
            self._due.append(bytes([0x40, 2 + len(reason)]) + body[topic_end : topic_end + 2] + reason)
        self.most_unacknowledged = max(self.most_unacknowledged, len(self._due))
        if len(self._due) >= self._hold:
            self._send_due(connection)
        return True

    def _send_due(self, connection):
        connection.sendall(b"".join(self._due))
        self._due.clear()


@pytest.fixture
def outbox():
    return MemoryOutbox()


@pytest.fixture
def weather(outbox):
    """A session on that outbox, in virtual time."""
    return Weather(outbox)


@pytest.fixture(scope="session")
def new_outbox():
    return MemoryOutbox


@pytest.fixture
def drive(outbox):
    """`drive(url, ...)` starts an uplink to url; it is stopped when the test ends."""
    drivers = []

    def start(url, *, schemas=None, limits=IMPATIENT, **settings):
        driver = Driver(Mqtt(url=url, **settings), outbox, {} if schemas is None else schemas, limits)
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.stop()


def _closing(factory):
    opened = []

    def make(*args, **kwargs):
        opened.append(factory(*args, **kwargs))
        return opened[-1]

    yield make
    for peer in opened:
        peer.close()


@pytest.fixture
def new_proxy():
    yield from _closing(Proxy)


@pytest.fixture
def new_scripted_broker():
    yield from _closing(ScriptedBroker)


@pytest.fixture
def new_broker():
    yield from _closing(lambda *args, **kwargs: Broker(*args, **kwargs).start())


@pytest.fixture(scope="session")
def new_authority(tmp_path_factory):
    return lambda *args: Authority(tmp_path_factory.mktemp("ca"), *args)


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request, new_broker):
    """Each real broker in turn."""
    return new_broker(request.param)


@pytest.fixture
def sequence():
    """The sequence number in a payload that MemoryOutbox.put made."""
    return seq_of
