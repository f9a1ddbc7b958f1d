"""Lines of the control socket: what is a request, what an answer, and that nothing else gets through."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.acquire import pdu
from agent.acquire.inquiry import COUNTERS
from agent.acquire.pdu import Diagnostic
from agent.config.model import Table
from agent.control import protocol
from agent.control.protocol import AgentError, Request
from agent.errors import BusError, DeviceError, ExitCode, RefusedError, UsageError

FACTS = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text())


@given(do=st.text(), facts=FACTS.filter(lambda facts: not {"v", "do"} & set(facts)))
def test_a_request_arrives_as_it_was_sent(do: str, facts: dict) -> None:
    line = protocol.request_line(do, facts)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert protocol.read_request(line) == Request(do, facts)


@given(facts=FACTS)
def test_an_answer_arrives_as_it_was_sent(facts: dict) -> None:
    assert protocol.read_answer(protocol.answer_line(facts)) == facts


@pytest.mark.parametrize(
    ("error", "kind"),
    [(BusError("no answer"), AgentError), (RefusedError("too much"), AgentError), (DeviceError("no", 2), DeviceError)],
)
def test_an_error_arrives_with_its_words_and_its_exit_code(error, kind) -> None:
    with pytest.raises(kind, match=str(error)) as raised:
        protocol.read_answer(protocol.error_line(error))
    assert raised.value.exit_code == error.exit_code
    assert getattr(raised.value, "code", None) == getattr(error, "code", None)


@given(
    line=st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_whatever_comes_is_a_request_or_a_clear_error(line: bytes) -> None:
    with pytest.raises(UsageError):
        protocol.read_request(line)


def test_deep_nesting_is_an_error_too() -> None:
    with pytest.raises(UsageError, match="no line of JSON"):
        protocol.read_request(b"[" * 100_000)


@pytest.mark.parametrize("line", [b"{}", b'{"ok": 1}', b'{"error": 5}'])
def test_an_answer_of_another_version_is_said_to_be_one(line: bytes) -> None:
    with pytest.raises(AgentError, match="another version"):
        protocol.read_answer(line)


def test_an_unknown_exit_code_is_a_failure() -> None:
    with pytest.raises(AgentError) as raised:
        protocol.read_answer(b'{"error": "no", "exit": 300}')
    assert raised.value.exit_code is ExitCode.FAILURE


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"v": 2, "do": "hello"}', "version 2 of the protocol is not spoken here; this is version 1"),
        (b'{"do": "hello"}', "version None"),
        (b'{"v": 1}', "`do` is None"),
        (b"hello", "no line of JSON"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(line: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        protocol.read_request(line)


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda request: request.text("number"), "number is 5, it must be text"),
        (lambda request: request.number("number", 4), "number is 5, it must be a number from 0 to 4"),
        (lambda request: request.number("flag", 4), "flag is True, it must be a number"),
        (lambda request: request.number("missing", 4), "missing is None"),
        (lambda request: request.hexadecimal("word"), "word is 'xyz', it must be hexadecimal"),
    ],
)
def test_a_fact_of_another_kind_is_named(take, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        take(Request("ask", {"number": 5, "flag": True, "word": "xyz"}))


CHANGES = [which for which in Diagnostic if which not in (Diagnostic.LOOP_BACK, *COUNTERS)]
READS = [
    *(pdu.read(table, 7, 20) for table in Table),
    pdu.exception_status(),
    pdu.diagnostic(Diagnostic.LOOP_BACK, 5),
    *(pdu.diagnostic(which) for which in COUNTERS),
    pdu.event_counter(),
    pdu.event_log(),
    pdu.read_file((4, 7, 2), (3, 1, 1)),
    pdu.read_fifo(1246),
    pdu.server_id(),
    pdu.device_identification(),
]
WRITES = [
    pdu.write_coil(1, on=True),
    pdu.write_register(1, b"ab"),
    pdu.write_coils(1, [True]),
    pdu.write_registers(1, b"ab"),
    pdu.mask_write(1, b"ab", b"ab"),
    pdu.read_write(1, 1, 1, b"ab"),
    pdu.write_file(4, 7, b"ab"),
    *map(pdu.diagnostic, CHANGES),
    bytes.fromhex("2b0d0100"),  # CANopen
]


@pytest.mark.parametrize("request_", READS)
def test_requests_that_read_are_known(request_: bytes) -> None:
    assert pdu.only_reads(request_)


@pytest.mark.parametrize("request_", [*WRITES, b"", pdu.read(Table.HOLDING, 0, 126), pdu.read(Table.COIL, 0, 0)])
def test_all_others_are_not(request_: bytes) -> None:
    assert not pdu.only_reads(request_)


@given(request_=st.binary(max_size=12))
def test_no_other_bytes_pass_for_a_request_that_reads(request_: bytes) -> None:
    if pdu.only_reads(request_):
        assert request_[0] in {1, 2, 3, 4, 7, 8, 11, 12, 17, 20, 24, 43}
        assert request_[0] == pdu.READ_FILE or pdu.answer_bytes(request_) <= 252
