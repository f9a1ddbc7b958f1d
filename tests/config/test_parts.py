"""Devices that share a unit: what is meant is taken, what looks like a slip is not, and the strictest limits hold."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config.model import Config, Hole, Table

HEAD = """schema = 1
[[bus]]
name = "rs485"
port = "/dev/ttyUSB0"

[[bus.device]]
name = "meter"
unit = 7
{of_meter}
[[bus.device.tag]]
name = "power"
register = "holding:{meter_register}"
type = "u16"

[[bus.device]]
name = "more"
{of_more}
[[bus.device.tag]]
name = "power"
register = "holding:{more_register}"
type = "{more_type}"
"""
PART = 'part_of = "meter"'


def text(of_meter: str = "", of_more: str = PART, meter: int = 0, more: int = 10, more_type: str = "u16") -> str:
    return HEAD.format(
        of_meter=of_meter, of_more=of_more, meter_register=meter, more_register=more, more_type=more_type
    )


WRONG = {
    "a unit twice, as in a copied table": (
        text(of_more="unit = 7"),
        ['17:8: unit 7 is used twice; first at gateway.toml:8:8; where both are one device, write part_of = "meter" '
         "instead of this unit"],
    ),
    "neither a unit nor part of anything": (
        text(of_more=""), ["15:1: [[bus.device]] has no 'unit', which it needs"]
    ),
    "part of a device that is not there": (
        text(of_more='part_of = "metre"'), ["17:11: the bus has no device 'metre'; did you mean 'meter'?"]
    ),
    "part of itself": (
        text(of_more='part_of = "more"'),
        ["17:11: part_of names this device itself; it takes the name of the one that has the unit"],
    ),
    "part of a part": (
        text() + '\n[[bus.device]]\nname = "third"\npart_of = "more"\ndevice = "xy-md02"\n',
        ["""25:11: device 'more' is itself a part; write part_of = "meter\""""],
    ),
    "parts of each other": (
        text(of_more='part_of = "third"') + '\n[[bus.device]]\nname = "third"\npart_of = "more"\ndevice = "xy-md02"\n',
        ["17:11: device 'third' is itself a part", "25:11: device 'more' is itself a part"],
    ),
    "another unit than its device": (
        text(of_more=f"{PART}\nunit = 8"),
        ["18:8: unit is 8, but device 'meter', which is the same unit's, has 7 at gateway.toml:8:8; leave it out here"],
    ),
    "another firmware than its device": (
        text('firmware = "1.2"', f'{PART}\nfirmware = "1.3"'),
        ["""18:12: firmware is "1.3", but device 'meter', which is the same unit's, has "1.2" at gateway.toml:9:12; """
         "leave it out here"],
    ),
    "a name that is none": (
        text(of_more="part_of = 7"), ["17:11: part_of is 7; allowed: a text of 1 to 64 characters"],
    ),
    "a register in a hole of the other": (
        text('holes = ["holding:8-15"]'),
        ["20:12: this register lies in the hole holding:8-15 of device 'meter', another part of the unit "
         "(gateway.toml:9:9); leave the tag out, or write holes of 'meter' that are without it"],
    ),
    "a register in a hole of the part": (
        text(of_more=f'{PART}\nholes = ["holding:0"]'),
        ["12:12: this register lies in the hole holding:0-0 of device 'more', another part of the unit "
         "(gateway.toml:18:9); leave the tag out, or write holes of 'more' that are without it"],
    ),
    "a tag too long for what the other can": (
        text("max_registers = 2", more_type="u64"),
        ["21:8: this type takes 4 registers; the unit's (gateway.toml:9:17) max_registers is 2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_one_unit_is_a_mistake_with_its_remedy(mistakes: Callable[..., list[str]], case: str) -> None:
    wrong, said = WRONG[case]
    found = [mistake.removeprefix("gateway.toml:") for mistake in mistakes(wrong)]
    assert found == said


def test_a_part_has_the_unit_of_its_device_wherever_it_stands(loaded: Callable[..., Config]) -> None:
    first, second = loaded(text()).buses[0].devices
    assert (first.name, first.unit, first.part_of) == ("meter", 7, "")
    assert (second.name, second.unit, second.part_of) == ("more", 7, "meter")
    turned = loaded(text().replace("unit = 7", 'part_of = "more"').replace(f"{PART}\n[", "unit = 7\n["))
    assert [device.part_of for device in turned.buses[0].devices] == ["more", ""]
    assert [[device.name for device in unit] for unit in turned.buses[0].units] == [["more", "meter"]]


def test_a_part_may_repeat_what_is_so(loaded: Callable[..., Config]) -> None:
    bus = loaded(text('firmware = "1.2"', f'{PART}\nunit = 7\nfirmware = "1.2"')).buses[0]
    assert [(device.unit, device.firmware) for device in bus.devices] == [(7, "1.2")] * 2


def test_a_part_in_a_file_of_conf_d_finds_its_device(loaded: Callable[..., Config]) -> None:
    main, _, part = text().partition('\n[[bus.device]]\nname = "more"')
    fragment = f'[[bus]]\nname = "rs485"\n[[bus.device]]\nname = "more"{part}'
    assert loaded(main, a=fragment).buses[0].devices[1].part_of == "meter"


@pytest.mark.parametrize(
    ("of_meter", "of_more"),
    [
        ("gap_ms = 5\nmax_registers = 20\nmax_bits = 8\nmax_gap = 0", "gap_ms = 2"),
        ("max_registers = 30\nmax_gap = 9", "gap_ms = 5\nmax_registers = 20\nmax_bits = 8\nmax_gap = 0"),
        ("gap_ms = 5\nmax_bits = 8", "gap_ms = 1\nmax_registers = 20\nmax_bits = 900\nmax_gap = 0"),
    ],
)
def test_the_strictest_limits_hold_for_all_of_a_unit(
    loaded: Callable[..., Config], of_meter: str, of_more: str
) -> None:
    for device in loaded(text(of_meter, f"{PART}\n{of_more}")).buses[0].devices:
        assert (device.gap_ns, device.max_registers, device.max_bits, device.max_gap) == (5_000_000, 20, 8, 0)


def test_holes_are_those_of_all_and_the_firmware_is_the_units(loaded: Callable[..., Config]) -> None:
    bus = loaded(text('holes = ["holding:40"]', f'{PART}\nholes = ["input:1-2"]\nfirmware = "2"')).buses[0]
    holes = {Hole(Table.HOLDING, 40, 40), Hole(Table.INPUT, 1, 2)}
    assert [(set(device.holes), device.firmware) for device in bus.devices] == [(holes, "2")] * 2


def test_a_limit_that_a_map_of_the_other_brings_is_said_where_it_stands(
    mistakes: Callable[..., list[str]], tmp_path: Path
) -> None:
    head = 'schema = 1\ntitle = "m"\n'
    (tmp_path / "short.toml").write_text(
        head + 'max_registers = 2\ntag = [{ name = "a", register = "holding:0", type = "u16" }]\n'
    )
    (tmp_path / "long.toml").write_text(head + 'tag = [{ name = "b", register = "holding:4", type = "f64" }]\n')
    devices = (
        '[[bus.device]]\nname = "s"\nunit = 1\ndevice = "./short.toml"\n'
        '[[bus.device]]\nname = "l"\npart_of = "s"\ndevice = "./long.toml"\n'
    )
    bus = 'schema = 1\n[[bus]]\nname = "b"\nport = "/dev/b"\n'
    assert mistakes(bus + devices) == [
        "short.toml:3:17: max_registers is 2; tag 'b' of the device map needs 4 registers in one answer"
    ]
    assert mistakes(bus + devices.replace('"./short.toml"', '"./short.toml"\nmax_registers = 8')) == []


def test_two_buses_may_have_devices_of_the_same_names_and_parts(loaded: Callable[..., Config]) -> None:
    twice = text() + text().removeprefix("schema = 1\n").replace("rs485", "other").replace("USB0", "USB1")
    assert [[len(unit) for unit in bus.units] for bus in loaded(twice).buses] == [[2], [2]]
