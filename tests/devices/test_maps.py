"""The device maps that ship: each loads without a word, and says what the maker's list says."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from agent.acquire.plan import compile_plan
from agent.config import check_config
from agent.config.files import shipped_maps
from agent.config.model import Config, Table
from agent.model import Order, ValueType

HOLDING, INPUT = Table.HOLDING, Table.INPUT
U16, I16, U32, I32, U64, F32 = ValueType.U16, ValueType.I16, ValueType.U32, ValueType.I32, ValueType.U64, ValueType.F32
# From the makers' register lists: table, address, type, scale, unit.
FACTS = {
    "abb-b-series": {
        "energy_import": (HOLDING, 0x5000, U64, 0.01, "kWh"),
        "energy_export": (HOLDING, 0x5004, U64, 0.01, "kWh"),
        "voltage_l3": (HOLDING, 0x5B04, U32, 0.1, "V"),
        "power": (HOLDING, 0x5B14, I32, 0.01, "W"),
        "frequency": (HOLDING, 0x5B2C, U16, 0.01, "Hz"),
        "power_factor": (HOLDING, 0x5B3A, I16, 0.001, ""),
        "power_factor_l3": (HOLDING, 0x5B3D, I16, 0.001, ""),
    },
    "carlo-gavazzi-em340": {
        "voltage_l1": (INPUT, 0x00, I32, 0.1, "V"),
        "current_l1": (INPUT, 0x0C, I32, 0.001, "A"),
        "power": (INPUT, 0x28, I32, 0.1, "W"),
        "power_factor": (INPUT, 0x31, I16, 0.001, ""),
        "frequency": (INPUT, 0x33, I16, 0.1, "Hz"),
        "energy_import": (INPUT, 0x34, I32, 0.1, "kWh"),
    },
    "chint-dtsu666": {
        "energy_import": (HOLDING, 0x101E, F32, 1.0, "kWh"),
        "voltage_l1": (HOLDING, 0x2000, F32, 0.1, "V"),
        "current_l3": (HOLDING, 0x2010, F32, 0.001, "A"),
        "power": (HOLDING, 0x2012, F32, 0.1, "W"),
        "frequency": (HOLDING, 0x2044, F32, 0.01, "Hz"),
    },
    "eastron-sdm120": {
        "voltage": (INPUT, 0x00, F32, 1.0, "V"),
        "current": (INPUT, 0x06, F32, 1.0, "A"),
        "power": (INPUT, 0x0C, F32, 1.0, "W"),
        "frequency": (INPUT, 0x46, F32, 1.0, "Hz"),
        "energy_total": (INPUT, 0x156, F32, 1.0, "kWh"),
    },
    "eastron-sdm630": {
        "voltage_l1": (INPUT, 0x00, F32, 1.0, "V"),
        "voltage_l3": (INPUT, 0x04, F32, 1.0, "V"),
        "current_l1": (INPUT, 0x06, F32, 1.0, "A"),
        "power_l1": (INPUT, 0x0C, F32, 1.0, "W"),
        "power": (INPUT, 0x34, F32, 1.0, "W"),
        "frequency": (INPUT, 0x46, F32, 1.0, "Hz"),
        "energy_import": (INPUT, 0x48, F32, 1.0, "kWh"),
        "energy_total_l3": (INPUT, 0x16A, F32, 1.0, "kWh"),
    },
}


@pytest.fixture
def with_map(tmp_path: Path) -> Callable[[str], Config]:
    """A configuration of one device that has this map."""

    def config(name: str) -> Config:
        path = tmp_path / "gateway.toml"
        path.write_text(
            'schema = 1\n[[bus]]\nname = "b"\nport = "/dev/x"\nbaud = 9600\n'
            f'[[bus.device]]\nname = "d"\nunit = 1\nevery = "10 s"\ndevice = "{name}"\n'
        )
        checked = check_config(str(path))
        assert (checked.mistakes, checked.warnings) == ([], [])
        assert checked.config
        return checked.config

    return config


def test_every_map_that_ships_has_facts_to_hold_it_to() -> None:
    assert list(shipped_maps()) == sorted(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_a_shipped_map_says_what_the_makers_list_says(with_map: Callable[[str], Config], name: str) -> None:
    tags = {tag.name: tag for tag in with_map(name).buses[0].devices[0].tags}
    for tag_name, facts in FACTS[name].items():
        tag = tags[tag_name]
        assert (tag.table, tag.address, tag.type, tag.scale, tag.unit) == facts, tag_name


@pytest.mark.parametrize("name", FACTS)
def test_no_tags_of_a_map_share_registers(with_map: Callable[[str], Config], name: str) -> None:
    tags = sorted(with_map(name).buses[0].devices[0].tags, key=lambda tag: tag.address)
    assert all(a.address + a.length <= b.address for a, b in pairwise(tags))


@pytest.mark.parametrize("name", FACTS)
def test_a_shipped_map_reads_every_register_of_its_list_once(with_map: Callable[[str], Config], name: str) -> None:
    config = with_map(name)
    info = compile_plan(config).buses[0].block_info
    assert sum(block.used for block in info) == sum(tag.length for tag in config.buses[0].devices[0].tags)


def test_the_sdm630_is_never_asked_for_more_than_50_registers(with_map: Callable[[str], Config]) -> None:
    assert max(block.quantity for block in compile_plan(with_map("eastron-sdm630")).buses[0].block_info) <= 50


def test_carlo_gavazzi_sends_the_low_word_first(with_map: Callable[[str], Config]) -> None:
    tags = with_map("carlo-gavazzi-em340").buses[0].devices[0].tags
    assert {tag.order for tag in tags if tag.length == 2} == {Order.CDAB}
