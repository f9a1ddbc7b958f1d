"""Requests beside the plan and what answers them: lengths known beforehand, values taken apart, contradictions told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import TCP, answers, play, tcp

from agent._native import codec
from agent.acquire import pdu
from agent.acquire.pdu import Diagnostic, Level
from agent.config.model import Table
from agent.config.writes import MOST_IN_ONE
from agent.errors import MalformedError


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (pdu.read(Table.HOLDING, 1, 3), "03 06 00 01 00 02 00 03"),
        (pdu.read(Table.DISCRETE, 1, 9), "02 02 ff 01"),
        (pdu.write_coil(5, on=True), "05 00 05 ff 00"),
        (pdu.write_coils(5, [True] * 9), "0f 00 05 00 09"),
        (pdu.write_registers(5, bytes(6)), "10 00 05 00 03"),
        (pdu.mask_write(5, b"\xff\xf0", b"\x00\x05"), "16 00 05 ff f0 00 05"),
        (pdu.read_write(1, 2, 5, bytes(4)), "17 04 00 01 00 02"),
        (pdu.exception_status(), "07 6d"),
        (pdu.diagnostic(Diagnostic.LOOP_BACK, 0xA537), "08 00 00 a5 37"),
        (pdu.diagnostic(Diagnostic.BUS_ERRORS), "08 00 0c 00 07"),
        (pdu.event_counter(), "0b ff ff 01 08"),
        (pdu.read_file((4, 1, 2), (3, 9, 2)), "14 0c 05 06 0d fe 00 20 05 06 33 cd 00 40"),
        (pdu.write_file(4, 7, bytes.fromhex("06af04be100d")), "15 0d 06 00 04 00 07 00 03 06 af 04 be 10 0d"),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_the_length_of_an_answer_is_known_beforehand(asked: bytes, answer: str) -> None:
    whole = bytes.fromhex(answer)
    assert pdu.answer_bytes(asked) == len(whole)
    assert codec.answers(asked, whole)


@pytest.mark.parametrize(
    "asked", [pdu.server_id(), pdu.event_log(), pdu.read_fifo(1246), pdu.device_identification()], ids=bytes.hex
)
def test_of_some_only_the_answer_tells(asked: bytes) -> None:
    assert pdu.answer_bytes(asked) == pdu.answer_frame_bytes(asked, is_tcp=True) == 0


def test_requests_are_those_of_the_specification() -> None:
    assert pdu.read_file((4, 1, 2), (3, 9, 2)).hex() == "140e0600040001000206000300090002"
    assert pdu.write_file(4, 7, bytes.fromhex("06af04be100d")).hex() == "150d0600040007000306af04be100d"
    assert pdu.read_fifo(1246).hex() == "1804de"
    assert pdu.device_identification(Level.REGULAR, 3).hex() == "2b0e0203"
    assert pdu.diagnostic(Diagnostic.DELIMITER, 0x0A00).hex() == "0800030a00"
    assert (pdu.event_log(), pdu.event_counter(), pdu.server_id()) == (b"\x0c", b"\x0b", b"\x11")


def test_answers_are_taken_apart() -> None:
    assert pdu.data(bytes.fromhex("11 03 41 42 ff")) == b"AB\xff"
    answer = bytes.fromhex("2b 0e 01 81 ff 02 02 00 03") + b"abc" + bytes.fromhex("01 01") + b"x"
    assert pdu.identification(answer) == ({0: b"abc", 1: b"x"}, 2, Level.BASIC)
    assert pdu.identification(answer[:3] + b"\x82" + answer[4:]).level == Level.REGULAR
    assert pdu.identification(answer[:4] + b"\0" + answer[5:]).following is None
    assert pdu.events(bytes.fromhex("0b ff ff 01 08")) == pdu.Events(is_busy=True, completed=264)
    assert pdu.logged(bytes.fromhex("0c 08 00 00 01 08 01 21 20 00")) == (False, 264, 289, b"\x20\x00")
    assert pdu.coils(bytes.fromhex("01 02 05 01"), 9) == [True, False, True, False, False, False, False, False, True]
    assert pdu.status(bytes.fromhex("07 6d")) == 0x6D
    assert pdu.counter(bytes.fromhex("08 00 0b 12 34")) == 0x1234
    assert pdu.records(bytes.fromhex("14 0c 05 06 0d fe 00 20 05 06 33 cd 00 40")) == [
        bytes.fromhex("0dfe0020"),
        bytes.fromhex("33cd0040"),
    ]
    assert pdu.queue(bytes.fromhex("18 00 06 00 02 01 b8 12 84")) == bytes.fromhex("01b81284")


@pytest.mark.parametrize(
    ("take", "answer"),
    [
        (pdu.data, "03 04 00 01"),
        (pdu.data, ""),
        (pdu.status, "07"),
        (pdu.counter, "08 00 0b 12"),
        (pdu.counter, "08 00 00 12 34 56"),
        (pdu.events, "0b ff ff 01"),
        (pdu.logged, "0c 05 00 00 01 08 01"),
        (pdu.records, "14 06 07 06 00 01 00 02"),
        (pdu.records, "14 06 03 06 00 01 00 02"),
        (pdu.records, "14 04 03 05 00 01"),
        (pdu.records, "14 04 00 06 00 01"),
        (pdu.queue, "18 00 06 00 03 01 b8 12 84"),
        (pdu.identification, "2b 0e 01 81 00 00 02 00 01 41"),
        (pdu.identification, "2b 0e 01 81 00 00 02 01 01 41 01 01 42"),
        (pdu.identification, "2b 0e 01 81 00 00 02 01 01 41 00 01 42"),
    ],
)
def test_an_answer_that_contradicts_itself_is_told_with_its_bytes(take, answer: str) -> None:
    with pytest.raises(MalformedError) as told:
        take(bytes.fromhex(answer))
    assert str(told.value) == f"its answer to function {int(answer[:2] or '0', 16)} contradicts itself: {answer}"


HEADS = {7: pdu.status, 8: pdu.counter, 11: pdu.events, 12: pdu.logged, 17: pdu.data, 20: pdu.records, 24: pdu.queue}


@given(st.sampled_from(sorted(HEADS)), st.binary(max_size=80))
def test_no_bytes_do_more_than_contradict_themselves(function: int, rest: bytes) -> None:
    try:
        HEADS[function](bytes([function]) + rest)
    except MalformedError:
        return


@given(st.binary(max_size=80))
def test_no_objects_do_more_than_contradict_themselves(rest: bytes) -> None:
    answer = b"\x2b\x0e\x01" + rest
    try:
        found = pdu.identification(answer)
    except MalformedError:
        return
    assert sum(2 + len(text) for text in found.objects.values()) == len(answer) - 7


@given(
    groups=st.lists(st.tuples(st.integers(1, 10), st.integers(0, 9000), st.integers(1, 40)), min_size=1, max_size=2),
)
def test_records_come_back_as_they_were_asked_for(groups) -> None:
    answer = answers(play(framing=TCP), tcp(1, 1, pdu.read_file(*groups)))[7:]
    assert [len(registers) for registers in pdu.records(answer)] == [2 * count for _, _, count in groups]


@given(
    st.integers(0, 9000), st.binary(min_size=2, max_size=2 * pdu.MAX_RECORDS).filter(lambda data: len(data) % 2 == 0)
)
def test_records_that_are_written_come_back(record: int, registers: bytes) -> None:
    bus = play(framing=TCP)
    request = pdu.write_file(3, record, registers)
    assert answers(bus, tcp(1, 1, request))[7:] == request
    answer = answers(bus, tcp(2, 1, pdu.read_file((3, record, len(registers) // 2))))[7:]
    assert pdu.records(answer) == [registers]


def test_as_many_records_are_read_at_once_as_there_may_be() -> None:
    bus = play(framing=TCP)
    assert len(answers(bus, tcp(1, 1, pdu.read_file((1, 0, pdu.MAX_RECORDS))))) == 7 + 4 + 2 * pdu.MAX_RECORDS
    assert answers(bus, tcp(1, 1, pdu.read_file((1, 0, pdu.MAX_RECORDS + 1))))[7:] == b"\x94\x03"


@pytest.mark.parametrize("code", range(1, 12))
def test_every_exception_of_the_standard_has_words(code: int) -> None:
    assert pdu.refusal(code).startswith(f"exception {code}: ")
    assert "of its own" not in pdu.refusal(code)


def test_other_exceptions_are_the_devices_own() -> None:
    assert pdu.refusal(0x80) == "exception 128: a code of its own"


def test_the_longest_writes_fit_into_a_frame_and_no_longer_one_would() -> None:
    assert 252 <= len(pdu.read_write(0, 1, 0, bytes(2 * MOST_IN_ONE))) <= 253
    assert 252 <= len(pdu.write_file(1, 0, bytes(2 * pdu.MAX_WRITE_RECORDS))) <= 253
