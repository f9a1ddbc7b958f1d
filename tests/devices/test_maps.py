"""The device maps that ship: each loads without a word, and says what was read in its sources."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.acquire.plan import compile_plan
from agent.config.files import shipped_maps
from agent.config.model import Config, Tag
from agent.config.report import Report
from agent.devices.catalogue import read_device_map
from agent.devices.model import DeviceId, Fingerprint, Serial, ServerId
from agent.model import Order, ValueType

# Written down from the sources that each map names, not from the maps: table, address, type, scale, unit.
FACTS = json.loads((Path(__file__).parent / "facts.json").read_text())
S, MIN, H = 10**9, 60 * 10**9, 3600 * 10**9


def kind_of(tag: Tag) -> str:
    """As it is written in the facts."""
    if tag.type is ValueType.TEXT:
        return f"text {tag.length}" + (" wide" if tag.is_wide else "")
    order = "" if tag.order is Order.ABCD else f" {tag.order.name}"
    return tag.type.name.lower() + order + ("" if tag.scale_address is None else f" sf {tag.scale_address}")


def test_at_least_30_maps_ship() -> None:
    assert len(shipped_maps()) >= 30


def test_every_map_that_ships_has_facts_to_hold_it_to() -> None:
    assert sorted(shipped_maps()) == sorted(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_a_shipped_map_says_what_its_sources_say(with_map: Callable[..., Config], name: str) -> None:
    tags = {tag.name: tag for tag in with_map(name).buses[0].devices[0].tags}
    said = {
        tag: [tags[tag].table, tags[tag].address, kind_of(tags[tag]), tags[tag].scale, tags[tag].unit]
        for tag in FACTS[name]
    }
    assert said == FACTS[name]


def test_the_sdm630_is_never_asked_for_more_than_50_registers(with_map: Callable[..., Config]) -> None:
    assert max(block.quantity for block in compile_plan(with_map("eastron-sdm630")).buses[0].block_info) <= 50


def test_reading_what_ships_takes_a_quarter_of_the_requests_that_one_for_each_tag_would(
    with_map: Callable[..., Config],
) -> None:
    plans = [compile_plan(with_map(name)).buses[0] for name in shipped_maps()]
    tags = sum(len(with_map(name).buses[0].devices[0].tags) for name in shipped_maps())
    requests = sum(len(plan.block_info) for plan in plans)
    assert tags >= 4 * requests


def test_a_sunspec_meter_is_read_at_once_for_all_its_powers_of_ten(with_map: Callable[..., Config]) -> None:
    [block] = compile_plan(with_map("sunspec-203")).buses[0].block_info
    assert (block.address, block.quantity) == (40072, 105)


def test_a_model_that_moves_is_read_where_the_configuration_says(with_map: Callable[..., Config]) -> None:
    tags = with_map("sunspec-103", "start = 69").buses[0].devices[0].tags
    power = next(tag for tag in tags if tag.name == "power")
    assert (power.address, power.scale_address) == (83, 84)


def test_what_a_tag_of_ones_own_says_counts_from_zero_even_where_the_map_moves(with_map: Callable[..., Config]) -> None:
    own = '[[bus.device.tag]]\nname = "power"\nregister = "holding:7"\nscale_register = "holding:8"'
    tags = with_map("sunspec-103", own).buses[0].devices[0].tags
    power = next(tag for tag in tags if tag.name == "power")
    assert (power.address, power.scale_address, power.type) == (7, 8, ValueType.I16)


# --- how often ---


def periods(config: Config) -> dict[str, int]:
    tags = config.buses[0].devices[0].tags
    return {tag.name: tag.every_ns for tag in tags if tag.name in ("power", "energy_import", "serial_number")}


@pytest.mark.parametrize(
    ("more", "power_ns", "energy_ns"),
    [
        ("", S, 10 * S),
        ('every = "2 s"', 2 * S, 2 * S),
        ('[bus.device.group.energy]\nevery = "1 min"', S, MIN),
        ('every = "2 s"\n[bus.device.group.energy]\nevery = "1 min"', 2 * S, MIN),
        ('every = "2 s"\n[[bus.device.tag]]\nname = "energy_import"\nevery = "5 s"', 2 * S, 5 * S),
    ],
)
def test_what_is_said_nearest_to_a_tag_is_how_often_it_is_read(
    with_map: Callable[..., Config], more: str, power_ns: int, energy_ns: int
) -> None:
    assert periods(with_map("abb-b-series", more)) == {
        "power": power_ns, "energy_import": energy_ns, "serial_number": H,
    }  # fmt: skip


def test_a_group_whose_tags_are_not_selected_is_not_missed(with_map: Callable[..., Config]) -> None:
    assert periods(with_map("abb-b-series", 'select = ["power"]')) == {"power": S}


def test_tags_of_ones_own_may_be_in_groups_too(with_map: Callable[..., Config]) -> None:
    own = '[bus.device.group.slow]\nevery = "1 h"\n[[bus.device.tag]]\nname = "power"\ngroup = "slow"'
    assert periods(with_map("abb-b-series", own))["power"] == H


# --- how a device is recognised ---


def test_a_fingerprint_is_read_from_the_map() -> None:
    report = Report()
    found = read_device_map(shipped_maps()["abb-b-series"], report)
    assert found
    [fingerprint] = found.identity
    assert isinstance(fingerprint, Fingerprint)
    assert (fingerprint.table, fingerprint.address, fingerprint.form.type) == ("holding", 0x8960, ValueType.U32)
    assert fingerprint.values == tuple(int.from_bytes(model) for model in (b"B21 ", b"B23 ", b"B24 "))


def test_a_map_may_name_what_the_identification_functions_answer(tmp_path: Path) -> None:
    path = tmp_path / "acme-m1.toml"
    path.write_text(
        'schema = 1\ntitle = "t"\nsource = "s"\nserial = { baud = 9600, parity = "N" }\n'
        'identity = [{ vendor = "Acme", product = "M1" }, { server_id = "11FF" }]\n'
        'tag = [{ name = "door", register = "discrete:0" }]\n'
    )
    report = Report()
    found = read_device_map(str(path), report)
    assert report.mistakes == []
    assert found
    assert found.identity == (DeviceId("Acme", "M1"), ServerId(b"\x11\xff"))
    assert found.serial == Serial(9600, "N")


def test_no_two_maps_claim_the_same_device() -> None:
    claims = [
        (fingerprint.table, fingerprint.address, fingerprint.form, fingerprint.order, value)
        for path in shipped_maps().values()
        for found in [read_device_map(path, Report())]
        if found
        for fingerprint in found.identity
        if isinstance(fingerprint, Fingerprint)
        for value in fingerprint.values
    ]
    assert len(claims) == len(set(claims)) >= 20
