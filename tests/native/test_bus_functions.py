"""Requests of every function between the polls of a serial line, and what is no answer to them."""

import pytest
from bus_rig import MS, QUIET_NS, Poll, Rig, S, answer_to, paced
from errands import Offers, answered
from functions import MISFITS, PAIRS
from wire import with_crc

from agent.acquire import pdu

READ = 3


class FunctionRig(Offers, Rig):
    """A line whose device answers polls, and every other request as `pairs` has it."""

    def __init__(self, pairs: dict[bytes, bytes]) -> None:
        super().__init__([Poll(period=100 * MS)], self.reply)
        self.pairs = pairs

    def reply(self, request: bytes, _: int) -> list[tuple[int, bytes]]:
        if request[1] == READ:
            return paced(answer_to(request), QUIET_NS)
        return paced(with_crc(request[:1] + self.pairs[request[1:-2]]), QUIET_NS)

    def ask(self, request: bytes) -> list:
        adu = with_crc(b"\1" + request)
        length = pdu.answer_frame_bytes(request, is_tcp=False)
        became = self.keep(self.bus.offer(adu, length, 300 * MS, 1000 * S, self.now))
        self.run(self.now + 2 * S)
        self.take_done(self.bus.take)
        return became


def test_every_function_is_carried_and_answered_between_polls() -> None:
    rig = FunctionRig(PAIRS).run(S)
    for request, answer in PAIRS.items():
        assert answered(rig.ask(request)) == answer
    assert not rig.wrong()
    assert rig.counts["timeouts"] == 0


@pytest.mark.parametrize("request_", MISFITS)
def test_what_has_the_function_but_not_what_was_asked_for_is_no_answer(request_: bytes) -> None:
    [done] = FunctionRig(MISFITS).run(S).ask(request_)
    assert done.end == "timed-out"
