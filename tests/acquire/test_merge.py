"""Which tags are read together: never a cut tag, never too much, and never a dearer way than the cheapest."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.acquire.limits import Learned, Limits, Seam, limits_of
from agent.acquire.merge import RETEST_NS, Block, Room, Wanted, blocks_of, in_order, placed
from agent.acquire.plan import compile_plan
from agent.acquire.wire import Line, line_of
from agent.config import load_config
from agent.config.files import shipped_maps
from agent.config.model import MAX_BITS, MAX_REGISTERS, Config, Device, Hole, Table, Tag
from agent.model import ValueType

Tags = Callable[..., Tag]
NS_PER_S = 1_000_000_000


def wanted(*tags: Tag) -> list[Wanted]:
    return [Wanted(number, tag) for number, tag in enumerate(tags)]


def spans(blocks: list[Block]) -> list[tuple[Table, int, int]]:
    return [(block.table, block.address, block.quantity) for block in blocks]


@pytest.fixture
def line(make_config: Callable[..., Config]) -> Callable[..., Line]:
    return lambda **settings: line_of(make_config(**settings).buses[0])


def test_neighbours_are_read_at_once(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(*(make_tag(Table.HOLDING, at) for at in range(10, 30)))
    assert spans(blocks_of(limits_of(make_device([])), of, line().transaction_ns)) == [(Table.HOLDING, 10, 20)]


@pytest.mark.parametrize(
    ("baud", "gap", "requests"),
    [
        (9600, 11, 1),
        (9600, 12, 2),
        (19200, 14, 1),
        (19200, 15, 2),
        (38400, 21, 1),
        (38400, 22, 2),
        (115200, 51, 1),
        (115200, 52, 2),
    ],
)
def test_a_gap_is_read_through_only_where_it_is_cheaper_than_a_request(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line], baud: int, gap: int, requests: int
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, 1 + gap))
    assert len(blocks_of(limits_of(make_device([])), of, line(baud=baud, parity="N").transaction_ns)) == requests


def test_a_request_never_asks_for_more_than_the_protocol_or_the_device_allows(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    registers = wanted(*(make_tag(Table.INPUT, at) for at in range(300)))
    bits = wanted(*(make_tag(Table.COIL, at, ValueType.BOOL) for at in range(2001)))
    cost = line(baud=115200).transaction_ns
    assert max(q for *_, q in spans(blocks_of(limits_of(make_device([])), registers, cost))) <= MAX_REGISTERS
    assert len(blocks_of(limits_of(make_device([])), registers, cost)) == 3
    assert max(q for *_, q in spans(blocks_of(limits_of(make_device([], max_registers=40)), registers, cost))) <= 40
    assert len(blocks_of(limits_of(make_device([])), bits, cost)) == 2
    assert max(q for *_, q in spans(blocks_of(limits_of(make_device([])), bits, cost))) <= MAX_BITS


def test_a_device_that_knows_no_holes_is_not_asked_for_them(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, 1), make_tag(Table.HOLDING, 3))
    assert spans(blocks_of(limits_of(make_device([], max_gap=0)), of, line().transaction_ns)) == [
        (Table.HOLDING, 0, 2), (Table.HOLDING, 3, 1),
    ]  # fmt: skip
    assert spans(blocks_of(limits_of(make_device([], max_gap=1)), of, line().transaction_ns)) == [(Table.HOLDING, 0, 4)]


def test_tables_are_never_mixed(make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]) -> None:
    of = wanted(
        make_tag(Table.COIL, 1, ValueType.BOOL),
        make_tag(Table.HOLDING, 1),
        make_tag(Table.INPUT, 1),
        make_tag(Table.DISCRETE, 1, ValueType.BOOL),
    )
    tables = [block.table for block in blocks_of(limits_of(make_device([])), of, line().transaction_ns)]
    assert sorted(tables) == sorted(Table)


def test_tags_that_overlap_share_registers(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    bit = {"bits": 1, "name": "bit"}
    of = wanted(
        make_tag(Table.HOLDING, 5),
        make_tag(Table.HOLDING, 5, ValueType.BITS, shift=3, **bit),
        make_tag(Table.HOLDING, 4, ValueType.F32),
    )
    blocks = blocks_of(limits_of(make_device([])), of, line().transaction_ns)
    assert spans(blocks) == [(Table.HOLDING, 4, 2)]
    assert [item.number for item in blocks[0].wanted] == [2, 0, 1]


def test_a_gap_begins_behind_the_tag_that_reaches_farthest(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0, ValueType.U64), make_tag(Table.HOLDING, 1), make_tag(Table.HOLDING, 5))
    assert spans(blocks_of(limits_of(make_device([], max_gap=1)), of, line().transaction_ns)) == [(Table.HOLDING, 0, 6)]


def test_a_text_takes_a_register_for_two_bytes(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0, ValueType.TEXT, length=7))
    assert spans(blocks_of(limits_of(make_device([])), of, line().transaction_ns)) == [(Table.HOLDING, 0, 4)]


@pytest.mark.parametrize("every_s", [2, 3600])
def test_a_slower_tag_inside_a_block_rides_along(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line], every_s: int
) -> None:
    of = wanted(
        make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, 2), make_tag(Table.HOLDING, 1, every_ns=every_s * NS_PER_S)
    )
    blocks = blocks_of(limits_of(make_device([])), of, line().transaction_ns)
    assert [(block.period_ns, [item.number for item in block.wanted]) for block in blocks] == [(NS_PER_S, [0, 2, 1])]


def test_a_tag_that_may_not_be_read_more_often_keeps_its_own_block(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(
        make_tag(Table.HOLDING, 0),
        make_tag(Table.HOLDING, 2),
        make_tag(Table.HOLDING, 1, every_ns=2 * NS_PER_S),
        make_tag(Table.HOLDING, 3, every_ns=2 * NS_PER_S),
    )
    blocks = blocks_of(limits_of(make_device([])), of, line().transaction_ns, riders={3})
    assert [(block.period_ns, [item.number for item in block.wanted]) for block in blocks] == [
        (NS_PER_S, [0, 1, 3]), (2 * NS_PER_S, [2]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("every_s", "apart", "periods"),
    [
        (2, 1, [1]),  # one register more a second costs less than a request every two
        (10, 1, [1]),
        (30, 1, [1, 30]),  # a request every half minute costs less
        (2, 10, [1, 2]),  # and so it does than ten registers a second
    ],
)
def test_a_slower_tag_beside_a_block_makes_it_longer_only_where_that_is_cheaper(
    make_tag: Tags,
    make_device: Callable[..., Device],
    line: Callable[..., Line],
    every_s: int,
    apart: int,
    periods: list[int],
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, apart, every_ns=every_s * NS_PER_S))
    blocks = blocks_of(limits_of(make_device([])), of, line().transaction_ns)
    assert [block.period_ns // NS_PER_S for block in blocks] == periods


# --- what a device cannot do ---


def reads(tags: list[Tag], limits: Limits) -> list[tuple[int, int]]:
    """Address and quantity of every block, at a cost that makes every gap worth reading."""
    return [(block.address, block.quantity) for block in blocks_of(limits, wanted(*tags), lambda _, n: 1000 + n)]


HOLE = Hole(Table.HOLDING, 3, 4)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), [(0, 8)]),
        (Limits(holes=frozenset({HOLE})), [(0, 3), (5, 3)]),
        (Limits(holes=frozenset({HOLE._replace(table=Table.INPUT)})), [(0, 8)]),
        (Limits(seams=frozenset({Seam(Table.HOLDING, 2)})), [(0, 2), (2, 6)]),
        (Limits(max_gap=1), [(0, 3), (5, 3)]),
        (Limits(max_registers=7), [(0, 3), (5, 3)]),
        (Limits(missing=frozenset({Hole(Table.HOLDING, 1, 1)})), [(0, 8), (1, 1)]),
    ],
)
def test_a_read_keeps_to_what_the_device_can_do(
    make_tag: Tags, limits: Limits, expected: list[tuple[int, int]]
) -> None:
    tags = [make_tag(Table.HOLDING, at) for at in (0, 1, 2, 5, 6, 7)]
    assert sorted(reads(tags, limits)) == expected


def test_a_missing_tag_is_read_alone_and_seldom_and_where_it_spoils_reads_none_goes_through_it(
    make_tag: Tags, make_device: Callable[..., Device]
) -> None:
    of = wanted(*(make_tag(Table.HOLDING, at) for at in (0, 1, 2)))
    gone = frozenset({Hole(Table.HOLDING, 1, 1)})
    for strict, expected in ((False, [(0, 3, 1), (1, 1, 60)]), (True, [(0, 1, 1), (1, 1, 60), (2, 1, 1)])):
        limits = limits_of(make_device([]), Learned(missing=gone, strict=strict))
        blocks = blocks_of(limits, of, lambda _, n: 1000 + n)
        found = sorted((block.address, block.quantity, block.period_ns // NS_PER_S) for block in blocks)
        assert found == expected
        assert sorted(item.number for block in blocks for item in block.wanted) == [0, 1, 2]
    assert RETEST_NS == 60 * NS_PER_S


def test_a_tag_that_is_read_alone_is_also_never_read_through(make_tag: Tags) -> None:
    tags = [make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, 1, merge=False), make_tag(Table.HOLDING, 2)]
    assert sorted(reads(tags, Limits())) == [(0, 1), (1, 1), (2, 1)]
    other = [make_tag(Table.HOLDING, 0), make_tag(Table.INPUT, 1, merge=False), make_tag(Table.HOLDING, 2)]
    assert sorted(reads(other, Limits())) == [(0, 3), (1, 1)]


def test_bits_have_a_limit_of_their_own(make_tag: Tags) -> None:
    tags = [make_tag(Table.COIL, at, ValueType.BOOL) for at in range(100)]
    assert [quantity <= 64 for _, quantity in reads(tags, Limits(max_registers=1, max_bits=64))] == [True, True]


def test_learned_limits_narrow_the_configured_ones_and_never_widen_them(make_device: Callable[..., Device]) -> None:
    device = make_device([], max_registers=50, max_bits=64, holes=(HOLE,))
    other = Hole(Table.INPUT, 1, 1)
    found = limits_of(device, Learned(max_registers=80, max_bits=32, holes=frozenset({other})))
    assert (found.max_registers, found.max_bits, found.holes) == (50, 32, {HOLE, other})


# --- against every way there is ---


def every_partition(items: list[Wanted]) -> Iterator[list[list[Wanted]]]:
    if not items:
        yield []
        return
    first, *rest = items
    for parts in every_partition(rest):
        yield [[first], *parts]
        for index in range(len(parts)):
            yield [*parts[:index], [first, *parts[index]], *parts[index + 1 :]]


def span(part: Iterable[Wanted]) -> int:
    return max(item.end for item in part) - min(item.start for item in part)


def may_be_read(room: Room, part: Iterable[Wanted]) -> bool:
    """By looking at every register between the first and the last."""
    part = list(part)
    held = {at for item in part for at in range(item.start, item.end)}
    low, high = min(held), max(held)
    gaps = [len(list(run)) for is_gap, run in groupby(range(low, high), lambda at: at not in held) if is_gap]
    holes = {at for hole in room.limits.holes for at in range(hole.first, hole.last + 1)}
    cut = any(low < seam.address <= high and not within(part, seam.address) for seam in room.limits.seams)
    return (
        not cut
        and not holes & set(range(low, high + 1))
        and max(gaps, default=0) <= room.limits.max_gap
        and (high + 1 - low <= room.most or len(part) == 1)
    )


def within(part: list[Wanted], address: int) -> bool:
    """A tag that lies across a seam is the device's own word that it can be read."""
    return any(item.start < address < item.end for item in part)


places = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 4])), min_size=1, max_size=6)
rooms = st.builds(
    lambda most, max_gap, holes, seams, request_ns: Room(
        Table.HOLDING,
        Limits(most, most, max_gap, frozenset(holes), frozenset(seams)),
        lambda quantity: request_ns + quantity,
    ),
    st.integers(4, 40),
    st.integers(0, 12),
    st.lists(st.integers(0, 40).map(lambda at: Hole(Table.HOLDING, at, at + 1)), max_size=2),
    st.lists(st.integers(0, 44).map(lambda at: Seam(Table.HOLDING, at)), max_size=2),
    st.integers(0, 30),
)


def free_of_holes(items: list[Wanted], room: Room) -> list[Wanted]:
    return in_order(item for item in items if not room.limits.touches_hole(Table.HOLDING, item.start, item.end))


@given(places=places, room=rooms)
def test_no_way_to_read_the_tags_of_one_period_is_cheaper(places: list[tuple[int, int]], room: Room) -> None:
    items = free_of_holes(wanted(*(one_tag(address, length) for address, length in places)), room)
    _, found = placed(room, NS_PER_S, items, [])
    best = min(
        sum(room.cost_ns(span(part)) for part in parts)
        for parts in every_partition(items)
        if all(may_be_read(room, part) for part in parts)
    )
    assert sum(room.cost_ns(block.quantity) for block in found) == best
    assert sorted(item.number for block in found for item in block.wanted) == sorted(item.number for item in items)
    assert all(may_be_read(room, block.wanted) for block in found)


