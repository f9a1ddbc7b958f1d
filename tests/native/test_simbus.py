"""A paced line in virtual time: when every byte is due, and which requests broke the silence."""

import pytest

from agent._native.server import SimulatedBus
from agent.simulate.faults import pack_faults, parse_fault
from agent.simulate.layout import unit_bits

CHAR_NS = 1_000_000
GAP_NS = 3_500_000
TOLERANCE_NS = 20_000
WALL_NS = 1_763_769_600_000_000_000
REQUEST_CHARS = 8
READ = bytes.fromhex("010300000001840a")
READ_20 = bytes.fromhex("01030000001445c5")  # answered by 45 bytes
OTHER_UNIT = bytes.fromhex("0203000000018439")


def line(*faults, units=(1,)):
    packed = pack_faults([parse_fault(spec) for spec in faults], "bus")
    return SimulatedBus(0, unit_bits(units), b"", packed, char_ns=CHAR_NS, gap_ns=GAP_NS)


def ask(bus, request, now_ns):
    bus.feed(request, now_ns, WALL_NS + now_ns)


def pieces(bus):
    """All that is due, each piece with its time, as a loop that wakes up in time would send it."""
    sent = []
    while (due_ns := bus.due_ns()) is not None:
        assert bus.release(due_ns - 1) == b""
        sent.append((due_ns, bus.release(due_ns)))
    return sent


def test_an_answer_comes_in_pieces_of_a_fifo_at_line_rate_after_request_and_delay():
    bus = line()
    ask(bus, READ_20, now_ns=5_000_000)
    start_ns = 5_000_000 + REQUEST_CHARS * CHAR_NS + GAP_NS
    sent = pieces(bus)
    assert [(due_ns, len(piece)) for due_ns, piece in sent] == [
        (start_ns + 16 * CHAR_NS, 16),
        (start_ns + 32 * CHAR_NS, 16),
        (start_ns + 45 * CHAR_NS, 13),
    ]
    assert b"".join(piece for _, piece in sent)[:3] == b"\x01\x03\x28"


def test_a_loop_that_wakes_up_late_sends_all_that_is_due_at_once():
    bus = line()
    ask(bus, READ_20, now_ns=0)
    start_ns = REQUEST_CHARS * CHAR_NS + GAP_NS
    assert len(bus.release(start_ns + 33 * CHAR_NS)) == 32
    assert len(bus.release(start_ns + 10**9)) == 13


def test_values_are_those_of_the_moment_the_answer_begins():
    request_and_delay_ns = REQUEST_CHARS * CHAR_NS + GAP_NS
    unpaced = SimulatedBus(0, unit_bits([1]), b"", bytes(128))
    paced = line()
    for wall_ns in (WALL_NS + 100_000_000 - request_and_delay_ns - 1, WALL_NS + 100_000_000 - request_and_delay_ns):
        unpaced.feed(READ, 0, wall_ns + request_and_delay_ns)
        paced.feed(READ, wall_ns, wall_ns)
        [(_, answer)] = pieces(paced)
        assert answer == unpaced.release(0)


def gap_violations_after(silence_ns, *faults, first=READ, end_chars=REQUEST_CHARS + 3.5 + 7):
    """Two requests; the second begins `silence_ns` after the line fell silent, `end_chars` after the first began."""
    bus = line(*faults)
    ask(bus, first, now_ns=1)
    bus.release(10**9)
    ask(bus, READ, now_ns=1 + int(end_chars * CHAR_NS) + silence_ns)
    return bus.counts()["gap_violations"]


@pytest.mark.parametrize(
    ("silence_ns", "violations"),
    [(GAP_NS, 0), (GAP_NS - TOLERANCE_NS, 0), (GAP_NS - TOLERANCE_NS - 1, 1), (0, 1), (-CHAR_NS, 1), (10**9, 0)],
)
def test_a_request_before_the_silence_is_over_is_counted(silence_ns, violations):
    assert gap_violations_after(silence_ns) == violations


@pytest.mark.parametrize("fault", ["drop:1", "dead:1", "late:1:5000"])
def test_where_no_answer_comes_in_time_the_silence_begins_with_the_end_of_the_request(fault):
    assert gap_violations_after(GAP_NS, fault, end_chars=REQUEST_CHARS) == 0
    assert gap_violations_after(GAP_NS - TOLERANCE_NS - 1, fault, end_chars=REQUEST_CHARS) == 1


