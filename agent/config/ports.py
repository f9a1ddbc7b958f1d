"""The `port` of a bus as written in, checked out; what its scheme says of the bytes that go through it."""

import re
from urllib.parse import urlsplit

from agent.config.nodes import Node
from agent.config.values import unfit, visible

RTU, ASCII, MBAP = "modbus-rtu", "modbus-ascii", "modbus-tcp"
# What the bytes mean that a scheme carries. Behind those of RTU and ASCII is a serial line, which its gateway sets.
PROTOCOLS = {
    "tcp": MBAP,
    "udp": MBAP,
    "tls": MBAP,
    "rtu+tcp": RTU,
    "rtu+udp": RTU,
    "ascii+tcp": ASCII,
    "ascii+udp": ASCII,
}
NUMBERS = {"tcp": 502, "udp": 502, "tls": 802}  # registered with IANA; gateways of serial lines have none
EXAMPLES = {MBAP: "tcp://HOST:502", RTU: "rtu+tcp://HOST:PORT", ASCII: "ascii+tcp://HOST:PORT"}
PORT_FORMS = (
    '"/dev/ttyUSB0", "usb:VID:PID[:SERIAL]", "tcp://HOST:502", "udp://HOST:502", "tls://HOST:802", '
    '"rtu+tcp://HOST:PORT", or the same with rtu+udp, ascii+tcp, ascii+udp'
)

_USB = re.compile(r"usb:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}(:[^\s/]+)?")
_SOCKET = re.compile(r"([a-z+]+)://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?")


def port(node: Node) -> str:
    """Where a bus is reached."""
    value = node.value
    if not isinstance(value, str) or not 1 <= len(visible(value)) <= 4096:
        unfit(PORT_FORMS)
    if _USB.fullmatch(value) or ("://" not in value and "/" in value):
        return value
    match = _SOCKET.fullmatch(value)
    if not match or match[1] not in PROTOCOLS or not 1 <= int(match[2] or NUMBERS.get(match[1], 0)) <= 65535:
        unfit(PORT_FORMS)
    return value


def scheme_of(port: str) -> str:
    """How the network carries a port's bytes, a key of PROTOCOLS; empty for a serial port."""
    return port.partition("://")[0] if "://" in port else ""


def is_datagrams(port: str) -> bool:
    """Whether its frames travel in datagrams, which get lost, double and overtake each other."""
    return scheme_of(port).endswith("udp")


def address_of(port: str) -> tuple[str, int]:
    """Host and number of a port in the network."""
    url = urlsplit(port)
    return url.hostname or "", NUMBERS.get(url.scheme, 0) if url.port is None else url.port
