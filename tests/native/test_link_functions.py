"""Requests of every function among the polls of a TCP link, in any chunks, and what is no answer to them."""

import pytest
from errands import Offers, answered
from functions import MISFITS, PAIRS
from hypothesis import given, settings
from hypothesis import strategies as st
from links import MS, READS, LinkRig, Poll, Request, S, answer_to, frame

from agent.acquire import pdu

ROUND = 5 * MS


class Rig(Offers, LinkRig):
    """A link whose device answers polls, and every other request as `pairs` has it."""

    def __init__(self, pairs: dict[bytes, bytes]) -> None:
        super().__init__([Poll(period=10 * MS), Poll(unit=2, period=10 * MS, quantity=60)], self.reply)
        self.pairs = pairs

    def reply(self, request: Request) -> list[tuple[int, bytes]]:
        if request.function in READS:
            return [(ROUND, answer_to(request))]
        return [(ROUND, frame(request.transaction, request.unit, self.pairs[request.pdu]))]

    def ask(self, request: bytes, unit: int) -> list:
        length = pdu.answer_frame_bytes(request, is_tcp=True)
        became = self.keep(self.link.offer(frame(0, unit, request), length, 50 * MS, 1000 * S))
        self.run(self.now + 200 * MS)
        self.take_done(self.link.take)
        return became


@settings(max_examples=40)
@given(order=st.permutations(sorted(PAIRS)), points=st.lists(st.integers(1, 400), max_size=40))
def test_every_function_is_carried_and_answered_among_polls_in_any_chunks(order, points) -> None:
    rig = Rig(PAIRS).run(S)
    cuts = sorted(set(points))
    rig.cut = lambda data: (data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if data[a:b])
    for at, request in enumerate(order):
        assert answered(rig.ask(request, 1 + at % 3)) == PAIRS[request]
    assert not rig.wrong
    assert rig.counts["timeouts"] == 0


@pytest.mark.parametrize("request_", MISFITS)
def test_what_has_the_number_and_the_function_but_not_what_was_asked_for_is_no_answer(request_: bytes) -> None:
    [done] = Rig(MISFITS).run(S).ask(request_, 1)
    assert done.end == "timed-out"
