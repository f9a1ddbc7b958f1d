"""What a session asks of its link (Connect, Publish, Drop), and what it hears back (Connected ...): words, no I/O."""

from typing import NamedTuple


class Terms(NamedTuple):
    """What the broker allows on this connection (CONNACK)."""

    receive_maximum: int = 65_535
    maximum_packet_bytes: int = 268_435_455
    retain: bool = True


class Connected(NamedTuple):
    """The link reports: the broker accepted us."""

    terms: Terms


class Acknowledged(NamedTuple):
    """The link reports: a PUBACK for the publish of this token."""

    token: int
    code: int = 0


class Disconnected(NamedTuple):
    """The link reports: the connection, or the attempt to make one, is over."""

    why: str
    code: int = 0  # the broker's reason code, 0 when it gave none


Event = Connected | Acknowledged | Disconnected


class Connect(NamedTuple):
    """To the link: make a connection; it answers with Connected or Disconnected."""


class Publish(NamedTuple):
    """To the link: publish with QoS 1; it answers with Acknowledged, unless the connection ends first."""

    token: int
    topic: str
    payload: bytes
    retain: bool


class Drop(NamedTuple):
    """To the link: cut the connection; it reports nothing more about it."""


Action = Connect | Publish | Drop
