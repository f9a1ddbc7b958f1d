"""How long a bus waits, to the millisecond: timeouts, pauses in answers, windows in which late ones are feared."""

import pytest
from bus_rig import CHAR_NS, COMM_FAIL, LOOP_BACK, MS, QUIET_NS, Answer, Poll, Rig, S, answer_to, asked, paced

REQUEST_NS = 8 * CHAR_NS
TRUST = 200  # answers after which a timeout follows the device
CEILING = 1000
Runs = list[tuple[int, float]]  # so many answers that take so many ms


def taking(runs: Runs) -> Answer:
    """A device whose answers take so long, in this order, and which is silent after that."""
    delays = [ms for count, ms in runs for _ in range(count)]
    return lambda request, n: paced(answer_to(request), int(delays[n] * MS)) if n < len(delays) else []


def waits_ms(rig: Rig) -> list[float]:
    """For how long each poll that failed had been waited for, behind its request."""
    failed = sorted({sample.time_ns for sample in rig.samples if sample.quality == COMM_FAIL})
    return [(at - max(sent for sent, _ in rig.sent if sent < at) - REQUEST_NS) / MS for at in failed]


def first_wait_ms(poll: Poll, answer: Answer) -> float:
    rig = Rig([poll], answer)
    while not (waited := waits_ms(rig)):
        rig.run(rig.now + 10 * S)
    return waited[0]


# --- timeouts ---


@pytest.mark.parametrize(
    ("runs", "timeout_ms"),
    [
        pytest.param([(TRUST - 1, 2)], CEILING, id="too few answers to judge by"),
        pytest.param([(TRUST, 2)], 30, id="never less than 30 ms"),
        pytest.param([(TRUST, 40)], 60, id="half as long again as the slowest"),
        pytest.param([(TRUST, 10), (1, 28)], 12.25 + 8 * 4.5, id="an eighth of the way, a quarter of the distance"),
        pytest.param([(TRUST, 50), (1, 10)], 45 + 8 * 10, id="a quicker one is as far away as a slower one"),
        pytest.param([(TRUST, 10), (1, 28), (1, 10)], 11.969 + 8 * 3.9375, id="and one behind the other"),
        pytest.param([(1, 100), (2839, 2)], 1.5 * 51, id="half of the slowest is forgotten in 2800 answers"),
        pytest.param([(TRUST, 800)], CEILING, id="never more than is configured"),
    ],
)
def test_a_timeout_follows_the_answers_before_it(runs: Runs, timeout_ms: float) -> None:
    poll = Poll(quantity=1, timeout=CEILING * MS)
    assert first_wait_ms(poll, taking(runs)) == pytest.approx(timeout_ms, abs=0.1)


def test_a_timeout_doubles_with_each_silent_poll_up_to_what_is_configured() -> None:
    rig = Rig([Poll(timeout=100 * MS)], taking([(TRUST, 2)])).run(60 * S)
    assert [round(wait) for wait in waits_ms(rig)][:3] == [30, 60, 100]


def test_the_timeout_is_never_shorter_than_half_as_long_again_as_the_slowest_answer() -> None:
    def slow(request: bytes, n: int) -> list[tuple[int, bytes]]:
        return paced(answer_to(request), 80 * MS if n % 250 == 100 else 2 * MS)

    rig = Rig([Poll(period=100 * MS, timeout=S)], slow, ring_bits=16).run(300 * S)
    assert rig.counts["timeouts"] == 0


def pausing(pause_ms: float, last: int = -1, units: tuple[int, ...] = (1, 2), jitters: int = 1) -> Answer:
    """Units that stop for so long within each answer, and cut the one to request `last` short; others do not stop."""

    def answer(request: bytes, n: int) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        if request[0] not in units:
            return [(QUIET_NS, whole)]
        head, rest = whole[:10], whole[10:]
        first = QUIET_NS + n % jitters * MS + len(head) * CHAR_NS
        pause = int(pause_ms * MS) + len(rest) * CHAR_NS
        return [(first, head)] if n == last else [(first, head), (first + pause, rest)]

    return answer


def test_a_timeout_is_no_less_than_twice_what_the_adapter_holds_back() -> None:
    """The adapter's pauses are known from the other device's answers."""
    polls = [Poll(unit=1, quantity=1, timeout=S), Poll(unit=2, timeout=S, phase=50 * MS)]
    pausing_40 = pausing(40, units=(2,), jitters=7)
    rig = Rig(polls, lambda request, n: [] if request[0] == 1 and n > 3 * TRUST else pausing_40(request, n))
    rig.run(90 * S)
    assert waits_ms(rig)[0] == pytest.approx(2 * 40, abs=1)


