"""The simulator's files, queues, diagnostics and nameplates: their answers can be computed, and fit what was asked."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from simulated import MS, answers, ask, play, rtu, tcp

from agent._native import codec
from agent.acquire import pdu
from agent.simulate.signal import record_at

PATTERN_FILES, RECORDS = 10, 10_000
BASIC, REGULAR, EXTENDED, SINGLE = 1, 2, 3, 4


def plate(unit: int, objects: dict[int, bytes], server_id: bytes = b"") -> bytes:
    """A unit's nameplate as core/nameplate.h packs it."""
    entries = [(17, 0, server_id)] if server_id else []
    entries += [(43, number, text) for number, text in sorted(objects.items())]
    return b"".join(bytes([unit, function, number, len(text)]) + text for function, number, text in entries)


# ---- files and queues


@given(
    unit=st.integers(1, 247),
    file=st.integers(1, PATTERN_FILES),
    record=st.integers(0, RECORDS - 121),
    count=st.integers(1, 121),
)
def test_a_record_nobody_wrote_follows_from_unit_file_and_record(unit, file, record, count):
    answer = ask(play(unit), struct.pack(">BBBHHH", 20, 7, 6, file, record, count), unit)
    values = struct.unpack(f">{count}H", answer[4:])
    assert values == tuple(record_at(unit, file, record + at) for at in range(count))


def test_records_written_to_one_unit_and_file_are_in_no_other_and_in_no_register():
    bus = play(1, 2)
    before = ask(bus, "140706000400070001", 2), ask(bus, "140706000300070001"), ask(bus, "0300070001")
    ask(bus, "150906000400070001abcd")
    assert ask(bus, "140706000400070001").hex() == "14040306abcd"
    assert (ask(bus, "140706000400070001", 2), ask(bus, "140706000300070001"), ask(bus, "0300070001")) == before


@pytest.mark.parametrize("address", [0, 1, 30, 31, 32, 1246, 0xFFE0])
def test_a_queue_nobody_wrote_holds_its_address_modulo_32_registers(address):
    bus = play()
    queued = address % 32
    answer = ask(bus, struct.pack(">BH", 24, address))
    head = struct.unpack_from(">BHH", answer)
    assert head == (24, 2 + 2 * queued, queued)
    if queued:
        assert answer[5:] == ask(bus, struct.pack(">BHH", 3, address + 1, queued))[2:]


def test_the_event_log_keeps_64_events():
    bus = play()
    for _ in range(40):
        ask(bus, "0300000001")
    log = ask(bus, "0c")
    assert log[1] == 6 + 64
    assert log[8:] == bytes([0x80]) + b"\x40\x80" * 31 + b"\x40"


# ---- diagnostics


def counter(bus, number, unit=1):
    return int.from_bytes(ask(bus, struct.pack(">BHH", 8, number, 0), unit)[3:])


def test_a_unit_counts_its_own_requests_and_the_lines():
    bus = play(1, 2)
    ask(bus, "0300000001", 2)
    answers(bus, rtu(3, bytes.fromhex("0300000001")))
    assert (counter(bus, 11), counter(bus, 14)) == (3, 2)
    assert (counter(bus, 11, 2), counter(bus, 14, 2)) == (5, 3)


def test_bytes_that_are_no_request_count_as_one_error_of_the_line():
    bus = play()
    answers(bus, b"\xff\xfe\xfd" + rtu(1, bytes.fromhex("0300000001")))
    answers(bus, bytes.fromhex("0110000a007b"))
    assert answers(bus, rtu(1, bytes.fromhex("08000c0000")), now_ns=60 * MS)[1:-2].hex() == "08000c0002"


def test_broadcasts_and_exceptions_of_faults_are_counted():
    bus = play(faults=("exception:1:6",))
    answers(bus, rtu(0, bytes.fromhex("06000a0042")))
    assert ask(bus, "0300000001").hex() == "8306"
    log = play(faults=())
    answers(log, rtu(0, bytes.fromhex("06000a0042")))
    assert (counter(log, 14), counter(log, 15)) == (2, 1)
    assert ask(log, "0c")[8:].hex() == "8040804080c0"


def test_a_unit_that_only_listens_answers_nothing_until_it_is_restarted():
    bus = play(1, 2)
    assert answers(bus, rtu(1, bytes.fromhex("0800040000"))) == b""
    assert answers(bus, rtu(1, bytes.fromhex("0600070009"))) == b""
    assert ask(bus, "0300000001", 2)
    assert answers(bus, rtu(1, bytes.fromhex("0800010000"))) == b"", "the restart itself is not answered"
    assert ask(bus, "0300070001").hex() != "03020009"
    assert ask(bus, "0c")[8:].hex() == "804080" + "00" + "a0" + "a0" + "0480"


# ---- nameplates


OBJECTS = {0: b"maker", 1: b"M1", 2: b"3.4", 5: b"the model", 0x80: b"more"}


def identified(bus, code, first=0):
    """All objects of a code, answer by answer."""
    found, parts = {}, 0
    while first is not None:
        answer = ask(bus, bytes([43, 14, code, first]))
        parts += 1
        at = 7
        for _ in range(answer[6]):
            found[answer[at]] = answer[at + 2 : at + 2 + answer[at + 1]]
            at += 2 + answer[at + 1]
        assert at == len(answer)
        more = answer[5] if answer[4] == 0xFF else None
        assert more is None or more > first, "it goes on behind what it has told"
        first = more
    return found, parts


