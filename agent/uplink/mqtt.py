"""One connection to a broker: commands come in from a queue, events go out by a call. The only file that uses paho.

Each connection is a paho client of its own with a clean session, and paho's queue never holds more than our window:
nothing of an ended connection can be sent on the next, and no broker is asked to remember us.
"""

import logging
import os
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.config.model import Mqtt
from agent.errors import ConfigError
from agent.uplink.events import Acknowledged, Action, Connected, Disconnected, Drop, Event, Publish, Terms
from agent.uplink.reasons import (
    UNSUPPORTED_PROTOCOL_VERSION,
    Endpoint,
    explain_code,
    explain_early_end,
    explain_end,
    explain_error,
)
from agent.uplink.tls import tls_context

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_TLS_SCHEMES = ("mqtts", "wss")
KEEPALIVE_S = 30  # below the idle timeouts of mobile networks' NAT; the least that AWS IoT Core allows
CONNECT_TIMEOUT_S = 10  # for TCP, for the TLS handshake and for CONNACK, each
GOODBYE_S = 1.0  # for a DISCONNECT to leave
KEEPALIVE_TIMEOUT = 0x8D  # how paho reports that our ping was not answered
_HUNG_UP = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


class Quit:
    """Asks the network thread to say goodbye and end."""


Command = Action | Quit