def test_a_timeout_leaves_room_for_what_the_adapter_holds_back() -> None:
    """The slowest answer takes 1.75 + 6 + 16 ms."""
    pausing_16 = pausing(16, jitters=7)
    poll = Poll(timeout=CEILING * MS)
    waited = first_wait_ms(poll, lambda request, n: pausing_16(request, n) if n < TRUST else [])
    assert waited == pytest.approx(1.5 * 23.75 + 16, abs=0.5)


# --- answers that have begun ---


@pytest.mark.parametrize(
    ("before", "pause_ms", "given_up_ms"),
    [
        pytest.param(20, 0, 10, id="never sooner than 10 ms"),
        pytest.param(20, 5, 20, id="four times the longest pause"),
        pytest.param(20, 20, 50, id="never later than 50 ms"),
        pytest.param(8, 5, 20, id="eight answers tell"),
    ],
)
def test_an_answer_that_stops_is_given_up_after_four_times_the_pauses_of_others(
    before: int, pause_ms: float, given_up_ms: float
) -> None:
    poll = Poll(timeout=CEILING * MS)
    looked_ms = pause_ms + (QUIET_NS + 25 * CHAR_NS) / MS  # when it ought to be whole
    waited = first_wait_ms(poll, pausing(pause_ms, last=before))
    assert waited - looked_ms - 15 * CHAR_NS / MS == pytest.approx(given_up_ms, abs=0.3)


@pytest.mark.parametrize("before", [0, 7])
def test_an_answer_that_stops_is_waited_for_where_too_few_came_whole(before: int) -> None:
    assert first_wait_ms(Poll(timeout=100 * MS), pausing(0, last=before)) > 100


@pytest.mark.parametrize("ascii_", [False, True])
def test_a_pause_of_40_ms_is_waited_for_behind_the_timeout_where_few_answers_came(ascii_: bool) -> None:
    """The long block's third answer begins just in time and stops; those of the other block never did."""
    polls = [Poll(quantity=1, timeout=20 * MS), Poll(address=90, quantity=10, timeout=20 * MS, phase=5 * S)]

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        pauses = request[3] == 90 and 54 <= number < 56
        return [(18 * MS, whole[:9]), (58 * MS, whole[9:])] if pauses else [(QUIET_NS, whole)]

    rig = Rig(polls, answer, ascii_=ascii_).run(10 * S)
    assert asked(rig)[49:56] == ["1/3@0x1", *["1/3@0x1", "1/3@90x10"] * 3]
    assert rig.counts["timeouts"] == 0


# --- late ones ---


def losing(*lost: int, took_ms: float, late: dict[int, float] | None = None) -> Answer:
    """A device that answers within so many ms, some requests late, and some never; loop-backs at once."""
    delays = late or {}

    def answer(request: bytes, n: int) -> list[tuple[int, bytes]]:
        if request[1] == LOOP_BACK:
            return paced(request, QUIET_NS)
        return [] if n in lost else [(int(delays.get(n, took_ms) * MS), answer_to(request))]

    return answer


def window_ms(rig: Rig, lost: int) -> float:
    """How long after it was given up the request was put again."""
    given_up = next(sample.time_ns for sample in rig.samples if sample.time_ns > rig.sent[lost][0])
    again = next(at for at, request in rig.sent[lost + 1 :] if request[1] != LOOP_BACK)
    return (again - given_up) / MS


@pytest.mark.parametrize(
    ("took_ms", "timeout_ms", "feared_ms"),
    [(2, 50, 250), (2, 400, 400), (300, 350, 600), (2, 20_000, 10_000), (6000, 7000, 10_000)],
)
def test_a_lost_answer_is_feared_for_a_while(took_ms: float, timeout_ms: int, feared_ms: float) -> None:
    poll = Poll(quantity=1, period=MS, timeout=timeout_ms * MS)
    rig = Rig([poll], losing(1, took_ms=took_ms)).run(40 * S)
    assert window_ms(rig, 1) == pytest.approx(feared_ms, abs=2)


@pytest.mark.parametrize(
    ("late_ms", "feared_ms"),
    [
        pytest.param(1000, 2000, id="twice as long as it took"),
        pytest.param(9900, 10_000, id="never longer than 10 s"),
        pytest.param(10_100, 250, id="unless the host stood still"),
    ],
)
def test_a_late_answer_tells_how_late_others_may_come(late_ms: float, feared_ms: float) -> None:
    late = losing(took_ms=2, late={1: late_ms})
    rig = Rig([Poll(quantity=1, period=20 * S, timeout=50 * MS)], late).run(59 * S)
    assert rig.counts["stale_discarded"] == 1
    lost = len(rig.sent)
    rig.answer = losing(lost, took_ms=2)
    rig.adopt([Poll(quantity=1, period=MS, timeout=50 * MS)])
    rig.run(90 * S)
    assert asked(rig)[lost] == "1/3@0x1"
    assert window_ms(rig, lost) == pytest.approx(feared_ms, abs=2)