def test_each_code_tells_the_objects_of_its_category():
    bus = play()
    bus.name(plate(1, OBJECTS, b"\x08\xff"))
    assert identified(bus, BASIC)[0] == {n: OBJECTS[n] for n in (0, 1, 2)}
    assert identified(bus, REGULAR)[0] == {n: OBJECTS[n] for n in (0, 1, 2, 5)}
    assert identified(bus, EXTENDED)[0] == OBJECTS
    assert identified(bus, SINGLE, 0x80)[0] == {0x80: b"more"}
    assert ask(bus, "2b0e0100")[3] == 0x83, "it has extended objects, and tells single ones"
    assert ask(bus, "11").hex() == "110208ff"


def test_what_does_not_fit_into_one_answer_follows_in_others():
    bus = play()
    objects = {number: bytes([65 + number % 26]) * (1 + 40 * number % 245) for number in range(256)}
    objects = {number: text[:244] for number, text in objects.items()}
    bus.name(plate(1, objects))
    found, parts = identified(bus, EXTENDED)
    assert found == objects
    assert parts > 100


def test_units_have_nameplates_of_their_own_or_the_simulators():
    bus = play(1, 2, 3)
    bus.name(plate(1, {0: b"one"}) + plate(3, {0: b"three"}, b"\x01"))
    assert identified(bus, BASIC)[0] == {0: b"one"}
    assert ask(bus, "2b0e0100", 3)[9:] == b"three"
    assert ask(bus, "2b0e0100", 2)[9:17] == b"fieldtap"
    assert ask(bus, "11").hex() == "9101", "this unit says nothing there"
    assert ask(bus, "11", 2) == b"\x11\x09fieldtap\xff"


@pytest.mark.parametrize(
    "plates",
    [
        b"\x01\x2b\x00",
        b"\x01\x2b\x00\x02a",
        b"\x01\x2b\x00\x00",
        b"\x01\x2b\x00\xf5" + bytes(245),
        b"\x01\x2b\x01\x01a\x01\x2b\x00\x01a",
        b"\x01\x2b\x00\x01a\x01\x2b\x00\x01a",
        b"\x02\x2b\x00\x01a\x01\x2b\x00\x01a",
    ],
)
def test_a_nameplate_out_of_order_is_refused(plates):
    with pytest.raises(ValueError, match="not in order"):
        play().name(plates)


def test_a_preset_register_holds_its_value_until_it_is_written():
    bus = play()
    bus.preset(1, 0, 11, 1648)
    bus.preset(1, 1, 11, 7)
    assert ask(bus, "03000b0001").hex() == "03020670"
    assert ask(bus, "04000b0001").hex() == "04020007"
    ask(bus, "06000b0001")
    assert ask(bus, "03000b0001").hex() == "03020001"


# ---- all of them

TYPES = st.sampled_from([6, 6, 6, 7])
GROUPS = st.lists(st.tuples(TYPES, st.integers(0, 11), st.integers(0, 10_001), st.integers(0, 130)), max_size=6)
DATA = st.sampled_from([0, 1, 0xFF00])


def file_read(groups):
    body = b"".join(struct.pack(">BHHH", *group) for group in groups)
    return bytes([20, len(body)]) + body


def file_write(groups):
    body = b"".join(struct.pack(">BHHH", *group) + bytes(2 * min(group[3], 20)) for group in groups)[:251]
    return bytes([21, len(body)]) + body


REQUESTS = st.one_of(
    st.sampled_from([b"\x07", b"\x0b", b"\x0c", b"\x11"]),
    st.builds(lambda sub, datum: struct.pack(">BHH", 8, sub, datum), st.integers(0, 21), DATA),
    st.builds(lambda data: b"\x08\x00\x00" + data, st.binary(min_size=2, max_size=250)),
    st.builds(file_read, GROUPS),
    st.builds(file_write, GROUPS),
    st.builds(lambda address: struct.pack(">BH", 24, address), st.integers(0, 65535)),
    st.builds(lambda code, first: bytes([43, 14, code, first]), st.integers(0, 5), st.integers(0, 255)),
    st.builds(
        pdu.read_write, st.integers(0, 65535), st.integers(0, 126), st.integers(0, 65535), st.binary(max_size=244)
    ),
)


@given(st.lists(REQUESTS, max_size=12))
@example([file_read([(6, 1, 0, 0)])])  # a group of no registers has no answer that fits
@example([file_write([(6, 1, 0, 0)])])
def test_whatever_is_asked_is_answered_by_what_answers_it_and_by_nothing_else(asked):
    bus = play(framing=1)
    bus.name(plate(1, OBJECTS, b"\x08\xff"))
    for number, request in enumerate(asked):
        frame = answers(bus, tcp(number, 1, request))
        if request[:3] == b"\x08\x00\x04" or not frame:  # it only listens from now on
            continue
        answer = frame[7:]
        assert codec.answers(request, answer), (request.hex(), answer.hex())
        assert not codec.answers(request, answer[:-1])
        expected = codec.normal_length(request)
        assert answer[0] & 0x80 or expected in {0, len(answer)}
