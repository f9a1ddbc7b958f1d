"""An exception or a broker's reason code comes in; one sentence that says what is wrong and what to do goes out."""

import socket
import ssl
from typing import NamedTuple

from agent.tls import Peer, explain

UNSUPPORTED_PROTOCOL_VERSION = 0x84


class Endpoint(NamedTuple):
    """Whom we wanted to reach, as it is named in every sentence."""

    host: str
    port: int
    tls: bool = False
    server_name: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


# CONNACK and DISCONNECT reason codes of MQTT 5; 3.1.1's five return codes are mapped to these by paho.
_CODES = {
    0x80: "the broker refuses without a reason: see its log",
    UNSUPPORTED_PROTOCOL_VERSION: "the broker speaks neither MQTT 5 nor 3.1.1",
    0x85: "the broker does not accept the client id: change gateway.id",
    0x86: "wrong user name or password: check mqtt.username and mqtt.password",
    0x87: "not authorised: the broker knows the user but does not let it in: check mqtt.username and its access rules",
    0x88: "the broker says it is unavailable",
    0x89: "the broker says it is busy",
    0x8A: "the broker has banned this client",
    0x8B: "the broker is shutting down",
    0x8D: "the broker has not heard from us within the keep-alive time",
    0x8E: "another client has taken our id: give every gateway its own gateway.id",
    0x95: "the broker hung up: a packet was too large",
    0x97: "the broker hung up: quota exceeded",
    0x99: "the broker hung up: payload format invalid",
    0x9A: "the broker hung up: it does not support retained messages",
    0x9C: "use another server, says the broker: change mqtt.url",
    0x9D: "the broker has moved: change mqtt.url",
    0x9F: "the broker refuses so many connections in a row",
}

_UNREADABLE = "cannot read the file of mqtt.ca, mqtt.cert or mqtt.key: check its path and rights"
_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "the name is not known: check mqtt.url and DNS"),
    (UnicodeError, "the name is not known: check mqtt.url and DNS"),
    (ConnectionRefusedError, "nothing listens there: is the broker running, is the port right?"),
    (ConnectionResetError, "the connection was cut by the other side"),
    (BrokenPipeError, "the connection was cut by the other side"),
    (TimeoutError, "no answer: check the network, the address and firewalls"),
    (FileNotFoundError, _UNREADABLE),
    (PermissionError, _UNREADABLE),
)


def explain_code(endpoint: Endpoint, code: int) -> str:
    """Why the broker refused or hung up."""
    return f"{endpoint}: {_CODES.get(code, f'the broker gives reason code 0x{code:02x}')}"


def explain_error(endpoint: Endpoint, error: Exception) -> str:
    """Why there is no connection."""
    return f"{endpoint}: {_cause(endpoint, error)}"


def explain_early_end(endpoint: Endpoint) -> str:
    """Why the other side may have hung up where a broker would have accepted or refused."""
    if endpoint.tls:  # the alert that says it is often lost when the broker closes at once
        return f"{endpoint}: hung up on the TLS handshake: does it want a client certificate, or another (mqtt.cert)?"
    return f"{endpoint}: hung up before it accepted us: is it a broker, is the scheme of mqtt.url right?"


def explain_end(endpoint: Endpoint) -> str:
    """Why a broker may have hung up without a reason code; mosquitto gives none to a client whose id another takes."""
    return f"{endpoint}: the broker closed the connection: was it stopped, or has another gateway the same gateway.id?"


def _cause(endpoint: Endpoint, error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        peer = Peer("the broker", endpoint.server_name or endpoint.host, "mqtt.", "mqtt.url", "mqtt")
        return explain(error, peer)
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return "no name server answers: check this machine's network and DNS"
    for kind, words in _ERRORS:
        if isinstance(error, kind):
            return words
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
