"""Which tags are read together: never a cut tag, never too much, and never a dearer way than the cheapest."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.acquire.merge import Block, Wanted, blocks_of, partition
from agent.acquire.wire import Line, line_of
from agent.config.model import MAX_BITS, MAX_REGISTERS, Config, Device, Table, Tag
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
    assert spans(blocks_of(make_device([]), of, line().transaction_ns)) == [(Table.HOLDING, 10, 20)]


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
    assert len(blocks_of(make_device([]), of, line(baud=baud, parity="N").transaction_ns)) == requests


def test_a_request_never_asks_for_more_than_the_protocol_or_the_device_allows(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    registers = wanted(*(make_tag(Table.INPUT, at) for at in range(300)))
    bits = wanted(*(make_tag(Table.COIL, at, ValueType.BOOL) for at in range(2001)))
    cost = line(baud=115200).transaction_ns
    assert max(q for *_, q in spans(blocks_of(make_device([]), registers, cost))) <= MAX_REGISTERS
    assert len(blocks_of(make_device([]), registers, cost)) == 3
    assert max(q for *_, q in spans(blocks_of(make_device([], max_registers=40), registers, cost))) <= 40
    assert len(blocks_of(make_device([]), bits, cost)) == 2
    assert max(q for *_, q in spans(blocks_of(make_device([]), bits, cost))) <= MAX_BITS


def test_a_device_that_knows_no_holes_is_not_asked_for_them(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, 1), make_tag(Table.HOLDING, 3))
    assert spans(blocks_of(make_device([], max_gap=0), of, line().transaction_ns)) == [
        (Table.HOLDING, 0, 2), (Table.HOLDING, 3, 1),
    ]  # fmt: skip
    assert spans(blocks_of(make_device([], max_gap=1), of, line().transaction_ns)) == [(Table.HOLDING, 0, 4)]


def test_tables_are_never_mixed(make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]) -> None:
    of = wanted(
        make_tag(Table.COIL, 1, ValueType.BOOL),
        make_tag(Table.HOLDING, 1),
        make_tag(Table.INPUT, 1),
        make_tag(Table.DISCRETE, 1, ValueType.BOOL),
    )
    tables = [block.table for block in blocks_of(make_device([]), of, line().transaction_ns)]
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
    blocks = blocks_of(make_device([]), of, line().transaction_ns)
    assert spans(blocks) == [(Table.HOLDING, 4, 2)]
    assert [item.number for item in blocks[0].wanted] == [2, 0, 1]


def test_a_gap_begins_behind_the_tag_that_reaches_farthest(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0, ValueType.U64), make_tag(Table.HOLDING, 1), make_tag(Table.HOLDING, 5))
    assert spans(blocks_of(make_device([], max_gap=1), of, line().transaction_ns)) == [(Table.HOLDING, 0, 6)]


def test_a_text_takes_a_register_for_two_bytes(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(make_tag(Table.HOLDING, 0, ValueType.TEXT, length=7))
    assert spans(blocks_of(make_device([]), of, line().transaction_ns)) == [(Table.HOLDING, 0, 4)]


def test_a_slightly_slower_tag_inside_a_block_rides_along(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line]
) -> None:
    of = wanted(
        make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, 2), make_tag(Table.HOLDING, 1, every_ns=2 * NS_PER_S)
    )
    blocks = blocks_of(make_device([]), of, line().transaction_ns)
    assert [(block.period_ns, [item.number for item in block.wanted]) for block in blocks] == [(NS_PER_S, [0, 2, 1])]


@pytest.mark.parametrize(("address", "every_s"), [(1, 3), (3, 2)])
def test_a_much_slower_tag_and_one_outside_keep_their_own_period(
    make_tag: Tags, make_device: Callable[..., Device], line: Callable[..., Line], address: int, every_s: int
) -> None:
    of = wanted(
        make_tag(Table.HOLDING, 0),
        make_tag(Table.HOLDING, 2),
        make_tag(Table.HOLDING, address, every_ns=every_s * NS_PER_S),
    )
    blocks = blocks_of(make_device([]), of, line().transaction_ns)
    assert [(block.period_ns, len(block.wanted)) for block in blocks] == [(NS_PER_S, 2), (every_s * NS_PER_S, 1)]


def every_partition(items: list[Wanted]) -> Iterator[list[list[Wanted]]]:
    if not items:
        yield []
        return
    first, *rest = items
    for parts in every_partition(rest):
        yield [[first], *parts]
        for index in range(len(parts)):
            yield [*parts[:index], [first, *parts[index]], *parts[index + 1 :]]


def span(part: list[Wanted]) -> int:
    return max(item.end for item in part) - min(item.start for item in part)


places = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 4])), min_size=1, max_size=6)


@given(places=places, request_ns=st.integers(0, 30), most=st.integers(4, 40))
def test_no_way_to_read_the_tags_is_cheaper(places: list[tuple[int, int]], request_ns: int, most: int) -> None:
    items = wanted(*(one_tag(address, length) for address, length in places))

    def cost(parts: list[list[Wanted]]) -> int:
        return sum(request_ns + span(part) for part in parts)

    found = partition(items, most, MAX_BITS, lambda quantity: request_ns + quantity)
    best = min(cost(parts) for parts in every_partition(items) if all(span(part) <= most for part in parts))
    assert cost(found) == best
    assert sorted(item.number for part in found for item in part) == list(range(len(items)))
    assert all(span(part) <= most for part in found)


def one_tag(address: int, length: int) -> Tag:
    return Tag(name="x", table=Table.HOLDING, address=address, type=ValueType.U64, length=length, every_ns=NS_PER_S)
