"""docs/CONFIGURATION.md lists the keys there are with their bounds and defaults, and the maps that ship."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.config import buses, devices, load, tags, uplink
from agent.config.files import shipped_maps
from agent.config.model import Config
from agent.config.walk import Key

REFERENCE = (Path(__file__).parents[2] / "docs" / "CONFIGURATION.md").read_text()
TABLES: dict[str, dict[str, Key]] = {
    "": load.DOCUMENT,
    "[gateway]": uplink.GATEWAY,
    "[mqtt]": uplink.MQTT,
    "[store]": uplink.STORE,
    "[[bus]]": buses.BUS,
    "[[bus.device]]": devices.DEVICE,
    "[[bus.device.tag]]": tags.TAG,
}
SUBTABLES = {
    ("", "gateway"),
    ("", "mqtt"),
    ("", "store"),
    ("", "bus"),
    ("[[bus]]", "device"),
    ("[[bus.device]]", "tag"),
}
BASIS = {  # what a table needs besides the key in question; the tag's device has its tags last
    "[gateway]": 'id = "g"',
    "[mqtt]": 'url = "mqtt://b"',
    "[store]": "",
    "[[bus]]": 'name = "b"\nport = "/dev/b"',
    "[[bus.device]]": 'name = "d"\nunit = 1',
    "[[bus.device.tag]]": 'name = "t"\nregister = "holding:1"\ntype = "u16"\ndeadband = 1',
}


class Row(NamedTuple):
    """One key of the reference."""

    table: str
    key: str
    value: str
    default: str


def rows() -> list[Row]:
    found, table = [], ""
    section = REFERENCE.partition("## Keys")[2].partition("## ")[0]
    for cells in re.findall(r"^\| ?(\S*) ?\| (`[^|]+`) \| (.*) \| (.*)\|$", section, re.MULTILINE):
        table = cells[0].strip("`") or table
        found += [Row(table, key, cells[2].strip(), cells[3].strip()) for key in re.findall(r"\w+", cells[1])]
    return found


def text_with(row: Row, value: str) -> str:
    """A configuration with this value for the row's key."""
    lines = ["schema = 1"]
    for table, basis in BASIS.items():
        own = [f"{row.key} = {value}"] if table == row.table else []
        kept = [line for line in basis.splitlines() if not own or not line.startswith(f"{row.key} ")]
        lines += [table, *kept, *own]
    return "\n".join(lines) + "\n"


def toml(word: str) -> str:
    return word if re.fullmatch(r"[\d.]+", word) else f'"{word}"'


def test_every_key_is_in_the_reference_and_no_other() -> None:
    known = {(table, key) for table, keys in TABLES.items() for key in keys}
    listed = [(row.table, row.key) for row in rows()]
    assert set(listed) == known - SUBTABLES
    assert len(listed) == len(set(listed))


class Bound(NamedTuple):
    """One end of what a key takes: the last value that is allowed and one that is not any more."""

    row: Row
    allowed: str
    refused: str


def quantity(number: str, unit: str) -> str:
    return f'"{number} {unit}"' if unit else number


def bounds() -> list[Bound]:
    found = []
    for row in rows():
        span = re.match(r"([\d.]+)(?: (\w+))? to ([\d.]+)(?: (\w+))?", row.value)
        if span and (row.table, row.key) != ("[[bus.device]]", "unit"):  # 248 and more work, with a warning
            least, least_unit, most, most_unit = (part or "" for part in span.groups())
            below = f"{float(least) - 0.01:.2f}" if least_unit or "." in least else str(int(least) - 1)
            found.append(Bound(row, quantity(least, least_unit), quantity(below, least_unit)))
            found.append(Bound(row, quantity(most, most_unit), quantity(str(int(most) + 1), most_unit)))
    return found


@pytest.mark.parametrize("bound", bounds(), ids=lambda bound: f"{bound.row.table} {bound.row.key} = {bound.allowed}")
def test_the_bounds_it_names_are_the_last_that_are_taken(mistakes: Callable[..., list[str]], bound: Bound) -> None:
    def is_refused(value: str) -> bool:
        said = mistakes(text_with(bound.row, value))
        return any(f"{bound.row.key} is {value}; allowed:" in mistake for mistake in said)

    assert not is_refused(bound.allowed)
    assert is_refused(bound.refused)


def defaults() -> list[tuple[Row, str]]:
    """Rows whose default can be written as it stands there: a word in code, a number, a quantity."""
    found = []
    for row in rows():
        literal = re.fullmatch(r"`([^`]+)`|([\d.]+(?: [A-Za-z]+)?)(?:[,:].*)?", row.default)
        if literal and row.table in BASIS:
            found.append((row, toml(literal[1] or literal[2])))
    return found


@pytest.mark.parametrize(("row", "value"), defaults(), ids=lambda part: getattr(part, "key", part))
def test_the_default_it_names_changes_nothing_when_it_is_written(
    loaded: Callable[..., Config], row: Row, value: str
) -> None:
    without = text_with(row._replace(key="name"), '"same"')
    written = without.replace('name = "same"\n', f'name = "same"\n{row.key} = {value}\n')
    if row.table in ("[gateway]", "[mqtt]", "[store]"):
        without = text_with(row._replace(table=""), "")
        written = without.replace(f"{row.table}\n", f"{row.table}\n{row.key} = {value}\n")
    assert loaded(written) == loaded(without)


def later() -> dict[str, set[str]]:
    """The words that the code knows and does not have yet."""
    parsers = [(key, rule.parse) for keys in TABLES.values() for key, rule in keys.items()]
    words = {
        key: inspect.getclosurevars(parse).nonlocals.get("later") for key, parse in parsers if inspect.isfunction(parse)
    }
    return {key: set(known) for key, known in words.items() if known} | {"deadband": {"swinging_door"}}


def test_every_word_that_is_known_and_not_there_yet_is_named_as_such() -> None:
    section = REFERENCE.partition("not in this version\n")[2].partition("\n## ")[0]
    listed = {
        key: set(re.findall(r"[a-z][\w-]+", words))
        for key, words in re.findall(r"^\| `(\w+)` \| `(.*)` \|$", section, re.MULTILINE)
    }
    assert listed == later()


def test_every_map_that_ships_is_in_the_reference() -> None:
    section = REFERENCE.partition("## Device maps")[2]
    assert all(f"`{name}`" in section for name in shipped_maps())