def every_assignment(room: Room, items: list[Wanted], faster: list[Block], period_ns: int) -> Iterator[float]:
    """Costs of all ways: each item in any faster block, or in any set of a period of their own."""
    for hosts in product([None, *range(len(faster))], repeat=len(items)):
        taken = [[item for item, host in zip(items, hosts, strict=True) if host == at] for at in range(len(faster))]
        longer = [[*block.wanted, *extra] for block, extra in zip(faster, taken, strict=True)]
        if not all(may_be_read(room, part) for part in longer):
            continue
        base = sum(
            (room.cost_ns(span(part)) - room.cost_ns(block.quantity)) / block.period_ns
            for part, block in zip(longer, faster, strict=True)
        )
        own = [item for item, host in zip(items, hosts, strict=True) if host is None]
        for parts in every_partition(own):
            if all(may_be_read(room, part) for part in parts):
                yield base + sum(room.cost_ns(span(part)) for part in parts) / period_ns


few = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1, 2])), min_size=1, max_size=4)


@given(
    quick=few,
    slow=few.map(lambda places: places[:3]),
    request_ns=st.integers(0, 30),
    ratio=st.sampled_from([1.5, 3, 10, 100]),
)
def test_no_way_to_place_slower_tags_beside_faster_blocks_is_cheaper(
    quick: list[tuple[int, int]], slow: list[tuple[int, int]], request_ns: int, ratio: float
) -> None:
    room = Room(Table.HOLDING, Limits(), lambda quantity: request_ns + quantity)
    items = wanted(*(one_tag(address, length) for address, length in [*quick, *slow]))
    _, faster = placed(room, 1000, in_order(items[: len(quick)]), [])
    faster.sort(key=lambda block: block.address)
    later = in_order(items[len(quick) :])
    period_ns = int(1000 * ratio)
    longer, own = placed(room, period_ns, later, faster)
    cost = sum(room.cost_ns(block.quantity) / period_ns for block in own) + sum(
        (room.cost_ns(after.quantity) - room.cost_ns(before.quantity)) / 1000
        for before, after in zip(faster, longer, strict=True)
    )
    assert cost == pytest.approx(min(every_assignment(room, later, faster, period_ns)), abs=1e-12)
    assert sorted(item.number for block in longer + own for item in block.wanted) == sorted(i.number for i in items)


