"""Requests of other shapes, sent while a late answer is feared: they too stay within what the device can do."""

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

from bus_rig import MS, QUICK, Poll, Rig, S

from agent.acquire.limits import Learned, Seam
from agent.acquire.plan import BusPlan, DeviceKey, compile_plan
from agent.config.model import Config, Device, Hole, Table, Tag

REGISTERS = range(24)
HOLDING = Table.HOLDING
READ_HOLDING = 3
CASES = 100


def spans_of(rig: Rig) -> set[tuple[int, int]]:
    """First register, and the one past the last, of every read."""
    reads = (struct.unpack_from(">BBHH", request) for _, request in rig.sent if request[1] == READ_HOLDING)
    return {(address, address + quantity) for _, _, address, quantity in reads}


def test_no_request_of_any_shape_leaves_the_limits_of_the_device(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    variants = 0
    for seed in range(CASES):
        draw = random.Random(seed)
        case = drawn(draw)
        tags = [
            make_tag(HOLDING, at, merge=at not in case.alone, every_ns=10 * S if at in case.slow else 100 * MS)
            for at in case.wanted
        ]
        config = make_config(make_device(tags, unit=1))
        key = DeviceKey(config.buses[0].name, config.buses[0].devices[0].name)
        part = compile_plan(config, {key: case.learned}).buses[0]
        spans = spans_of(played(part, draw))
        variants += len(spans - {(info.address, info.address + info.quantity) for info in part.block_info})
        for first, end in spans:
            assert_allowed(case, first, end)
    assert variants > 2 * CASES


def played(part: BusPlan, draw: random.Random) -> Rig:
    """A device that leaves three of ten requests unanswered."""
    rig = Rig([Poll()], lambda request, n: [] if draw.random() < 0.3 else QUICK(request, n), ring_bits=14)
    rig.bus.adopt(part.blocks, part.points, 1, 0)
    return rig.run(8 * S)


class Case(NamedTuple):
    """Tags of one register each, and what the device cannot do."""

    wanted: list[int]
    alone: set[int]  # merge = false
    slow: set[int]
    learned: Learned


def drawn(draw: random.Random) -> Case:
    wanted = sorted(draw.sample(REGISTERS, 14))
    learned = Learned(
        max_registers=draw.randint(1, 8),
        holes=frozenset({span(draw.choice(REGISTERS))}),
        seams=frozenset(Seam(HOLDING, at) for at in draw.sample(REGISTERS, 3)),
        missing=frozenset({span(draw.choice(wanted))}),
        strict=True,
    )
    return Case(wanted, set(draw.sample(wanted, 2)), set(draw.sample(wanted, 5)), learned)


def span(register: int) -> Hole:
    return Hole(HOLDING, register, register)


def assert_allowed(case: Case, first: int, end: int) -> None:
    learned = case.learned
    apart = case.alone | {hole.first for hole in learned.holes | learned.missing}
    seen = f"{first} to {end} of {case}"
    assert end - first <= learned.max_registers, seen
    assert not [seam for seam in learned.seams if first < seam.address < end], seen
    assert end - first == 1 or not apart.intersection(range(first, end)), seen
