"""Errands offered to a bus or a link in virtual time, and what became of each, once."""

from collections.abc import Callable
from typing import Any, NamedTuple

from agent._native.busloop import ENDS


class Done(NamedTuple):
    """How an errand ended."""

    end: str
    pdu: bytes
    sent_ns: int
    done_ns: int


class Offers:
    """The part of a rig that keeps its errands: each has a list that will hold what became of it."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self.open: dict[int, list[Done]] = {}
        self.all: list[list[Done]] = []

    def keep(self, slot: int | None) -> list[Done]:
        assert slot is not None
        self.wake = self.now
        self.open[slot] = []
        self.all.append(self.open[slot])
        return self.open[slot]

    def take_done(self, take: Callable[[int], tuple[int, bytes, int, int] | None]) -> None:
        for slot, became in list(self.open.items()):
            done = take(slot)
            if done is not None:
                became.append(Done(ENDS[done[0]], *done[1:]))
                del self.open[slot]


def answered(became: list[Done]) -> bytes:
    """The PDU that answered it."""
    [done] = became
    assert done.end == "answered"
    return done.pdu
