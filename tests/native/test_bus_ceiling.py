"""What the policy of a bus makes of a line: the share of its ceiling, and looks, in virtual time."""

import pytest
from bus_rig import MS, Answer, Poll, Rig, S, answer_to, paced

LEARNED = 400  # transactions until timeouts and predictions have settled
MEASURED = 800
SILENCE_ABOVE_19200_NS = 1_750_000


def line_of(baud: int) -> tuple[int, int]:
    """A character and t3.5."""
    char_ns = 10 * S // baud
    return char_ns, SILENCE_ABOVE_19200_NS if baud > 19200 else 35 * char_ns // 10


def device(baud: int, late: dict[int, int]) -> Answer:
    """Turns round in t3.5; every n-th answer is so much later."""
    char_ns, quiet_ns = line_of(baud)
    return lambda request, number: paced(answer_to(request), quiet_ns + lateness(number, late), char_ns)


def lateness(number: int, late: dict[int, int]) -> int:
    return sum(late_ns for n, late_ns in late.items() if number % n == n - 1)


def share_and_looks(baud: int, registers: int, late: dict[int, int]) -> tuple[float, float]:
    """Of the transactions that wire, silences and lateness leave room for; looks at the line per transaction."""
    char_ns, quiet_ns = line_of(baud)
    polls = [Poll(period=1, quantity=registers, timeout=S)]
    rig = Rig(polls, device(baud, late), char_ns=char_ns, quiet_ns=quiet_ns)
    transaction_ns = (8 + 5 + 2 * registers) * char_ns + 2 * quiet_ns
    rig.run(LEARNED * transaction_ns)
    asked, looks, begun_ns = len(rig.sent), rig.looks, rig.now
    rig.run(begun_ns + MEASURED * transaction_ns)
    done = len(rig.sent) - asked
    needed_ns = done * transaction_ns + sum(lateness(number, late) for number in range(asked, len(rig.sent)))
    assert min(rig.waited) >= quiet_ns
    return needed_ns / (MEASURED * transaction_ns), (rig.looks - looks) / done


@pytest.mark.parametrize("registers", [10, 60, 125])
@pytest.mark.parametrize("baud", [1200, 9600, 19200, 115200, 921600])
@pytest.mark.parametrize("late", [{}, {50: 3 * MS}, {13: 3 * MS}], ids=["steady", "a hiccup in 50", "a hiccup in 13"])
def test_a_line_is_used_to_its_ceiling_with_one_look_an_answer(baud: int, registers: int, late: dict[int, int]) -> None:
    """One look before each request, one for its answer; few too early, and two more where there was a hiccup."""
    share, looks = share_and_looks(baud, registers, late)
    assert share >= 0.998
    assert looks <= 2.15 + sum(2 / n for n in late)
