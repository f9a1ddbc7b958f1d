"""What comes over a socket between two answers: as much as a line brings is heard, more is thrown away."""

import pytest

from agent._native.parts import FLOOD_BYTES, FLOOD_LOOK_BYTES, FLOOD_NS_PER_BYTE, FLOOD_REST_NS, Flood

S = 1_000_000_000
LINE_BYTES_PER_S = S // FLOOD_NS_PER_BYTE


def test_what_comes_faster_than_any_line_is_a_flood_and_rests() -> None:
    flood = Flood()
    looks = [flood.swells(4096, 0, S + look) for look in range(10)]
    assert looks == [False] * 3 + [True] * 7
    assert flood.rest_until() == S + 9 + FLOOD_REST_NS


@pytest.mark.parametrize("chunk", [1, 25, 255, 4097])
def test_what_a_line_may_bring_is_none_however_long_it_lasts(chunk: int) -> None:
    flood = Flood()
    pause = (chunk + FLOOD_LOOK_BYTES) * FLOOD_NS_PER_BYTE
    assert not any(flood.swells(chunk, 0, S + look * pause) for look in range(10_000))


def test_bytes_that_come_one_by_one_are_one_all_the_same() -> None:
    flood = Flood()
    looks = [flood.swells(1, 0, S + look * 50_000) for look in range(1000)]
    assert any(looks)


def test_an_answer_in_between_tells_that_somebody_is_there() -> None:
    flood = Flood()
    assert not any(flood.swells(3000, look, S + look) for look in range(1000))


def test_it_is_over_when_the_line_has_been_quiet() -> None:
    flood = Flood()
    while not flood.swells(4096, 0, S):
        pass
    assert not flood.swells(4096, 0, 2 * S)


def test_after_one_the_line_is_heard_again_at_the_pace_of_a_line() -> None:
    flood, now, heard = Flood(), S, 0
    while now < 11 * S:
        now = max(now, flood.rest_until())
        flood.swells(4096, 0, now)
        heard += 4096
        now += 1000
    assert heard <= 1.2 * (10 * LINE_BYTES_PER_S + FLOOD_BYTES)
