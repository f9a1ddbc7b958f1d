"""docs/CONFIGURATION.md lists the keys there are, docs/DEVICE_MAPS.md the maps that ship."""

import re
from pathlib import Path

from agent.config import buses, devices, load, tags, uplink
from agent.config.files import shipped_maps

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "CONFIGURATION.md").read_text()
TABLES = {
    "": set(load.DOCUMENT) - {"gateway", "mqtt", "store", "bus"},
    "[gateway]": set(uplink.GATEWAY),
    "[mqtt]": set(uplink.MQTT),
    "[store]": set(uplink.STORE),
    "[[bus]]": set(buses.BUS) - {"device"},
    "[[bus.device]]": set(devices.DEVICE) - {"tag"},
    "[[bus.device.tag]]": set(tags.TAG),
}


def test_every_key_is_in_the_reference_and_no_other() -> None:
    listed: dict[str, set[str]] = {}
    table = ""
    for row in re.findall(r"^\| ?(\S*) ?\| (`[a-z0-9_` ]+`) \|", REFERENCE, re.MULTILINE):
        table = row[0].strip("`") or table
        listed.setdefault(table, set()).update(re.findall(r"\w+", row[1]))
    assert listed == TABLES


def test_every_map_that_ships_is_in_the_reference_and_no_other() -> None:
    section = (DOCS / "DEVICE_MAPS.md").read_text().partition("## The maps that ship")[2]
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE) == list(shipped_maps())