@pytest.mark.parametrize(("silence_ns", "is_heard"), [(0, False), (899_000, False), (900_000, True), (10**9, True)])
def test_deaf_devices_hear_no_request_that_comes_too_soon_and_the_silence_begins_anew_behind_it(silence_ns, is_heard):
    bus = line("deaf:900")
    ask(bus, READ, now_ns=1)
    bus.release(10**9)
    again_ns = 1 + int((REQUEST_CHARS + 3.5 + 7) * CHAR_NS) + silence_ns
    ask(bus, READ, now_ns=again_ns)
    assert (len(pieces(bus)) == 1) == is_heard
    assert (bus.faults_applied()["deaf"] == 0) == is_heard
    if not is_heard:
        ask(bus, READ, now_ns=again_ns + REQUEST_CHARS * CHAR_NS + 900_000)
        assert len(pieces(bus)) == 1


def test_where_another_unit_is_asked_the_silence_begins_with_the_end_of_the_request():
    assert gap_violations_after(GAP_NS, first=OTHER_UNIT, end_chars=REQUEST_CHARS) == 0
    assert gap_violations_after(0, first=OTHER_UNIT, end_chars=REQUEST_CHARS) == 1


def test_the_first_request_breaks_no_silence():
    bus = line()
    ask(bus, READ, now_ns=0)
    assert bus.counts()["gap_violations"] == 0


def test_a_master_that_runs_ahead_is_answered_in_turn_at_the_speed_of_the_line():
    bus = line()
    for number in range(3):
        ask(bus, READ, now_ns=number)
    transaction_ns = (REQUEST_CHARS + 7) * CHAR_NS + GAP_NS
    assert [due_ns for due_ns, _ in pieces(bus)] == [transaction_ns * number for number in (1, 2, 3)]
    assert bus.counts()["gap_violations"] == 2


def test_a_master_that_runs_too_far_ahead_loses_answers_and_they_are_counted():
    bus = line()
    for number in range(14):
        ask(bus, READ, now_ns=number)
    assert len(pieces(bus)) == 12
    assert (bus.counts()["answered"], bus.counts()["unsent"]) == (14, 2)


def test_late_answers_come_at_their_time_whatever_has_been_asked_since():
    bus = line("late:1:100")
    ask(bus, READ, now_ns=0)
    ask(bus, READ, now_ns=50_000_000)
    answered_ns = (REQUEST_CHARS + 7) * CHAR_NS + GAP_NS
    assert [due_ns for due_ns, _ in pieces(bus)] == [answered_ns + 100_000_000, answered_ns + 150_000_000]


def test_units_that_are_late_answer_in_the_order_they_were_asked():
    bus = line("late:0.3:1000", units=(1, 2))
    for number in range(6):
        ask(bus, READ if number % 2 else OTHER_UNIT, now_ns=number * 100_000_000)  # a tick each
    answers = [piece for _, piece in pieces(bus)]
    assert bus.faults_applied()["late"] > 0
    for unit in (1, 2):
        values = [int.from_bytes(answer[3:5]) for answer in answers if answer[0] == unit]
        assert [(value - values[0]) % 0x10000 for value in values] == [0, 2, 4]


def test_babble_comes_unasked_near_the_request_and_is_no_answer():
    bus = line("babble:1", "drop:1")
    for number in range(20):
        ask(bus, READ, now_ns=number * 1_000_000_000)
        came = pieces(bus)
        assert 1 <= sum(len(piece) for _, piece in came) <= 64
        assert came[0][0] - number * 1_000_000_000 < (REQUEST_CHARS + 20 + 64) * CHAR_NS
    assert bus.faults_applied()["babble"] == 20


def test_an_echo_comes_while_the_request_is_sent_and_the_answer_when_it_is_ready():
    bus = line("echo", "late:1:500")
    ask(bus, READ, now_ns=0)
    (echoed_ns, echo), (answered_ns, answer) = pieces(bus)
    assert (echoed_ns, echo) == (REQUEST_CHARS * CHAR_NS, READ)
    assert answer[:3] == b"\x01\x03\x02"
    assert answered_ns > 500_000_000


def test_a_wrong_unit_is_never_one_that_is_played_too():
    bus = line("wrong-unit:1", units=(1, 2, 3))
    ask(bus, READ, now_ns=0)
    [(_, answer)] = pieces(bus)
    assert answer[0] == 4
