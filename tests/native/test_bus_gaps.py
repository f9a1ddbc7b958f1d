"""The silence before a request: longer where another device is asked, shorter where devices have gone along with it."""

import pytest
from bus_rig import CHAR_NS, MS, QUICK, QUIET_NS, US, Answer, Poll, Rig, S, answer_to, only, paced
from wire import with_crc

SWITCH_NS = 20 * MS
LEAST_NS = 2 * CHAR_NS
TWO = [Poll(unit=1, period=1), Poll(unit=2, period=1)]


def switching(polls: list[Poll], answer: Answer = QUICK) -> Rig:
    return Rig(polls, answer, switch_ns=SWITCH_NS)


# --- another device ---


def test_only_a_request_to_another_unit_waits_for_the_longer_silence() -> None:
    rig = switching([Poll(unit=1, period=S), Poll(unit=1, period=S, address=50), Poll(unit=2, period=S)]).run(10 * S)
    units = [request[0] for _, request in rig.sent]
    for number in range(1, len(units)):
        is_other = units[number] != units[number - 1]
        assert rig.waited[number] >= (SWITCH_NS if is_other else QUIET_NS)
        assert is_other or rig.waited[number] < 2 * QUIET_NS
    assert units.count(2) == 10


def test_a_device_that_needs_the_longer_silence_takes_its_turn_all_the_same() -> None:
    """Another one could be asked much sooner, again and again."""
    rig = switching([Poll(unit=1, period=1), Poll(unit=2, period=S)]).run(10 * S)
    assert len(rig.sent_to(2)) == 10
    assert len(rig.sent_to(1)) > 1000


def test_what_the_longer_silence_takes_counts_as_the_lines_time() -> None:
    alternating, plain = switching(TWO).run(S), Rig(TWO, QUICK).run(S)
    assert 0.97 * S < alternating.counts["busy_ns"] <= S + SWITCH_NS
    assert 0.97 * S < plain.counts["busy_ns"] <= S + QUIET_NS


def test_the_longer_silence_holds_after_a_failure_too() -> None:
    rig = switching(TWO, only(1)).run(5 * S)
    assert min(rig.silences(2)[1:]) >= SWITCH_NS


# --- as short as devices accept ---


class Picky:
    """Devices that ignore what comes sooner than each wants; noted is when that happened."""

    def __init__(self, wants: dict[int, int]) -> None:
        self.wants = wants
        self.rig: Rig
        self.ignored: list[int] = []

    def __call__(self, request: bytes, number: int) -> list[tuple[int, bytes]]:
        if self.rig.now - self.rig.last_byte < self.wants[request[0]]:
            self.ignored.append(self.rig.now)
            return []
        return paced(answer_to(request), QUIET_NS)


def learning(polls: list[Poll], wants: dict[int, int]) -> tuple[Rig, Picky]:
    devices = Picky(wants)
    devices.rig = Rig(polls, devices, least_ns=LEAST_NS, ring_bits=14)
    return devices.rig, devices


def test_silences_shrink_to_two_characters_where_the_device_goes_along() -> None:
    rig, _ = learning([Poll(period=1)], {1: 0})
    rig.run(20 * S)
    waited = rig.silences(1)
    assert min(waited) >= LEAST_NS
    assert max(waited[-1000:]) < LEAST_NS + LEAST_NS // 8
    assert rig.counts["timeouts"] == 0
    asked = len(rig.sent)
    rig.run(30 * S)
    assert len(rig.sent) - asked >= 0.99 * 10 * S / ((8 + 25) * CHAR_NS + QUIET_NS + LEAST_NS)


