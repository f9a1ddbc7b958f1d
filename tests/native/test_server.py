"""The device side, sans-IO: framing, every function code, exceptions, writes, broadcasts and faults."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import MS, RTU, TCP, WALL_NS, answers, ask, play, rtu, tcp
from wire import crc

from agent._native.server import FAULTS, SimulatedBus

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "server_answers.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["behaviour"] for case in CASES])
def test_answer(case):
    bus = play()
    for request, answer in case["exchange"]:
        got = ask(bus, request).hex()
        assert got == answer if "?" not in answer else len(got) == len(answer)


def test_a_read_of_any_length_carries_as_many_values():
    bus = play()
    for quantity in range(1, 126):
        assert len(ask(bus, struct.pack(">BHH", 3, 0, quantity))) == 2 + 2 * quantity
    for quantity in (1, 7, 8, 9, 2000):
        assert len(ask(bus, struct.pack(">BHH", 1, 0, quantity))) == 2 + (quantity + 7) // 8


def test_bits_past_the_last_one_asked_for_are_0():
    bus = play()
    assert all(ask(bus, struct.pack(">BHH", 2, at, 3))[2] < 8 for at in range(200))


def test_registers_change_with_every_tick_and_only_then():
    bus = play()
    one_tick = {ask(bus, "0300000001", wall_ns=WALL_NS + ms * MS) for ms in range(100)}
    ten_ticks = {ask(bus, "0300000001", wall_ns=WALL_NS + ms * MS) for ms in range(1000)}
    assert (len(one_tick), len(ten_ticks)) == (1, 10)


def test_all_registers_of_one_answer_are_of_one_tick():
    bus = play()
    block = ask(bus, "030000007d")[2:]
    single = b"".join(ask(bus, struct.pack(">BHH", 3, at, 1))[2:] for at in range(125))
    assert block == single


def test_units_and_tables_hold_different_values():
    bus = play(1, 2)
    holding, inputs, other = ask(bus, "030000000a"), ask(bus, "040000000a"), ask(bus, "030000000a", unit=2)
    assert len({holding[2:], inputs[2:], other[2:]}) == 3


def test_a_write_stays_with_its_unit_and_table():
    bus = play(1, 2)
    before = ask(bus, "0400640001"), ask(bus, "0300640001", unit=2), ask(bus, "0300650001")
    ask(bus, "06006412ab")
    assert ask(bus, "0300640001").hex() == "030212ab"
    assert (ask(bus, "0400640001"), ask(bus, "0300640001", unit=2), ask(bus, "0300650001")) == before


def test_more_writes_than_there_is_room_for_are_a_device_failure_and_what_was_written_stays():
    bus = play()
    codes = [ask(bus, struct.pack(">BHH", 6, at, at)) for at in range(2049)]
    assert all(codes[at] == struct.pack(">BHH", 6, at, at) for at in range(2048))
    assert codes[2048] == b"\x86\x04"
    assert ask(bus, struct.pack(">BHH", 6, 7, 9)) == struct.pack(">BHH", 6, 7, 9)
    assert ask(bus, "0300070001").hex() == "03020009"


def test_other_units_are_left_to_answer_for_themselves():
    bus = play(1)
    assert answers(bus, rtu(2, bytes.fromhex("0300000001"))) == b""
    assert bus.counts()["foreign"] == 1
    assert (bus.counts()["requests"], bus.counts()["answered"]) == (0, 0)


def test_a_broadcast_write_reaches_every_unit_and_nobody_answers():
    bus = play(1, 9)
    assert answers(bus, rtu(0, bytes.fromhex("06000a0042"))) == b""
    assert [ask(bus, "03000a0001", unit).hex() for unit in (1, 9)] == ["03020042", "03020042"]


def test_a_broadcast_read_does_nothing():
    bus = play(1)
    assert answers(bus, rtu(0, bytes.fromhex("0300000001"))) == b""
    assert bus.counts()["values"] == 0


@given(data=st.data())
def test_any_chunking_gives_the_same_answers(data):
    stream = b"".join(
        noise + rtu(unit, bytes.fromhex(pdu))
        for noise, unit, pdu in [
            (b"", 1, "0300000002"), (b"\x00", 1, "06000a0042"), (b"\xff\xff", 2, "0300000001"),
            (b"", 1, "10000a000306000102030405"), (b"", 1, "17000a0003000c0001021234"), (b"", 1, "2b0e0100"),
        ]
    )  # fmt: skip
    whole = answers(play(), stream)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    bus = play()
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert b"".join(answers(bus, piece) for piece in pieces) == whole
    assert bus.counts() == {**bus.counts(), "requests": 5, "answered": 5, "foreign": 1, "garbage_bytes": 3}


@given(noise=st.binary(max_size=40))
def test_no_noise_ahead_of_a_silence_hides_the_next_request(noise):
    bus = play()
    answers(bus, noise, now_ns=0)
    assert answers(bus, rtu(1, bytes.fromhex("0300000001")), now_ns=51 * MS)[-6:-4] == b"\x03\x02"


def test_a_request_that_stopped_short_is_forgotten_after_a_silence_and_counted():
    bus = play()
    assert answers(bus, bytes.fromhex("0110000a007b"), now_ns=0) == b""
    assert len(answers(bus, rtu(1, bytes.fromhex("0300000001")), now_ns=60 * MS)) == 7
    assert bus.counts()["garbage_bytes"] == 6


def test_a_request_with_a_wrong_crc_is_not_answered():
    bus = play()
    frame = bytearray(rtu(1, bytes.fromhex("0300000001")))
    for at in range(len(frame)):
        frame[at] ^= 0x10
        assert answers(bus, bytes(frame), now_ns=at * 1000 * MS) == b""
        frame[at] ^= 0x10


def test_tcp_requests_sent_ahead_are_all_answered_under_their_transactions():
    bus = play(framing=TCP)
    stream = b"".join(tcp(number, 1, bytes.fromhex("0300000001")) for number in (7, 0, 65535))
    got = answers(bus, stream)
    heads = [struct.unpack_from(">HHHB", got, at) for at in range(0, len(got), 11)]
    assert heads == [(number, 0, 5, 1) for number in (7, 0, 65535)]


def test_tcp_unit_without_a_device_behind_it_is_no_path():
    assert answers(play(framing=TCP), tcp(1, 9, bytes.fromhex("0300000001"))) == tcp(1, 9, b"\x83\x0b")


def test_tcp_pdu_of_a_wrong_length_is_an_illegal_value():
    assert answers(play(framing=TCP), tcp(1, 1, bytes.fromhex("030000000100"))) == tcp(1, 1, b"\x83\x03")


@pytest.mark.parametrize("head", ["000100010006", "000100000001", "0001000000ff", "000100000000"])
def test_a_stream_that_is_no_modbus_tcp_is_refused(head):
    with pytest.raises(ValueError, match="no Modbus TCP"):
        answers(play(framing=TCP), bytes.fromhex(head + "010300000001"))


@pytest.mark.parametrize("framing", [RTU, TCP])
@given(noise=st.lists(st.binary(max_size=300), max_size=6))
def test_no_bytes_break_the_server(framing, noise):
    bus = play(1, 2, framing=framing)
    for number, chunk in enumerate(noise):
        try:
            answers(bus, chunk, now_ns=number)
        except ValueError:
            return


# ---- faults


READ_TEN = rtu(1, bytes.fromhex("030000000a"))


def strike(*specs: str, seed: int = 0) -> tuple[bytes, SimulatedBus]:
    bus = play(1, 2, faults=specs, seed=seed)
    return answers(bus, READ_TEN), bus


def test_drop_and_dead_are_silence():
    assert strike("drop:1")[0] == b""
    silence, bus = strike("dead:1")
    assert silence == b""
    assert ask(bus, "0300000001", unit=2)


@pytest.mark.parametrize("seed", range(50))
def test_crc_flips_one_bit(seed):
    right = strike()[0]
    wrong = strike("crc:1", seed=seed)[0]
    assert len(wrong) == len(right)
    assert sum((a ^ b).bit_count() for a, b in zip(right, wrong, strict=True)) == 1


@pytest.mark.parametrize("seed", range(50))
def test_truncate_sends_a_part_but_never_nothing_and_never_all(seed):
    right = strike()[0]
    part = strike("truncate:1", seed=seed)[0]
    assert right.startswith(part)
    assert 0 < len(part) < len(right)


def test_glitch_is_noise_ahead_of_the_right_answer():
    right = strike()[0]
    noisy = [strike("glitch:1", seed=seed)[0] for seed in range(50)]
    assert all(answer.endswith(right) for answer in noisy)
    assert {len(answer) - len(right) for answer in noisy} == {1, 2, 3}


def test_echo_is_the_request_ahead_of_the_answer_even_for_units_that_are_silent():
    right = strike()[0]
    echoed, bus = strike("echo", "dead:2")
    assert echoed == READ_TEN + right
    other = rtu(2, bytes.fromhex("0300000001"))
    assert answers(bus, other) == other


def test_wrong_unit_is_a_right_frame_of_somebody_else():
    right, wrong = strike()[0], strike("wrong-unit:1")[0]
    assert wrong[0] != 1
    assert wrong[1:-2] == right[1:-2]
    assert crc(wrong[:-2]) == wrong[-2:]


def test_exception_takes_the_place_of_the_answer():
    assert strike("exception:1:6")[0] == rtu(1, b"\x83\x06")


def test_late_is_the_right_answer_after_a_while():
    nothing_yet, bus = strike("late:1:250")
    assert (nothing_yet, bus.due_ns()) == (b"", 250 * MS)
    assert bus.release(250 * MS - 1) == b""
    assert bus.release(250 * MS) == strike()[0]
    assert bus.due_ns() is None


@pytest.mark.parametrize("kind", ["crc", "truncate", "glitch"])
def test_line_troubles_do_not_reach_tcp(kind):
    request = tcp(1, 1, bytes.fromhex("030000000a"))
    assert answers(play(framing=TCP, faults=(f"{kind}:1",)), request) == answers(play(framing=TCP), request)


@pytest.mark.parametrize(
    "spec", ["drop:P", "crc:P", "truncate:P", "glitch:P", "wrong-unit:P", "late:P:9", "exception:P:4"]
)
@pytest.mark.parametrize("chance", [0.05, 0.5])
def test_a_fault_strikes_as_often_as_asked_and_is_counted(spec, chance):
    bus = play(faults=(spec.replace("P", str(chance)),))
    right = strike()[0]
    struck = 0
    for now_ns in range(0, 4000 * 1000 * MS, 1000 * MS):
        struck += answers(bus, READ_TEN, now_ns) != right
        bus.release(now_ns + 999 * MS)  # late answers are out before the next request
    kind = spec.partition(":")[0]
    assert bus.faults_applied() == {**dict.fromkeys(FAULTS, 0), kind: struck}
    assert abs(struck - 4000 * chance) < 5 * (4000 * chance * (1 - chance)) ** 0.5


def test_a_seed_repeats_its_faults_and_another_seed_has_others():
    def run(seed: int) -> list[bytes]:
        bus = play(faults=("drop:0.2", "crc:0.2", "truncate:0.2"), seed=seed)
        return [answers(bus, READ_TEN) for _ in range(100)]

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.parametrize(
    ("units", "signals", "faults"),
    [
        (31, b"", 128),
        (32, b"", 119),
        (32, b"\0" * 10, 128),
        (32, struct.pack("=HHHBBBB", 65535, 2, 0, 1, 0, 7, 0), 128),
    ],
)
def test_what_does_not_fit_is_refused(units, signals, faults):
    with pytest.raises(ValueError, match=r"bytes and faults|not in order"):
        SimulatedBus(RTU, bytes(units), signals, bytes(faults), 0)
