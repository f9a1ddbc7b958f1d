"""The search for what makes a read fail: it finds the least part, and asks for few others on the way."""

from math import ceil, log2

from hypothesis import given
from hypothesis import strategies as st

from agent.acquire.narrowing import Narrowing, Part


@given(units=st.integers(1, 130), data=st.data())
def test_the_least_part_that_fails_is_found_with_a_logarithm_of_questions(units: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, units - 1))
    end = data.draw(st.integers(first + 1, units))
    search, questions = Narrowing(units), 0
    while search.found is None:
        asked = search.asked
        assert 0 <= asked.first < asked.end <= units
        assert len(asked) < units, "the whole is known to fail"
        search.tell(fails=asked.first <= first and end <= asked.end)
        questions += 1
    assert search.found == Part(first, end)
    assert questions <= 2 * ceil(log2(units + 1))


@given(units=st.integers(2, 40), culprits=st.lists(st.integers(0, 39), min_size=1, max_size=5))
def test_of_several_culprits_one_is_found(units: int, culprits: list[int]) -> None:
    bad = {at % units for at in culprits}
    search = Narrowing(units)
    while search.found is None:
        asked = search.asked
        search.tell(fails=any(at in bad for at in range(asked.first, asked.end)))
    assert len(search.found) == 1
    assert search.found.first in bad