def test_each_step_down_comes_after_many_answers_to_the_one_before() -> None:
    rig, _ = learning([Poll(period=1)], {1: 0})
    rig.run(10 * S)
    waited = rig.silences(1)
    for steps, silence in ((1, QUIET_NS), (5, QUIET_NS * 7**4 // 8**4), (10, QUIET_NS * 7**9 // 8**9)):
        assert next(number for number, each in enumerate(waited) if each < silence) >= 32 * steps


@pytest.mark.parametrize("wanted", [300 * US, 900 * US, 1500 * US, 1749 * US])
def test_a_device_that_ignores_early_requests_is_found_out_at_the_price_of_a_few(wanted: int) -> None:
    rig, devices = learning([Poll(period=1, timeout=100 * MS)], {1: wanted})
    rig.run(200 * S)
    assert 1 <= len(devices.ignored) <= 10  # twice as seldom each time
    assert rig.wrong() == []
    assert rig.counts["ok"] > 0.99 * len(rig.sent)
    assert rig.silences(1)[-1] <= max(wanted * 3 // 2, QUIET_NS)


def test_the_first_request_that_goes_wrong_brings_the_silence_back() -> None:
    rig, devices = learning([Poll(period=1, timeout=100 * MS)], {1: 900 * US})
    rig.run(20 * S)
    ignored = devices.ignored[0]
    following = [wait for (at, _), wait in zip(rig.sent, rig.silences(1), strict=True) if at > ignored]
    assert min(following[:32]) >= QUIET_NS
    assert min(following[32:300]) >= 900 * US


def test_damage_brings_the_silence_back_as_well() -> None:
    damaged = with_crc(b"\x01\x03\x14" + bytes(20))[:-1] + b"\x00"
    rig, _ = learning([Poll(period=1)], {1: 0})
    rig.run(20 * S)
    asked, rig.answer = len(rig.sent), lambda *_: paced(damaged, QUIET_NS)
    rig.run(rig.now + 20 * MS)
    rig.answer = QUICK
    rig.run(rig.now + 100 * MS)
    assert min(rig.silences(1)[asked + 2 :]) >= QUIET_NS


def test_each_device_gets_the_silence_that_it_needs() -> None:
    rig, _ = learning(TWO, {1: 0, 2: 1200 * US})
    rig.run(60 * S)
    assert max(rig.silences(1)[-100:]) < 250 * US
    assert min(rig.silences(2)[-100:]) >= 1200 * US


def test_silences_that_nobody_needed_prove_nothing() -> None:
    rig, devices = learning([Poll(period=100 * MS)], {1: 0})
    rig.run(60 * S)
    rig.adopt([Poll(period=1)])
    devices.wants[1] = QUIET_NS
    rig.run(60 * S + 100 * MS)
    assert devices.ignored == []


def test_while_a_device_does_not_answer_all_get_the_whole_silence() -> None:
    """Nobody knows what it would take for the end of a frame, and it may come to life at any moment."""
    rig, _ = learning([*TWO, Poll(unit=3, period=1)], {1: 0, 2: 0, 3: S})
    rig.run(20 * S)
    assert min(rig.silences(1)[1:] + rig.silences(2)) >= QUIET_NS


def test_what_each_device_goes_along_with_and_what_it_refused_is_told() -> None:
    rig, devices = learning(TWO, {1: 0, 2: 1200 * US})
    assert rig.bus.silences() == [(QUIET_NS, 0)] * 2
    rig.run(60 * S)
    (shortest, nothing), (kept, refused) = rig.bus.silences()
    assert (shortest, nothing) == (LEAST_NS, 0)
    assert devices.ignored
    assert refused < 1200 * US <= kept <= min(rig.silences(2)[-100:])


def test_what_was_learned_outlives_the_plan() -> None:
    rig, _ = learning(TWO, {1: 0, 2: 0})
    rig.run(20 * S)
    rig.adopt([*TWO, Poll(unit=1, period=S, address=50)])
    rig.run(21 * S)
    assert max(rig.silences(1)[-20:]) < 250 * US


def test_a_line_that_is_not_asked_to_learn_keeps_t35_for_ever() -> None:
    rig = Rig(TWO, QUICK, ring_bits=14).run(30 * S)
    assert min(rig.silences(1)[1:] + rig.silences(2)) >= QUIET_NS


def test_a_device_that_is_configured_to_want_more_gets_it() -> None:
    rig, _ = learning([Poll(period=1, gap=5 * MS)], {1: 0})
    rig.run(10 * S)
    assert min(rig.silences(1)[1:]) >= 5 * MS
