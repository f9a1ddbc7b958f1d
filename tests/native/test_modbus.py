"""PDU lengths, which answer fits which request, and framing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent._native import codec

CASES = json.loads((Path(__file__).parent / "data" / "pdu_lengths.json").read_text())
LENGTH = {"requests": codec.request_length, "responses": codec.response_length}
FIT = [(answer["request"], pdu) for answer in CASES["answers"] for pdu in answer["yes"]]
MISFIT = [(answer["request"], pdu) for answer in CASES["answers"] for pdu in answer["no"]]
WHOLE = [("requests", answer["request"]) for answer in CASES["answers"] if answer["request"] != "030000007e"] + [
    ("responses", pdu) for _, pdu in FIT
]


def named(kind):
    return [pytest.param(kind, case, id=f"{kind}: {case['what']}") for case in CASES[kind]]


@pytest.mark.parametrize(("kind", "case"), named("requests") + named("responses"))
def test_declared_length(kind, case):
    assert LENGTH[kind](bytes.fromhex(case["hex"])) == case["length"]


@pytest.mark.parametrize(("kind", "pdu"), WHOLE)
def test_a_beginning_never_contradicts_the_whole(kind, pdu):
    whole = bytes.fromhex(pdu)
    loop_back_longer_than_its_bytes_tell = pdu.startswith("080000") and len(whole) > 5
    if loop_back_longer_than_its_bytes_tell:
        whole = whole[:5]
    assert LENGTH[kind](whole) == len(whole)
    assert {LENGTH[kind](whole[:n]) for n in range(len(whole))} <= {0, len(whole)}


@pytest.mark.parametrize(("kind", "pdu"), WHOLE)
def test_bytes_behind_a_pdu_do_not_change_its_length(kind, pdu):
    whole = bytes.fromhex(pdu)
    assert LENGTH[kind](whole + bytes(60)) == LENGTH[kind](whole)
    assert LENGTH[kind](whole + b"\xff" * 60) == LENGTH[kind](whole)


@given(st.binary(max_size=300))
def test_any_bytes_have_a_length_a_pdu_can_have_or_none(data):
    for length in (codec.request_length(data), codec.response_length(data)):
        assert length in {0, codec.NO_SUCH_FUNCTION, codec.OUT_OF_LIMITS} or 0 < length <= 253


@pytest.mark.parametrize(("request_pdu", "response_pdu"), FIT)
def test_fitting_answer(request_pdu, response_pdu):
    assert codec.answers(bytes.fromhex(request_pdu), bytes.fromhex(response_pdu))


@pytest.mark.parametrize(("request_pdu", "response_pdu"), MISFIT)
def test_answer_to_something_else(request_pdu, response_pdu):
    assert not codec.answers(bytes.fromhex(request_pdu), bytes.fromhex(response_pdu))


@pytest.mark.parametrize(("request_pdu", "response_pdu"), FIT)
def test_an_answer_with_a_byte_more_or_less_is_none(request_pdu, response_pdu):
    request_bytes, response = bytes.fromhex(request_pdu), bytes.fromhex(response_pdu)
    assert not codec.answers(request_bytes, response[:-1])
    assert not codec.answers(request_bytes, response + b"\x00")


def test_nothing_answers_and_nothing_is_answered():
    assert not codec.answers(b"\x03\x00\x00\x00\x01", b"")
    assert not codec.answers(b"", b"\x03\x02\x00\x01")


def test_rtu_frame_is_unit_pdu_and_crc():
    assert codec.frame(codec.RTU, 0, 1, bytes.fromhex("0301000001")).hex() == "01030100000185f6"


def test_tcp_frame_is_transaction_protocol_length_unit_and_pdu():
    assert codec.frame(codec.TCP, 0x2F5D, 4, bytes.fromhex("0400030003")).hex() == "2f5d00000006040400030003"


@pytest.mark.parametrize("size", [0, 254])
def test_a_pdu_that_fits_no_frame_is_refused(size):
    with pytest.raises(ValueError, match=f"not {size}"):
        codec.frame(codec.RTU, 0, 1, bytes(size))


def test_an_unknown_framing_is_refused():
    with pytest.raises(ValueError, match="framing"):
        codec.frame(7, 0, 1, b"\x07")
    with pytest.raises(ValueError, match="framing"):
        codec.Master(7)
