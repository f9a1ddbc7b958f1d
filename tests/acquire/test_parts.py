"""Devices that share a unit are one device on the wire: merged reads, one silence, one set of counters, one memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layouts import records
from msgspec.structs import replace

from agent._native.busloop import VirtualBus
from agent._native.samples import Samples
from agent.acquire.lessons import Lessons
from agent.acquire.limits import NOTHING, Learned
from agent.acquire.memory import NAME, Memory
from agent.acquire.plan import BLOCK, DeviceKey, compile_plan
from agent.config.model import Config, Device, Table
from agent.model import NS_PER_MS, NS_PER_S, Quality

UNIT_AT, DEVICE_AT = 10, 5  # of ft_block


@pytest.fixture
def config(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Any]
) -> Config:
    """Unit 1 with a part that stands before it, and unit 2."""
    tags = [make_tag(Table.HOLDING, at) for at in range(12)]
    return make_config(
        make_device(tags[5:9], name="part", part_of="whole"),
        make_device(tags[:5], name="whole"),
        make_device(tags[:2], name="other", unit=2),
        baud=115200,
        parity="N",
        timeout_ns=100 * NS_PER_MS,
    )


def test_reads_of_both_are_merged_and_tags_keep_their_own_names(config: Config) -> None:
    plan = compile_plan(config)
    bus = plan.buses[0]
    assert bus.devices == ("whole", "other")
    assert [(info.device, info.address, info.quantity, info.tags) for info in bus.block_info] == [
        ("whole", 0, 9, (*(f"holding{at}" for at in range(5)), *(f"part/holding{at}" for at in range(5, 9)))),
        ("other", 0, 2, ("holding0", "holding1")),
    ]
    assert [(block[UNIT_AT], block[DEVICE_AT]) for block in BLOCK.iter_unpack(bus.blocks)] == [(1, 0), (2, 1)]
    names = [f"b/part/holding{at}" for at in range(5, 9)] + [f"b/whole/holding{at}" for at in range(5)]
    assert [tag.name for tag in plan.tags] == [*names, "b/other/holding0", "b/other/holding1"]
    assert [(group.name, sorted(group.tags)) for group in plan.groups] == [
        ("b/whole", list(range(9))), ("b/other", [9, 10]),
    ]  # fmt: skip


def test_a_pause_between_units_is_not_counted_for_parts_of_one(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Any]
) -> None:
    whole = make_device([make_tag(Table.HOLDING, 0)], name="whole")
    part = make_device([make_tag(Table.INPUT, 0)], name="part", part_of="whole")
    alone, paused = (
        compile_plan(make_config(whole, part, switch_ns=switch_ns)).buses[0].utilisation for switch_ns in (0, NS_PER_S)
    )
    assert alone == paused


def test_a_silent_unit_is_one_suspect_however_many_parts_it_has(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Any]
) -> None:
    """Parts too far apart to be read together: three silent polls of either make the unit a suspect."""
    whole = make_device([make_tag(Table.HOLDING, 0)], name="whole")
    part = make_device([make_tag(Table.HOLDING, 9000)], name="part", part_of="whole")
    plan = compile_plan(make_config(whole, part, baud=115200, timeout_ns=100 * NS_PER_MS)).buses[0]
    assert len(plan.block_info) == 2
    bus = VirtualBus(char_ns=86_805, quiet_ns=1_750_000, ring_bits=10)
    bus.adopt(plan.blocks, plan.points, len(plan.devices), 0)
    bus.attach(0)
    now, sent = 0, 0
    while now < 3 * NS_PER_S:
        what, _, wake, _ = bus.step(now, None)
        while what == "look":
            what, _, wake, _ = bus.step(now, b"")
        sent += what == "send"
        now = max(now + 1, wake)
    assert bus.suspects() == [True]
    assert sent < 6, "two of them, each dead on its own, would have been asked three times both"
    samples = Samples()
    bus.drain(samples)
    assert {(sample.tag, sample.quality) for sample in records(samples)} >= {(tag, Quality.COMM_FAIL) for tag in (0, 1)}


LEARNED = Learned(max_registers=6)


def test_what_was_learned_of_a_unit_holds_for_all_of_its_parts(config: Config) -> None:
    known = {DeviceKey("b", "whole"): LEARNED}
    plan = compile_plan(config, known)
    assert [info.quantity for info in plan.buses[0].block_info if info.unit == 1] == [6, 3]
    lessons = Lessons(config.buses, plan, known)
    assert dict(lessons.learned()) == {DeviceKey("b", "whole"): LEARNED, DeviceKey("b", "other"): NOTHING}
    assert lessons.plan_of(0) == plan.buses[0]


def test_a_unit_is_remembered_by_the_maps_of_all_of_its_parts(config: Config, tmp_path: Path) -> None:
    key = DeviceKey("b", "whole")
    Memory(str(tmp_path)).remember(config.buses, {key: LEARNED})
    assert Memory(str(tmp_path)).recall(config.buses) == {key: LEARNED}
    part, whole, other = config.buses[0].devices
    without = replace(config.buses[0], devices=(whole, other))
    assert Memory(str(tmp_path)).recall([without]) == {}, "other registers are asked for"
    mapped = replace(config.buses[0], devices=(replace(part, model="storage"), replace(whole, model="meter"), other))
    Memory(str(tmp_path)).remember([mapped], {key: LEARNED})
    models = [entry["model"] for entry in json.loads((tmp_path / NAME).read_text())["devices"]]
    assert models == ["b/whole", "meter + storage"]
