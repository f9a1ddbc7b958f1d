"""Fault specifications: what they say, and what is told about those that say nothing."""

import pytest

from agent.errors import UsageError
from agent.simulate.faults import ALWAYS, CHANCES, PACKED, Fault, pack_faults, parse_fault


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("drop:0.25", Fault("drop", None, 0.25)),
        ("crc:1", Fault("crc", None, 1.0)),
        ("truncate:0", Fault("truncate", None, 0.0)),
        ("babble:0.01", Fault("babble", None, 0.01)),
        ("glitch:1e-3", Fault("glitch", None, 0.001)),
        ("wrong-unit:.5", Fault("wrong-unit", None, 0.5)),
        ("late:0.1:300", Fault("late", None, 0.1, 300)),
        ("exception:0.1:6", Fault("exception", None, 0.1, 6)),
        ("echo", Fault("echo", None)),
        ("dead:17", Fault("dead", None, argument=17)),
        ("deaf:900", Fault("deaf", None, argument=900)),
        ("rs485=drop:0.5", Fault("drop", "rs485", 0.5)),
        ("odd=name=dead:1", Fault("dead", "odd=name", argument=1)),
    ],
)
def test_specification(spec, fault):
    assert parse_fault(spec) == fault


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("drip:1", "'drip' is none of drop, crc"),
        ("", "'' is none of"),
        ("drop", "write drop:P"),
        ("drop:0.1:2", "write drop:P"),
        ("drop:often", "'often' is no probability"),
        ("crc:1.01", "probability 1.01 is not between 0 and 1"),
        ("crc:-0.1", "not between 0 and 1"),
        ("crc:nan", "not between 0 and 1"),
        ("late:0.1", "write late:P:MS"),
        ("late:0.1:soon", "delay in ms 'soon' is no whole number"),
        ("late:0.1:60001", "up to 60000"),
        ("exception:0.1:256", "exception code '256'"),
        ("dead", "write dead:UNIT"),
        ("dead:256", "unit '256' is no whole number up to 255"),
        ("dead:-1", "unit '-1'"),
        ("echo:1", "write echo"),
        ("deaf:0.5", "silence in us '0.5' is no whole number up to 1000000"),
    ],
)
def test_a_wrong_specification_is_named_with_what_it_should_be(spec, told):
    with pytest.raises(UsageError) as raised:
        parse_fault(spec)
    assert str(raised.value).startswith(f"--fault {spec}: ")
    assert told in str(raised.value)


def packed(*specs, bus="b"):
    *chances, late_ns, code, dead, deaf_us = PACKED.unpack(pack_faults([parse_fault(spec) for spec in specs], bus))
    return dict(zip(CHANCES, chances, strict=True)), late_ns, code, dead, deaf_us


def test_no_fault_is_all_zeros():
    assert pack_faults([], "b") == bytes(PACKED.size)


def test_all_kinds_find_their_places():
    specs = ("drop:0.5", "late:1:20", "exception:0.25:4", "echo", "dead:1", "dead:9", "deaf:700")
    chances, late_ns, code, dead, deaf_us = packed(*specs)
    assert {kind: chance for kind, chance in chances.items() if chance} == {
        "drop": ALWAYS // 2, "late": ALWAYS, "exception": ALWAYS // 4, "echo": ALWAYS,
    }  # fmt: skip
    assert (late_ns, code, dead[:2], deaf_us) == (20_000_000, 4, bytes([2, 2]), 700)


def test_a_fault_of_another_bus_is_left_out_and_the_last_word_counts():
    chances, *_ = packed("drop:0.5", "other=drop:1", "b=drop:0")
    assert chances["drop"] == 0
