"""What devices teach, in virtual time: the real bus, devices with a mind of their own, the plans that follow."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import RECORD
from learning import APART, KEY, TEN, Mind, World, gone, registers
from msgspec.structs import replace

from agent._native.samples import Samples
from agent.acquire.beliefs import recalled
from agent.acquire.limits import NOTHING, Learned, Seam
from agent.acquire.plan import DeviceKey, compile_plan
from agent.acquire.search import REFUSED_TIMES, SILENT_TIMES
from agent.config.model import Bus, Config, Device, Gateway, Hole, Store, Table, Tag
from agent.model import NS_PER_MS, NS_PER_S, Quality, ValueType

CASES: dict[str, tuple[list[Tag], Mind, Learned, set[int]]] = {
    # tags, the device, what is learned, tags that stay without a value
    "all there": (TEN, Mind(), NOTHING, set()),
    "a tag that it does not have": (
        TEN, Mind(gone(13)), Learned(missing=frozenset({Hole(Table.HOLDING, 13, 13)}), strict=True), {3},
    ),
    "two of them": (
        TEN,
        Mind(gone(13, 17)),
        Learned(missing=frozenset({Hole(Table.HOLDING, 13, 13), Hole(Table.HOLDING, 17, 17)}), strict=True),
        {3, 7},
    ),
    "the first": (TEN, Mind(gone(10)), Learned(missing=frozenset({Hole(Table.HOLDING, 10, 10)})), {0}),
    "a hole between tags": (APART, Mind(gone(16)), Learned(holes=frozenset({Hole(Table.HOLDING, 15, 17)})), set()),
    "a hole that the device fills": (APART, Mind(gone(16), fills=True), NOTHING, set()),
    "two areas": (TEN, Mind(seams=frozenset({14})), Learned(seams=frozenset({Seam(Table.HOLDING, 14)})), set()),
    "what it cannot do at once, although it can do more elsewhere": (
        TEN,
        Mind(never_together=frozenset({16, 17, 18})),
        Learned(seams=frozenset({Seam(Table.HOLDING, 18)})),
        set(),
    ),
    "short reads": (registers(*range(100)), Mind(most=30), Learned(max_registers=30), set()),
    "short reads, refused as no such register": (
        registers(*range(100)), Mind(most=30, too_many=2), Learned(max_registers=30), set(),
    ),
    "short reads of bits": (
        registers(*range(100), table=Table.COIL), Mind(most_bits=64), Learned(max_bits=64), set(),
    ),
    "short reads that it is silent about": (
        registers(*range(100)), Mind(most=30, too_many=None), Learned(max_registers=30), set(),
    ),
    "everything at once": (
        registers(*range(60), *range(70, 100)),
        Mind(gone(5, 63), most=20, seams=frozenset({80})),
        Learned(
            max_registers=20,
            missing=frozenset({Hole(Table.HOLDING, 5, 5)}),
            strict=True,
        ),
        {5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_device_cannot_do_is_found_out_and_kept_to(world: Callable[..., World], case: str) -> None:
    tags, mind, learned, without = CASES[case]
    of = world(tags, mind)
    of.run(120)
    if case == "everything at once":
        assert of.learned._replace(holes=frozenset(), seams=frozenset()) == learned
    else:
        assert of.learned == learned
    assert of.good() == set(range(len(tags))) - without
    assert all(of.last[tag][1] == tags[tag].address for tag in of.good() if tags[tag].type is ValueType.U16)
    plans, refused = of.plans, of.refused
    of.run(300)
    assert of.plans == plans, "nothing is guessed again"
    looks = 5 * len(without) + 1 + REFUSED_TIMES * len(recalled(of.learned))
    assert of.refused - refused <= looks, "a missing tag is asked for once a minute, and each belief once"
    again = world(tags, mind, of.learned)
    again.run(50)
    assert again.plans == 1
    assert again.refused <= 2 * len(without), "what is known is not asked for at the next start"
    assert again.good() == of.good()
    assert sorted(again.reads()) == sorted(of.reads())


@pytest.mark.parametrize("code", [1, 4, 5, 6, 10, 11])
def test_other_exceptions_pass_and_teach_nothing(world: Callable[..., World], code: int) -> None:
    of = world(TEN, Mind(gone(13), no_such=code))
    of.run(60)
    assert of.learned == NOTHING
    assert (of.plans, of.good()) == (1, set())


def test_one_refusal_is_not_believed(world: Callable[..., World]) -> None:
    of = world(TEN, Mind())
    of.run(5)
    for _ in range(5):
        of.minds[1] = Mind(gone(*range(10, 20)))
        before = of.refused
        while of.refused == before:
            of.run(0.2)
        of.minds[1] = Mind()
        of.run(5)
    assert (of.plans, of.learned) == (1, NOTHING)
    assert of.good() == set(range(10))


def test_a_dead_device_teaches_nothing(world: Callable[..., World]) -> None:
    of = world(registers(*range(100), *range(300, 310)), Mind())
    of.run(20)
    of.minds[1] = None
    of.run(600)
    of.minds[1] = Mind()
    of.run(120)
    assert (of.plans, of.learned) == (1, NOTHING)
    assert of.good() == set(range(110))


def test_a_dead_device_with_one_long_read_teaches_nothing_and_is_asked_for_little_more(
    world: Callable[..., World],
) -> None:
    of = world(registers(*range(100)), Mind())
    of.minds[1] = None
    of.run(600)
    assert (of.plans, of.reads(), of.learned) == (1, [(0, 100)], NOTHING)
    assert sum(quantity < 90 for *_, quantity in of.requests) < 20


def test_silence_about_a_short_read_teaches_nothing(world: Callable[..., World]) -> None:
    class Quiet(Mind):
        def answer(self, table: Table, address: int, quantity: int) -> int | None:
            return None if address < 20 else 0

    of = world([*TEN, *registers(*range(200, 210))], Quiet())
    of.run(60)
    assert (of.plans, of.learned, of.good()) == (1, NOTHING, set(range(10, 20)))


def test_noise_that_spoils_long_answers_now_and_then_teaches_nothing(world: Callable[..., World]) -> None:
    of = world(registers(*range(100), *range(300, 310)), Mind())
    spoilt = iter([1, 1, 0] * 1000)

    class Noisy(Mind):
        def answer(self, table: Table, address: int, quantity: int) -> int | None:
            return None if quantity > 50 and next(spoilt) else 0

    of.minds[1] = Noisy()
    of.run(300)
    assert SILENT_TIMES == 3
    assert (of.plans, of.learned) == (1, NOTHING)


NOT_READY = Mind(gone(*range(100)))


@pytest.mark.parametrize("tags", [TEN, APART, registers(*range(100))], ids=["ten", "apart", "hundred"])
@pytest.mark.parametrize("up_s", [0, 10.4])
@pytest.mark.parametrize("refusing_s", [0.6 + 0.9 * i for i in range(20)])
def test_a_device_that_refuses_everything_while_it_starts_has_no_limits_afterwards(
    world: Callable[..., World], tags: list[Tag], up_s: float, refusing_s: float
) -> None:
    of = world(tags, Mind())
    of.run(up_s)
    of.minds[1] = NOT_READY
    of.run(refusing_s)
    of.minds[1] = Mind()
    of.run(150)
    assert of.learned == NOTHING
    assert of.good() == set(range(len(tags)))
    assert of.reads() == world(tags, Mind()).reads()


def test_a_tag_that_an_update_brings_is_read_like_the_others_again(world: Callable[..., World]) -> None:
    of = world(TEN, Mind(gone(13)))
    of.run(60)
    assert of.learned.missing
    of.minds[1] = Mind()
    of.run(120)
    assert of.learned.missing == frozenset()
    assert of.good() == set(range(10))
    assert of.reads() == [(10, 10)]


def test_registers_that_a_device_fills_are_read_through_but_no_tag_is_made_of_them(
    world: Callable[..., World],
) -> None:
    tags = [*TEN, *registers(40, 41), *registers(30)]
    of = world(tags, Mind(gone(30), fills=True), Learned(missing=frozenset({Hole(Table.HOLDING, 30, 30)})))
    of.run(100)
    assert (of.plans, of.reads()) == (1, [(10, 32), (30, 1)])
    assert of.good() == set(range(12))
    assert of.last[12][0] is Quality.EXCEPTION


def test_what_one_device_teaches_changes_nothing_for_its_neighbours(
    world: Callable[..., World], make_device: Callable[..., Device]
) -> None:
    neighbour = make_device(registers(13, every_ns=100 * NS_PER_MS), name="e", unit=2)
    of = world(TEN, Mind(gone(13)), devices=(neighbour,), minds={2: Mind()})
    of.run(60)
    assert dict(of.lessons.learned())[DeviceKey("b", "e")] == NOTHING
    assert of.good() == set(range(11)) - {3}
    of.requests.clear()
    of.run(60)
    assert sum(unit == 2 for unit, *_ in of.requests) == pytest.approx(600, abs=2)


def test_a_slower_tag_does_not_begin_to_ride_where_the_filter_does_not_thin_it(world: Callable[..., World]) -> None:
    tags = [*registers(10, 11), *registers(*range(12, 101), every_ns=2 * NS_PER_S)]
    of = world(tags, Mind(most=88))
    assert all(tag.read_ns == tag.every_ns for tag in of.plan.tags)
    of.run(60)
    assert of.learned.max_registers == 88
    assert of.reads()[0] == (10, 2)
    riding = compile_plan(of.config, {KEY: of.learned})  # what the next start may do
    assert [(info.address, info.quantity) for info in riding.buses[0].block_info] == [(10, 3), (13, 88)]
    assert riding.tags[2].read_ns < riding.tags[2].every_ns


def test_values_that_cannot_be_are_answers_all_the_same(world: Callable[..., World]) -> None:
    tags = registers(*range(0xFFF0, 0xFFFB))  # their values have nibbles above 9
    tags = [replace(tag, type=ValueType.BCD16) for tag in tags]
    of = world(tags, Mind(gone(0xFFF4)))
    of.run(60)
    assert of.learned == Learned(missing=frozenset({Hole(Table.HOLDING, 0xFFF4, 0xFFF4)}), strict=True)
    assert {quality for tag, (quality, _) in of.last.items() if tag != 4} == {Quality.OUT_OF_RANGE}


def test_samples_of_an_older_plan_are_passed_over(world: Callable[..., World]) -> None:
    of = world(TEN, Mind())
    of.run(3)
    record = RECORD.pack(of.now, 0, 99, 0, ValueType.U16, Quality.EXCEPTION, 2, 0)
    other = RECORD.pack(of.now + 1, 0, 3, 0, ValueType.U16, Quality.EXCEPTION, 2, 0)
    for _ in range(5):
        of.lessons.observe(Samples(record + other))
    assert of.lessons.take_changed() == set()
    assert list(of.lessons.asks(of.now)) == []


def test_silence_that_is_about_one_register_is_looked_into_once(world: Callable[..., World]) -> None:
    class Silent(Mind):
        def answer(self, table: Table, address: int, quantity: int) -> int | None:
            return None if address <= 50 < address + quantity else 0

    of = world([*registers(*range(100)), *registers(*range(300, 310))], Silent())
    of.run(300)
    plans = of.plans
    assert of.learned == NOTHING
    of.run(300)
    assert of.plans == plans


def test_the_longest_read_of_a_device_is_the_longest_that_any_of_its_tags_shows(world: Callable[..., World]) -> None:
    """Those of the read that is refused, 18 to 23, are fewer than those of another one, 0 to 6."""
    of = world(registers(0, 6, 18, 23, 28), Mind(most=10))
    of.run(300)
    plans = of.plans
    assert of.learned.max_registers == 7
    of.run(300)
    assert of.plans == plans


minds = st.builds(
    lambda missing, fills, seams, most, too_many: Mind(
        gone(*missing), fills=fills, seams=frozenset(seams), most=most, too_many=too_many
    ),
    st.sets(st.integers(0, 60), max_size=5),
    st.booleans(),
    st.sets(st.integers(1, 60), max_size=2),
    st.sampled_from([4, 10, 30, 125]),
    st.sampled_from([2, 3]),
)


@settings(max_examples=60)
@given(addresses=st.sets(st.integers(0, 60), min_size=1, max_size=30), mind=minds, two_rates=st.booleans())
def test_whatever_the_device_every_tag_that_can_be_read_is_read_in_the_end(
    addresses: set[int], mind: Mind, two_rates: bool
) -> None:
    tags = registers(*sorted(addresses))
    if two_rates:
        tags = registers(*sorted(addresses)[::2]) + registers(*sorted(addresses)[1::2], every_ns=2 * NS_PER_S)
    settings_ = {"name": "b", "port": "/dev/x", "timeout_ns": 300 * NS_PER_MS, "baud": 115200, "parity": "N"}
    config = Config(
        gateway=Gateway(id="g"),
        mqtt=None,
        store=Store(),
        buses=(Bus(devices=(Device(name="d", unit=1, tags=tuple(tags)),), **settings_),),
    )
    of = World(config, {1: mind}, {})
    of.run(300)
    assert of.good() >= {at for at, tag in enumerate(tags) if (Table.HOLDING, tag.address) not in mind.missing}
    plans = of.plans
    of.run(300)
    assert of.plans == plans
