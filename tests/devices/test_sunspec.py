"""The SunSpec maps are those that the SunSpec Alliance's model definitions make."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from agent.config.files import shipped_maps
from agent.devices.sunspec import main, map_of, name_of

DEFINITIONS = Path(str(files("sunspec2"))) / "models" / "json"
NUMBERS = sorted(int(name.removeprefix("sunspec-")) for name in shipped_maps() if name.startswith("sunspec-"))


def test_the_models_of_inverters_meters_and_storage_ship() -> None:
    assert NUMBERS == [1, 101, 102, 103, 111, 112, 113, 124, 201, 202, 203, 204]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_map_is_what_its_definition_makes(number: int) -> None:
    model = json.loads((DEFINITIONS / f"model_{number}.json").read_text())
    assert map_of(model) == Path(shipped_maps()[f"sunspec-{number}"]).read_text()


def test_the_command_writes_the_maps_it_is_asked_for(tmp_path: Path) -> None:
    assert main([str(DEFINITIONS), "103", "203", "--to", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sunspec-103.toml", "sunspec-203.toml"]


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ("A", "current"),
        ("AphB", "current_l2"),
        ("PPVphCA", "voltage_l3_l1"),
        ("PhVphC", "voltage_l3"),
        ("PhVphAB", "voltage_l1_l2"),
        ("PPV", "voltage_average_ll"),
        ("VAr", "reactive_power"),
        ("VARphA", "reactive_power_l1"),
        ("TotWhExpPhC", "energy_export_l3"),
        ("TotVArhImpQ1PhA", "reactive_energy_import_q1_l1"),
        ("Evt1", "events_1"),
        ("EvtVnd4", "events_vendor_4"),
        ("Evt", "events"),
    ],
)
def test_a_point_has_its_name_in_the_scheme_of_the_maps(point: str, name: str) -> None:
    assert name_of(point) == name