class Connection:
    """One connection from the name lookup to its end; runs in the network thread and is used once."""

    def __init__(self, endpoint: Endpoint, level: int, post: Callable[[Event], None]) -> None:
        self._endpoint = endpoint
        self._level = level
        self._post = post
        self._tokens: dict[int, int] = {}  # packet id -> token
        self._deadline_s: float | None = None
        self._errors = _ErrorKeeper()
        self._error: Exception | None = None
        self._code = 0
        self._ping_lost = False
        self._dropped = False
        self.accepted = False
        self.quitting = False

    def run(self, settings: Mqtt, client_id: str, commands: SimpleQueue[tuple[int, Command]], wake: int) -> None:
        """Connect and serve until the connection is over, whoever ends it."""
        try:
            client = self._make_client(settings, client_id)
            client.connect(self._endpoint.host, self._endpoint.port, KEEPALIVE_S)
            self._serve(client, commands, wake)
        except Exception as error:  # whatever paho raises, the thread must live to try again
            self._error = error
        self._error = self._error or self._errors.last

    @property
    def level_refused(self) -> bool:
        """The broker said that it does not speak this level of the protocol."""
        return not self.accepted and self._code == UNSUPPORTED_PROTOCOL_VERSION

    @property
    def hung_up_early(self) -> bool:
        """The broker closed without a word instead of a CONNACK; some do when they do not speak this level."""
        silent = self._error is None or isinstance(self._error, _HUNG_UP)
        return silent and not self.accepted and not self._code and not self.quitting

    def ending(self) -> Disconnected:
        """Why it is over."""
        if self._code:
            return Disconnected(explain_code(self._endpoint, self._code), self._code)
        if self.hung_up_early:
            return Disconnected(explain_early_end(self._endpoint))
        if self._error is not None:
            return Disconnected(explain_error(self._endpoint, self._error))
        if self._ping_lost:
            return Disconnected(f"{self._endpoint}: no answer to our ping for {KEEPALIVE_S} s: the link is dead")
        return Disconnected(explain_end(self._endpoint))

    def _make_client(self, settings: Mqtt, client_id: str) -> Client:
        parts = urlsplit(settings.url)
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion(self._level),
            transport="websockets" if parts.scheme.startswith("ws") else "tcp",
            reconnect_on_failure=False,
        )
        if self._endpoint.tls:
            client.tls_set_context(tls_context(settings))
        if parts.path:
            client.ws_set_options(parts.path)
        client.username_pw_set(settings.username, settings.password)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # the window is ours; paho would walk its queue at every PUBACK
        logger = logging.Logger("mqtt", logging.ERROR)
        logger.addHandler(self._errors)
        client.enable_logger(logger)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        return client

    def _serve(self, client: Client, commands: SimpleQueue[tuple[int, Command]], wake: int) -> None:
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        self._deadline_s = monotonic() + CONNECT_TIMEOUT_S
        if (opened := client.socket()) is not None:
            _set_nodelay(opened)
        while (sock := client.socket()) is not None and not self._dropped:
            poller.register(sock.fileno(), select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            ready = dict(poller.poll(self._wait_ms(client, sock)))
            if ready.pop(wake, 0):
                clear(wake)
                self._obey(client, commands)
            if any(events & ~select.POLLOUT for events in ready.values()) or _has_pending(sock):
                client.loop_read()
            if client.want_write():
                client.loop_write()
            client.loop_misc()
            if self._is_late():
                break
        if sock is not None:
            sock.close()

    def _wait_ms(self, client: Client, sock: "SocketLike") -> float | None:
        if _has_pending(sock):
            return 0
        if self._deadline_s is not None:
            return max(0.0, self._deadline_s - monotonic()) * 1000
        return client.keepalive * 1000 / 4 or None  # often enough for pings in time, and no timer beyond that

    def _is_late(self) -> bool:
        late = self._deadline_s is not None and monotonic() >= self._deadline_s
        if late and not self.quitting:
            self._error = TimeoutError()
        return late

    def _obey(self, client: Client, commands: SimpleQueue[tuple[int, Command]]) -> None:
        with suppress(Empty):
            while True:
                match commands.get_nowait()[1]:
                    case Publish(token, topic, payload, retain):
                        self._tokens[client.publish(topic, payload, qos=1, retain=retain).mid] = token
                    case Drop():
                        self._dropped = True
                        return  # what follows is for the next connection
                    case Quit():
                        self.quitting = True
                        self._deadline_s = monotonic() + GOODBYE_S
                        client.disconnect()

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._code = reason.value
            return
        self.accepted = True
        if not self.quitting:
            self._deadline_s = None
        self._post(Connected(_terms(properties)))

    def _on_publish(
        self, _client: Client, _data: object, packet_id: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        token = self._tokens.pop(packet_id, None)
        if token is not None:
            self._post(Acknowledged(token, reason.value))

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._code = reason.value
        elif reason.value == KEEPALIVE_TIMEOUT:
            self._ping_lost = True


class _ErrorKeeper(logging.Handler):
    """Listens to paho's log: it tells the cause of a lost connection nowhere else."""

    last: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception among the arguments, forget the rest."""
        self.last = next((arg for arg in record.args or () if isinstance(arg, Exception)), self.last)


def endpoint_of(settings: Mqtt) -> Endpoint:
    """Host, port and name out of the settings; ConfigError when the url has none."""
    parts = urlsplit(settings.url)
    default = DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.hostname:
        raise ConfigError([f"mqtt.url: {settings.url!r} is not like mqtts://broker.example.com:8883"])
    return Endpoint(parts.hostname, parts.port or default, parts.scheme in _TLS_SCHEMES, settings.server_name)


def _terms(properties: Properties | None) -> Terms:
    """What a CONNACK of MQTT 5 limits; one of 3.1.1 limits nothing."""
    defaults = Terms()
    return Terms(
        getattr(properties, "ReceiveMaximum", defaults.receive_maximum),
        getattr(properties, "MaximumPacketSize", defaults.maximum_packet_bytes),
        bool(getattr(properties, "RetainAvailable", defaults.retain)),
    )


def _set_nodelay(sock: "SocketLike") -> None:
    """Without it a small PUBLISH waits up to 40 ms for the acknowledgement of the one before."""
    with socket.socket(fileno=os.dup(sock.fileno())) as same:  # paho's websocket has no setsockopt
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _has_pending(sock: "SocketLike") -> bool:
    """TLS may hold decrypted bytes that poll() knows nothing of."""
    return bool(sock.pending()) if hasattr(sock, "pending") else False


def clear(eventfd: int) -> None:
    """Make it unreadable until it is written again."""
    with suppress(BlockingIOError):
        os.eventfd_read(eventfd)
