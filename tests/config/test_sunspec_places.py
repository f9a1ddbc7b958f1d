"""Maps of SunSpec models in a configuration: which registers move, and what must not depend on where they are."""

from collections.abc import Callable
from pathlib import Path

from agent.config.model import Config
from agent.config.sunspec import fits, laid_out, moved

BUS = 'schema = 1\n[[bus]]\nname = "b"\nport = "/dev/b"\n'
INVERTER = '[[bus.device]]\nname = "inverter"\nunit = 1\ndevice = "sunspec-103"\n'
STORAGE = '[[bus.device]]\nname = "storage"\npart_of = "inverter"\ndevice = "sunspec-124"\n'
OWN = '[[bus.device.tag]]\nname = "own"\nregister = "holding:7"\ntype = "u16"\n'
HEAD = 'schema = 1\ntitle = "m"\n'
TAGS = 'tag = [{ name = "a", register = "holding:2", type = "u16" }]\n'

Loaded = Callable[..., Config]
Mistakes = Callable[..., list[str]]


def test_a_model_is_looked_for_unless_it_is_said_where_it_is(loaded: Loaded) -> None:
    (found,) = loaded(BUS + INVERTER).buses[0].devices
    assert (found.sunspec, found.start, {tag.moves for tag in found.tags}) == (103, 40_070, {True})
    (said,) = loaded(BUS + INVERTER + "start = 40070\n").buses[0].devices
    assert (said.sunspec, said.start, {tag.moves for tag in said.tags}) == (0, 40_070, {False})
    assert [tag.address for tag in said.tags] == [tag.address for tag in found.tags]


def test_only_what_counts_from_the_model_moves_with_it(loaded: Loaded) -> None:
    moved_tag = '[[bus.device.tag]]\nname = "state"\nregister = "holding:9"\n'
    (device,) = loaded(BUS + INVERTER + 'select = ["power", "state"]\n' + OWN + moved_tag).buses[0].devices
    there = {tag.name: (tag.address, tag.scale_address) for tag in device.tags}
    assert there == {"power": (40_084, 40_085), "own": (7, None), "state": (9, None)}
    there = {tag.name: (tag.address, tag.scale_address) for tag in moved(device, 70).tags}
    assert there == {"power": (84, 85), "own": (7, None), "state": (9, None)}
    assert moved(moved(device, 70), 40_070) == device


def test_models_of_one_unit_are_laid_one_behind_the_other_and_those_of_others_are_not(loaded: Loaded) -> None:
    other = STORAGE.replace("storage", "second").replace('part_of = "inverter"', "unit = 2")
    devices = loaded(BUS + INVERTER + STORAGE + other).buses[0].devices
    assert [device.start for device in devices] == [40_070, 40_122, 40_070]
    common = STORAGE.replace("storage", "common").replace("124", "1")
    assert [device.start for device in loaded(BUS + INVERTER + common).buses[0].devices] == [40_070, 40_002]
    assert laid_out(devices) == devices


def test_whether_a_model_has_room_is_told_by_its_last_register(loaded: Loaded) -> None:
    (device,) = loaded(BUS + INVERTER).buses[0].devices
    last = max(tag.address + tag.length for tag in device.tags) - device.start
    assert fits(device, 65_536 - last)
    assert not fits(device, 65_536 - last + 1)


def test_nothing_is_written_where_a_model_may_be(mistakes: Mistakes) -> None:
    write = '[[bus.device.tag]]\nname = "charge_power_max"\nwrite = { min = 0, max = 100 }\n'
    said = mistakes(BUS + INVERTER + STORAGE + write)
    assert (
        "gateway.toml:15:1: where it is written must not depend on where its SunSpec model is found; "
        "say `start` of the device"
    ) in said
    said = mistakes(BUS + INVERTER + STORAGE + "start = 40122\n" + write)
    assert not [mistake for mistake in said if "SunSpec" in mistake]


def test_a_map_of_a_model_says_where_that_usually_is(mistakes: Mistakes, tmp_path: Path) -> None:
    device = '[[bus.device]]\nname = "d"\nunit = 1\ndevice = "./m.toml"\n'
    (tmp_path / "m.toml").write_text(f"{HEAD}sunspec = 700\n{TAGS}")
    assert mistakes(BUS + device) == ["m.toml:3:1: a map with 'sunspec' needs 'start', where that model usually stands"]
    (tmp_path / "m.toml").write_text(f"{HEAD}sunspec = 700\nstart = 40070\n{TAGS}")
    assert mistakes(BUS + device) == []
    (tmp_path / "m.toml").write_text(f"{HEAD}sunspec = 65535\nstart = 40070\n{TAGS}")
    assert mistakes(BUS + device) == ["m.toml:3:11: sunspec is 65535; allowed: a whole number from 1 to 65534"]


def test_a_model_without_a_map_is_a_mistake(mistakes: Mistakes) -> None:
    device = f'[[bus.device]]\nname = "d"\nunit = 1\nsunspec = 103\n{OWN}'
    assert mistakes(BUS + device) == ["gateway.toml:8:1: sunspec is the model of a device map; there is no 'device'"]


def test_one_model_is_not_looked_for_twice_in_a_unit(loaded: Loaded, mistakes: Mistakes) -> None:
    again = INVERTER.replace('"inverter"\nunit = 1', '"again"\npart_of = "inverter"')
    assert mistakes(BUS + INVERTER + again) == [
        "gateway.toml:12:10: SunSpec model 103 is looked for twice in unit 1; first at gateway.toml:8:10; "
        "say `start` of both where the device has several"
    ]
    assert mistakes(BUS + INVERTER + "start = 40070\n" + again + "start = 40122\n") == []
    other_unit = INVERTER.replace('"inverter"\nunit = 1', '"other"\nunit = 2')
    assert [device.sunspec for device in loaded(BUS + INVERTER + other_unit).buses[0].devices] == [103, 103]
