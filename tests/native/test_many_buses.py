"""Many buses served by one thread, in virtual time: wake-ups for each transaction, and what sharing them costs.

A host on which nothing takes time: on a real one buses that become due while another is served share its wake-up too.
"""

import random

import pytest
from bus_rig import CHAR_NS, MS, QUICK, QUIET_NS, Poll, Rig, S

from agent._native.parts import Wishes

STARTED_WITHIN = 50 * MS
LEARNED_AT = 6 * S
MEASURED_FOR = 2 * S


class Host:
    """Serves rigs as the loop serves lines: those with bytes, then those that are due."""

    def __init__(self, rigs: list[Rig]) -> None:
        self.rigs = rigs
        self.wishes = Wishes(len(rigs))
        self.wakes = 0
        for number, rig in enumerate(rigs):
            self.wishes.make(number, rig.wake)

    def run(self, until: int) -> None:
        while (now := min(self.wishes.wake(), *map(next_bytes, self.rigs))) < until:
            self.wakes += 1
            for number, rig in enumerate(self.rigs):
                if next_bytes(rig) <= now or self.wishes.due(number, now):
                    self.serve(number, rig, now)

    def serve(self, number: int, rig: Rig, now: int) -> None:
        asked = len(rig.sent)
        rig.step(now)
        if len(rig.sent) > asked:
            self.wishes.sent(number, now)
        self.wishes.make(number, rig.wake, *rig.bus.wish())

    @property
    def transactions(self) -> int:
        return sum(rig.counts["ok"] for rig in self.rigs)


def next_bytes(rig: Rig) -> int:
    """When bytes come that the bus waits for."""
    if not rig.watch:
        return 2**63 - 1
    return rig.now if rig.waiting else min((at for at, *_ in rig.arrivals[:1]), default=2**63 - 1)


@pytest.mark.parametrize(("buses", "wakes"), [(1, 2.4), (8, 0.7), (32, 0.25)])
@pytest.mark.parametrize("registers", [10, 60])
def test_buses_share_their_wake_ups_and_keep_their_rates(buses: int, wakes: float, registers: int) -> None:
    draw = random.Random(1)
    polls = [Poll(period=1, quantity=registers, phase=draw.randrange(STARTED_WITHIN)) for _ in range(buses)]
    host = Host([Rig([poll], QUICK, ring_bits=8) for poll in polls])
    host.run(LEARNED_AT)
    woken, done = host.wakes, host.transactions
    host.run(LEARNED_AT + MEASURED_FOR)
    done = host.transactions - done
    assert (host.wakes - woken) / done <= wakes
    ceiling = buses * MEASURED_FOR / ((8 + 5 + 2 * registers) * CHAR_NS + 2 * QUIET_NS)
    assert done >= 0.96 * ceiling
    assert min(min(rig.waited) for rig in host.rigs) >= QUIET_NS
