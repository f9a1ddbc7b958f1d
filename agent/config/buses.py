"""The [[bus]] tables in, typed buses with their devices out."""

import re
from posixpath import normpath

from agent.config.devices import read_devices
from agent.config.maps import Maps
from agent.config.model import Bus
from agent.config.nodes import Node, Place
from agent.config.report import Report
from agent.config.twins import warn_of_twins
from agent.config.values import UnfitError, as_is, milliseconds, name, unfit, visible, whole, words
from agent.config.walk import Key, Values, once, read_table
from agent.model import NS_PER_MS, NS_PER_S

STANDARD_BAUDS = (300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 56000, 57600, 76800, 115200)
NEARLY = 0.05  # a rate this close to a standard one is likelier a slip than a wish
LEAST_BAUD, MOST_BAUD = 50, 12_000_000  # the slowest of POSIX, the fastest USB bridges
SERIAL_KEYS = ("baud", "parity", "stop_bits", "rs485", "mark_errors", "gap")
MOST_IN_FLIGHT = 16  # what the protocol's implementation guide lets a server take at once
DEFAULT_TIMEOUT_MS = 300
DEFAULT_TCP_TIMEOUT_MS = 1000
PORT_FORMS = '"/dev/ttyUSB0", "usb:VID:PID[:SERIAL]", "tcp://HOST:502" or "rtu+tcp://HOST:PORT"'

LATER_PORTS = ("udp://", "rtu+udp://", "tls://")

_USB = re.compile(r"usb:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}(:[^\s/]+)?")
_SOCKET = re.compile(r"(?:tcp|rtu\+tcp)://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?")


def port(node: Node) -> str:
    """Where the bus is reached."""
    value = node.value
    if not isinstance(value, str) or not 1 <= len(visible(value)) <= 4096:
        unfit(PORT_FORMS)
    if _USB.fullmatch(value):
        return value
    if "://" not in value and "/" in value:
        return value
    if value.startswith(LATER_PORTS):
        raise UnfitError(f"not available in this version, which has {PORT_FORMS}")
    match = _SOCKET.fullmatch(value)
    if not match or not 1 <= int(match[1] or 502) <= 65535 or (value.startswith("rtu") and not match[1]):
        unfit(PORT_FORMS)
    return value


BUS = {
    "name": Key(name, required=True),
    "port": Key(port, required=True),
    "protocol": Key(words("modbus-rtu", "modbus-tcp", later=("modbus-ascii", "stream"))),
    "mode": Key(words("master", later=("tap",))),
    "baud": Key(whole(LEAST_BAUD, MOST_BAUD)),
    "parity": Key(words("N", "E", "O")),
    "stop_bits": Key(whole(1, 2)),
    "rs485": Key(words("auto", "kernel", "none")),
    "mark_errors": Key(words("auto", "on", "off")),
    "in_flight": Key(whole(1, MOST_IN_FLIGHT)),
    "timeout_ms": Key(milliseconds(1, 60_000)),
    "switch_ms": Key(milliseconds(0, 10_000)),
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
    is_tcp = values.get("port", "").startswith("tcp://")
    if not is_tcp:
        once(values, "port", ports, "port", _same_port)
    _check_protocol(values, is_tcp=is_tcp)
    _check_line(values, is_tcp=is_tcp)
    default_ms = DEFAULT_TCP_TIMEOUT_MS if is_tcp else DEFAULT_TIMEOUT_MS
    given = {key: values.get(key) for key in ("mode", "in_flight", *SERIAL_KEYS) if values.get(key) is not None}
    bus = Bus(
        name=values.get("name", ""),
        port=values.get("port", ""),
        protocol=values.get("protocol", "modbus-tcp" if is_tcp else "modbus-rtu"),
        timeout_ns=values.get("timeout_ms", default_ms * NS_PER_MS),
        switch_ns=values.get("switch_ms", 0),
        devices=read_devices(values, maps, is_tcp=is_tcp),
        **given,
    )
    return bus, values


def _same_port(port: str) -> str:
    """One spelling of those that open the same port."""
    return normpath(port) if "://" not in port and "/" in port else port.lower().rstrip("/")


def _check_protocol(values: Values, *, is_tcp: bool) -> None:
    protocol = values.get("protocol")
    if protocol == "modbus-tcp" and values.get("port") and not is_tcp:
        values.mistake("protocol", f'protocol "{protocol}" needs a port like "tcp://HOST:502"')
    elif protocol and protocol != "modbus-tcp" and is_tcp:
        values.mistake("protocol", f'protocol "{protocol}" over a socket needs a port like "rtu+tcp://HOST:PORT"')


def _check_line(values: Values, *, is_tcp: bool) -> None:
    """Settings that each are allowed and together make no sense."""
    if is_tcp:
        for key in SERIAL_KEYS:
            if values.written(key):
                values.report.warn(values.key_place(key), f"{key} has no effect on a tcp:// port")
        return
    if values.get("in_flight", 1) > 1:
        values.report.warn(values.key_place("in_flight"), "in_flight has an effect on tcp:// ports alone")
    baud, parity, stop_bits = values.get("baud", 19200), values.get("parity", "E"), values.get("stop_bits", 1)
    near = [rate for rate in STANDARD_BAUDS if rate != baud and abs(rate - baud) <= NEARLY * rate]
    if near and baud not in STANDARD_BAUDS:
        values.warn("baud", f"baud is {baud}, which is no usual rate; did you mean {near[0]}?")
    if parity != "N" and stop_bits == 2:
        values.warn("stop_bits", f'parity "{parity}" with 2 stop bits makes 12 bits a character; Modbus has 11')
    silence_ns = 3.5 * (9 + (parity != "N") + stop_bits) * NS_PER_S / baud
    if values.get("timeout_ms", DEFAULT_TIMEOUT_MS * NS_PER_MS) <= silence_ns:
        least_ms = silence_ns / NS_PER_MS
        values.mistake(
            "timeout_ms",
            f"timeout_ms is too short: at {baud} baud a device may not even begin to answer before {least_ms:.1f} ms",
        )
