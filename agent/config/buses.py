"""The [[bus]] tables in, typed buses with their devices out."""

from posixpath import normpath

from agent.config.devices import read_devices
from agent.config.maps import Maps
from agent.config.model import Bus
from agent.config.nodes import Node, Place
from agent.config.ports import ASCII, EXAMPLES, MBAP, PROTOCOLS, RTU, port, scheme_of
from agent.config.report import Report
from agent.config.secrets import check_pair, readable_file
from agent.config.twins import warn_of_twins
from agent.config.values import as_is, milliseconds, name, text, whole, words
from agent.config.walk import Key, Values, once, read_table
from agent.model import NS_PER_MS, NS_PER_S

STANDARD_BAUDS = (300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 56000, 57600, 76800, 115200)
NEARLY = 0.05  # a rate this close to a standard one is likelier a slip than a wish
LEAST_BAUD, MOST_BAUD = 50, 12_000_000  # the slowest of POSIX, the fastest USB bridges
SERIAL_KEYS = ("baud", "parity", "stop_bits", "data_bits", "rs485", "mark_errors", "gap")
TLS_FILES = ("ca", "cert", "key")
TLS_KEYS = (*TLS_FILES, "server_name")
GIVEN_KEYS = ("mode", "in_flight", "server_name", *SERIAL_KEYS)
MAX_PATH = 4096  # PATH_MAX
MAX_HOST = 253  # the longest DNS name as text
MOST_IN_FLIGHT = 16  # what the protocol's implementation guide lets a server take at once
DEFAULT_TIMEOUT_MS = 300
DEFAULT_TCP_TIMEOUT_MS = 1000

BUS = {
    "name": Key(name, required=True),
    "port": Key(port, required=True),
    "protocol": Key(words(RTU, ASCII, MBAP, later=("stream",))),
    "mode": Key(words("master", later=("tap",))),
    "baud": Key(whole(LEAST_BAUD, MOST_BAUD)),
    "parity": Key(words("N", "E", "O")),
    "stop_bits": Key(whole(1, 2)),
    "data_bits": Key(whole(7, 8)),
    "rs485": Key(words("auto", "kernel", "none")),
    "mark_errors": Key(words("auto", "on", "off")),
    "in_flight": Key(whole(1, MOST_IN_FLIGHT)),
    "timeout_ms": Key(milliseconds(1, 60_000)),
    "switch_ms": Key(milliseconds(0, 10_000)),
    "ca": Key(text(MAX_PATH)),
    "cert": Key(text(MAX_PATH)),
    "key": Key(text(MAX_PATH)),
    "server_name": Key(text(MAX_HOST)),
    "gap": Key(words("t3.5", "learned")),
    "device": Key(as_is, required=True),
}


def read_buses(nodes: list[Node], report: Report) -> tuple[Bus, ...]:
    """All buses; names and ports are used once."""
    names: dict[str, Place] = {}
    ports: dict[str, Place] = {}
    maps = Maps(report)
    read = [_bus(node, names, ports, maps, report) for node in nodes]
    warn_of_twins(read)
    return tuple(bus for bus, _ in read)


def _bus(
    node: Node, names: dict[str, Place], ports: dict[str, Place], maps: Maps, report: Report
) -> tuple[Bus, Values]:
    values = read_table(node, BUS, "[[bus]]", report)
    once(values, "name", names, "bus name")
    scheme = scheme_of(values.get("port", ""))
    protocol = PROTOCOLS.get(scheme, values.get("protocol", RTU))
    is_tcp = protocol == MBAP
    if not is_tcp:
        once(values, "port", ports, "port", _same_port)
    _check_protocol(values, scheme)
    _check_tls(values, scheme)
    if is_tcp:
        _check_link(values, scheme)
    else:
        _check_line(values, protocol, scheme)
    default_ms = DEFAULT_TCP_TIMEOUT_MS if is_tcp else DEFAULT_TIMEOUT_MS
    given = {key: values.get(key) for key in GIVEN_KEYS if values.get(key) is not None}
    bus = Bus(
        name=values.get("name", ""),
        port=values.get("port", ""),
        protocol=protocol,
        timeout_ns=values.get("timeout_ms", default_ms * NS_PER_MS),
        switch_ns=values.get("switch_ms", 0),
        devices=read_devices(values, maps, is_tcp=is_tcp),
        **{"data_bits": default_data_bits(protocol)}
        | given
        | {key: readable_file(values, key, key) for key in TLS_FILES},
    )
    return bus, values


