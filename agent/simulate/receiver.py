"""A broker's url and a topic filter come in; the raw payloads that arrive there go out, in order."""

import secrets
import socket
from collections.abc import Callable
from queue import Empty, Full, Queue
from threading import Event
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.errors import UplinkError
from agent.uplink.mqtt import DEFAULT_PORTS

QUEUE_MESSAGES = 100_000  # of a few kB each: a demo's worth; a full queue counts `overflowed` instead of growing
RECONNECT_S = 1  # a demo's broker that comes back is found at once
READY_TIMEOUT_S = 10.0


class Received(NamedTuple):
    """One message as it came."""

    topic: str
    payload: bytes
    retained: bool  # the broker had it before we subscribed


class Receiver:
    """Subscribes with QoS 1 and collects; `on_message` is called in the network thread for each, then it is queued."""

    def __init__(
        self,
        url: str,
        topic_filter: str = "fieldtap/#",
        *,
        username: str | None = None,
        password: str | None = None,
        on_message: Callable[[Received], None] | None = None,
    ) -> None:
        self._url = urlsplit(url)
        self._filter = topic_filter
        self._told = on_message
        self._queue: Queue[Received] = Queue(QUEUE_MESSAGES)
        self._subscribed = Event()
        self.overflowed = 0
        self._client = self._make_client(username, password)

    def start(self) -> Self:
        """Connect and subscribe; UplinkError when that takes longer than READY_TIMEOUT_S."""
        self._client.connect_async(self._url.hostname or "", self._url.port or DEFAULT_PORTS[self._url.scheme])
        self._client.loop_start()
        if not self.wait_subscribed(READY_TIMEOUT_S):
            self.stop()
            raise UplinkError(f"no subscription to {self._filter} at {self._url.geturl()}")
        return self

    def wait_subscribed(self, timeout_s: float) -> bool:
        """True as soon as the broker has confirmed the subscription (again, after it was away)."""
        return self._subscribed.wait(timeout_s)

    def get(self, timeout_s: float) -> Received | None:
        """The next message, waiting for it at most so long."""
        try:
            return self._queue.get(timeout=timeout_s)
        except Empty:
            return None

    def drain(self) -> list[Received]:
        """All that is here now."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def stop(self) -> None:
        """Disconnect; what was received can still be drained."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_client(self, username: str | None, password: str | None) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            f"fieldtap-receiver-{secrets.token_hex(4)}",
            clean_session=False,  # what comes while we are away is kept by the broker, if it lives
            protocol=MQTTProtocolVersion.MQTTv311,  # every broker speaks it
            transport="websockets" if self._url.scheme.startswith("ws") else "tcp",
        )
        client.username_pw_set(username, password)
        client.reconnect_delay_set(RECONNECT_S, RECONNECT_S)
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    # --- in paho's thread

    @staticmethod
    def _on_socket_open(_client: Client, _data: object, sock: object) -> None:
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not reason.is_failure:
            client.subscribe(self._filter, qos=1)

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed.set()

    def _on_disconnect(self, *_: object) -> None:
        self._subscribed.clear()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        received = Received(message.topic, bytes(message.payload), message.retain)
        if self._told is not None:
            self._told(received)
        try:
            self._queue.put_nowait(received)
        except Full:
            self.overflowed += 1
