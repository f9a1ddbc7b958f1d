"""One TOML value in, the checked value in our units out, or what would have been allowed."""

import math
import re
from collections.abc import Callable
from typing import NoReturn

from agent.config.nodes import Node
from agent.config.report import did_you_mean
from agent.model import NS_PER_MS, NS_PER_S

Parse = Callable[[Node], object]


class UnfitError(Exception):
    """The value cannot be used; the message goes on from `KEY is VALUE; `, or KEY alone when the value is secret."""

    def __init__(self, message: str, *, is_secret: bool = False) -> None:
        super().__init__(message)
        self.is_secret = is_secret


def unfit(allowed: str) -> NoReturn:
    """Refuse the value and say what is allowed instead."""
    raise UnfitError(f"allowed: {allowed}")


def as_is(node: Node) -> Node:
    """Left to whoever reads the table: its checks need more than the value."""
    return node


def visible(value: str) -> str:
    """The same text, refused when a character of it does not show: nobody means such a one."""
    hidden = next((at for at, char in enumerate(value) if not char.isprintable()), None)
    if hidden is not None:
        unfit(f"characters that show; number {hidden + 1} is U+{ord(value[hidden]):04X}")
    return value


def text(most: int, least: int = 1) -> Parse:
    """A string of `least` to `most` characters on one line."""

    def parse(node: Node) -> str:
        if not isinstance(node.value, str) or not least <= len(node.value) <= most:
            unfit(f"a text of {least} to {most} characters, on one line")
        return visible(node.value)

    return parse


MAX_NAME = 64  # three of them and the gateway's make a topic or a tag's full name that still fits a screen
_NOT_IN_NAMES = re.compile(r"[/+#{}\s]")


def name(node: Node) -> str:
    """A name that can be one level of an MQTT topic and one part of BUS/DEVICE/TAG."""
    value = node.value
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME:
        unfit(f"a text of 1 to {MAX_NAME} characters")
    if _NOT_IN_NAMES.search(visible(value)):
        unfit("no '/', '+', '#', braces or spaces, because names become parts of topics")
    return value


def words(*available: str, later: tuple[str, ...] = ()) -> Parse:
    """One of the words; `later` ones are known but not in this version yet."""
    listed = ", ".join(f'"{word}"' for word in available)

    def parse(node: Node) -> str:
        if isinstance(node.value, str) and node.value in later:
            raise UnfitError(f"not available in this version, which has {listed}")
        if not isinstance(node.value, str):
            unfit(listed)
        if node.value not in available:
            unfit(listed + did_you_mean(node.value, (*available, *later)))
        return node.value

    return parse


def name_list(node: Node) -> tuple[Node, ...]:
    """An array of strings, each still with its place."""
    if not isinstance(node.value, list) or not all(isinstance(item.value, str) for item in node.value):
        unfit('an array of names, like ["voltage_l1", "power"]')
    return tuple(node.value)


def yes_or_no(node: Node) -> bool:
    """A TOML boolean."""
    return node.value if isinstance(node.value, bool) else unfit("true or false")


def whole(least: int, most: int) -> Parse:
    """A whole number within the bounds."""
    few = " or ".join(map(str, range(least, most + 1))) if most - least < 2 else ""
    allowed = few or f"a whole number from {least} to {most}"

    def parse(node: Node) -> int:
        if not isinstance(node.value, int) or isinstance(node.value, bool) or not least <= node.value <= most:
            unfit(allowed)
        return node.value

    return parse


def number(least: float = -math.inf, most: float = math.inf) -> Parse:
    """A finite number within the bounds, whole or not."""
    span = f"a number from {least:g} to {most:g}"
    if most == math.inf:
        span = "a number" if least == -math.inf else f"a number of {least:g} or more"

    def parse(node: Node) -> float:
        return _finite(node, least, most, span)

    return parse


def nonzero(node: Node) -> float:
    """A finite number that loses nothing when values are multiplied by it."""
    value = _finite(node, -math.inf, math.inf, "a number other than 0")
    return value or unfit("a number other than 0")


LARGEST = 10**300  # TOML integers have any size; beyond this a float cannot follow


def _finite(node: Node, least: float, most: float, span: str) -> float:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        unfit(span)
    return float(value) if least <= value <= most else unfit(span)


_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]+)")
_TIME_UNITS = {"us": 1000, "ms": NS_PER_MS, "s": NS_PER_S, "min": 60 * NS_PER_S, "h": 3600 * NS_PER_S}
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def duration(least: str, most: str) -> Parse:
    """A time with its unit, like "100ms" or "2 h"; becomes nanoseconds."""
    bounds = _quantity(least, _TIME_UNITS), _quantity(most, _TIME_UNITS)
    allowed = f'a time from "{least}" to "{most}", in us, ms, s, min or h'

    def parse(node: Node) -> int:
        value = _quantity(node.value, _TIME_UNITS)
        return value if value is not None and bounds[0] <= value <= bounds[1] else unfit(allowed)  # type: ignore[operator]

    return parse


def size(least: str, most: str) -> Parse:
    """Bytes as a number, or with a unit like "64 MiB"."""
    bounds = _quantity(least, _SIZE_UNITS), _quantity(most, _SIZE_UNITS)
    allowed = f'bytes from "{least}" to "{most}", as a number or like "64 MiB"'

    def parse(node: Node) -> int:
        is_plain = isinstance(node.value, int) and not isinstance(node.value, bool)
        value = node.value if is_plain else _quantity(node.value, _SIZE_UNITS)
        return value if value is not None and bounds[0] <= value <= bounds[1] else unfit(allowed)  # type: ignore

    return parse


def milliseconds(least: float, most: float) -> Parse:
    """A number of milliseconds (the key ends in _ms); becomes nanoseconds."""
    parse_number = number(least, most)

    def parse(node: Node) -> int:
        return round(parse_number(node) * NS_PER_MS)  # type: ignore[operator]

    return parse


def _quantity(value: object, units: dict[str, int]) -> int | None:
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if not match or match[2] not in units:
        return None
    return round(float(match[1]) * units[match[2]]) if "." in match[1] else int(match[1]) * units[match[2]]