@given(quick=few, slow=few, room=rooms)
def test_within_any_limits_every_tag_has_one_place_that_is_allowed(
    quick: list[tuple[int, int]], slow: list[tuple[int, int]], room: Room
) -> None:
    tags = [one_tag(*place) for place in quick] + [one_tag(*place, every_ns=3 * NS_PER_S) for place in slow]
    blocks = blocks_of(room.limits, wanted(*tags), lambda _, quantity: room.cost_ns(quantity))
    assert sorted(item.number for block in blocks for item in block.wanted) == list(range(len(tags)))
    for block in blocks:
        assert len(block.wanted) == 1 or may_be_read(room, block.wanted)
        assert (block.address, block.quantity) == (min(item.start for item in block.wanted), span(block.wanted))
        assert block.period_ns == min(item.tag.every_ns for item in block.wanted)


def one_tag(address: int, length: int, every_ns: int = NS_PER_S) -> Tag:
    return Tag(name="x", table=Table.HOLDING, address=address, type=ValueType.U64, length=length, every_ns=every_ns)


# --- the maps that ship ---


@pytest.mark.parametrize("baud", [9600, 19200, 115200])
def test_the_maps_that_ship_take_a_quarter_of_the_requests_of_one_a_tag(baud: int, tmp_path: Path) -> None:
    names = sorted(shipped_maps())
    devices = "".join(
        f'[[bus.device]]\nname = "{name}"\nunit = {at}\ndevice = "{name}"\n' for at, name in enumerate(names, 1)
    )
    file = tmp_path / "all.toml"
    file.write_text(f'schema = 1\n[[bus]]\nname = "b"\nport = "/dev/x"\nbaud = {baud}\n{devices}')
    (bus,) = compile_plan(load_config(str(file))).buses
    tags = sum(len(info.tags) for info in bus.block_info)
    assert tags >= 4 * len(bus.block_info), f"{tags} tags in {len(bus.block_info)} requests"