def default_data_bits(protocol: str) -> int:
    """Modbus over Serial Line V1.02, 2.5: of a character of RTU, or of ASCII."""
    return 7 if protocol == ASCII else 8


def _same_port(port: str) -> str:
    """One spelling of those that open the same port."""
    return normpath(port) if "://" not in port and "/" in port else port.lower().rstrip("/")


def _check_protocol(values: Values, scheme: str) -> None:
    protocol = values.get("protocol")
    if not protocol or not values.get("port") or protocol == PROTOCOLS.get(scheme):
        return
    if protocol == MBAP:
        values.mistake("protocol", f'protocol "{protocol}" needs a port like "{EXAMPLES[protocol]}"')
    elif scheme:
        values.mistake("protocol", f'protocol "{protocol}" over a socket needs a port like "{EXAMPLES[protocol]}"')


def _check_tls(values: Values, scheme: str) -> None:
    """Modbus/TCP Security has both sides prove who they are."""
    check_pair(values)
    if scheme != "tls":
        for key in TLS_KEYS:
            if values.written(key) and values.get("port"):
                values.report.mistake(values.key_place(key), f"{key} has an effect on tls:// ports alone")
    elif not values.written("cert"):
        values.warn("port", "without cert and key devices that follow Modbus/TCP Security will refuse to talk")


def _check_link(values: Values, scheme: str) -> None:
    for key in SERIAL_KEYS:
        if values.written(key):
            values.report.warn(values.key_place(key), f"{key} has no effect on a {scheme or 'tcp'}:// port")
    if scheme == "udp":
        _check_in_flight(values)


def _check_in_flight(values: Values) -> None:
    if values.get("in_flight", 1) > 1:
        values.report.warn(values.key_place("in_flight"), "in_flight has an effect on tcp:// and tls:// ports alone")


def _check_line(values: Values, protocol: str, scheme: str) -> None:
    """Settings that each are allowed and together make no sense."""
    _check_in_flight(values)
    data_bits = values.get("data_bits", default_data_bits(protocol))
    if protocol == RTU and data_bits == 7:
        values.mistake("data_bits", f'data_bits is 7; RTU has characters of 8 bits, 7 go with protocol = "{ASCII}"')
    if protocol == ASCII and values.written("mark_errors") and not scheme:
        message = "mark_errors has no effect with ASCII, where a damaged character is never taken for a digit"
        values.report.warn(values.key_place("mark_errors"), message)
    baud, parity, stop_bits = values.get("baud", 19200), values.get("parity", "E"), values.get("stop_bits", 1)
    near = [rate for rate in STANDARD_BAUDS if rate != baud and abs(rate - baud) <= NEARLY * rate]
    if near and baud not in STANDARD_BAUDS:
        values.warn("baud", f"baud is {baud}, which is no usual rate; did you mean {near[0]}?")
    bits = 1 + data_bits + (parity != "N") + stop_bits
    if parity != "N" and stop_bits == 2:
        usual = 3 + default_data_bits(protocol)
        values.warn(
            "stop_bits", f'parity "{parity}" with 2 stop bits makes {bits} bits a character; Modbus has {usual}'
        )
    silence_ns = 3.5 * bits * NS_PER_S / baud
    if values.get("timeout_ms", DEFAULT_TIMEOUT_MS * NS_PER_MS) <= silence_ns:
        least_ms = silence_ns / NS_PER_MS
        values.mistake(
            "timeout_ms",
            f"timeout_ms is too short: at {baud} baud a device may not even begin to answer before {least_ms:.1f} ms",
        )
