"""Modbus ASCII as a notation of RTU frames: characters in, frames out, and back, in any chunks; bus and devices."""

import json
from pathlib import Path

import pytest
from bus_rig import CHAR_NS, QUIET_NS, Poll, Rig, S, answer_to
from hypothesis import given
from hypothesis import strategies as st
from wire import with_crc

from agent._native.codec import ANSWERED, ASCII, PENDING, RTU, FromAscii, Master, crc_fits, to_ascii
from agent._native.server import SimulatedBus
from agent.simulate.faults import pack_faults
from agent.simulate.layout import unit_bits

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "serial_frames.json").read_text())["vectors"]
RECORDED = [vector for vector in VECTORS if vector["protocol"] == "ascii"]
MS = 1_000_000
READ = bytes.fromhex("010300000002")
BODIES = st.binary(min_size=2, max_size=254)  # unit and PDU
LINES = st.lists(
    st.one_of(
        BODIES.map(lambda body: to_ascii(with_crc(body))),
        st.binary(max_size=20),
        st.sampled_from([b":", b"\r", b"\n", b"\r\n", b":01", b"0", b":0103FC\r\n", b":0103fd\r"]),
    ),
    max_size=12,
).map(b"".join)


def heard(characters: bytes) -> bytes:
    return FromAscii().feed(characters)


def frames(characters: bytes) -> list[bytes]:
    """What ends in a CRC that fits, beginning anywhere: all that a master could take for an answer."""
    said = heard(characters)
    ends = range(4, len(said) + 1)
    return [said[start:end] for end in ends for start in range(end - 3) if crc_fits(said[start:end])]


@pytest.mark.parametrize("vector", RECORDED, ids=lambda vector: vector["id"])
def test_recorded_frames_are_heard_behind_whatever_came_before(vector):
    characters = bytes.fromhex(vector["hex"])
    last = characters[characters.rindex(b":") + 1 :].rstrip(b"\r\n")
    assert heard(characters).endswith(with_crc(bytes.fromhex(last.decode())[:-1]))


def test_a_frame_with_a_wrong_checksum_ends_in_a_crc_that_cannot_fit():
    [bad] = [vector for vector in RECORDED if "bad LRC" in vector["meaning"]]
    first, second = (with_crc(bytes.fromhex(body)) for body in ("0003007C0001", "0003007C0002"))
    assert heard(bytes.fromhex(bad["hex"])) == first[:-2] + bytes(255 - byte for byte in first[-2:]) + second


@given(BODIES)
def test_every_frame_is_heard_as_it_was_said_in_either_case(body):
    frame = with_crc(body)
    assert heard(to_ascii(frame)) == frame
    assert heard(to_ascii(frame).lower()) == frame


def test_the_characters_are_those_of_the_specification():
    assert to_ascii(with_crc(bytes.fromhex("F70313890A"))) == b":F70313890A60\r\n"  # the LRC of the usual example


@given(LINES, st.lists(st.integers(0, 600)))
def test_the_chunks_do_not_matter(characters, cuts):
    line, said, at = FromAscii(), b"", 0
    for cut in sorted(cuts):
        said += line.feed(characters[at:cut])
        at = max(at, cut)
    assert said + line.feed(characters[at:]) == heard(characters)


@given(BODIES, st.data())
def test_no_single_wrong_bit_passes(body, data):
    characters = bytearray(to_ascii(with_crc(body)))
    at, bit = data.draw(st.integers(0, len(characters) - 3)), data.draw(st.integers(0, 7))
    characters[at] ^= 1 << bit
    if bytes(characters).upper() == to_ascii(with_crc(body)):
        return  # the same digit in the other case
    assert not any(frame == with_crc(body) for frame in frames(bytes(characters)))


@pytest.mark.parametrize(
    ("characters", "said"),
    [
        (b"", ""),
        (b"\n", "00"),  # a line that ended is over; a LF of its own is noise
        (b"abc", "000000"),  # digits outside a frame
        (b":", ""),
        (b":01", ""),  # it may be the checksum
        (b":0103", "01"),
        (b":01 03", "0000" + "00"),  # a character that is no digit ends the frame: the rest is noise
        (b":010\r\n", "0000"),  # half a byte
        (b":01FF\r\n", "010000"),  # nothing but a unit
        (b":0103:0103FC\r", "01" + "01034021"),  # a colon begins anew
        (b":0103FC\r:0103FC\r\n", "01034021" + "01034021"),  # without a LF
        (b":0103FC\r\n\n", "01034021" + "00"),
    ],
)
def test_what_becomes_of_each_character(characters, said):
    assert heard(characters).hex() == said


def test_a_frame_longer_than_any_is_noise_from_there_on():
    said = heard(b":" + b"01" * 256 + b"\r\n")
    assert said == b"\x01" * 254 + b"\x00" * 3


@given(st.binary(max_size=300))
def test_any_bytes_give_no_more_than_one_each_and_one(data):
    assert len(heard(data)) <= len(data) + 1


@pytest.mark.parametrize("size", [0, 3, 257])
def test_what_is_no_frame_is_not_put_into_characters(size):
    with pytest.raises(ValueError, match=f"{size} bytes are not a frame"):
        to_ascii(bytes(size))


# --- the master ---


def asked(*, translated: bool = True) -> tuple[FromAscii, Master]:
    line = FromAscii()
    master = Master(RTU, line=line if translated else None)
    master.begin(0, with_crc(READ), 9, S)
    return line, master


def fitting_zeros() -> bytes:
    """What a device says before two noise characters, which stand for zeros, of which the CRC fits by chance."""
    bodies = (b"\x01\x03\x04" + n.to_bytes(4, "big") for n in range(1 << 20))
    return next(body for body in bodies if crc_fits(body + bytes(2)))


@pytest.mark.parametrize("translated", [True, False])
def test_a_frame_cut_short_is_no_answer_even_if_its_crc_fits_with_the_noise_behind_it(translated):
    line, master = asked(translated=translated)
    said = line.feed(b":" + fitting_zeros().hex().encode() + b"00??")
    assert said == fitting_zeros() + bytes(2)
    assert (master.feed(1, said) == ANSWERED) is not translated
    answer = with_crc(bytes.fromhex("01030400010002"))
    assert master.feed(2, line.feed(to_ascii(answer))) == ANSWERED
    assert master.pdu == (answer if translated else fitting_zeros() + bytes(2))[1:-2]


@pytest.mark.parametrize("more", [0, 7, 8])
def test_an_answer_is_known_behind_no_more_frames_than_are_remembered(more):
    line, master = asked()
    answer, other = (with_crc(bytes.fromhex(body)) for body in ("01030400010002", "02030400010002"))
    outcome = master.feed(1, line.feed(to_ascii(answer) + more * to_ascii(other)))
    assert outcome == (ANSWERED if more < 8 else PENDING)


def test_what_came_whole_before_the_request_does_not_vouch_for_what_comes_after_it():
    line, master = asked()
    answer = with_crc(bytes.fromhex("01030400010002"))
    assert master.feed(1, line.feed(to_ascii(answer))) == ANSWERED
    master.begin(2, with_crc(READ), 9, S)
    assert master.feed(3, answer) == PENDING
    master.reset()
    master.begin(4, with_crc(READ), 9, S)
    assert master.feed(5, answer) == PENDING  # a port that was opened anew is still an ASCII line


# --- the bus ---


def pausing(pause_ns: int):
    """A device that stops for a while within each answer."""
    return lambda request, _: [(5 * MS, answer_to(request)[:4]), (5 * MS + pause_ns, answer_to(request)[4:])]


@pytest.mark.parametrize(
    ("ascii_", "pause_ms", "is_read"), [(True, 900, True), (True, 1400, False), (False, 900, False)]
)
def test_a_device_may_pause_for_a_second_within_an_answer_of_ascii(ascii_, pause_ms, is_read):
    polls = [Poll(period=4 * S, timeout=100 * MS)]
    rig = Rig(polls, pausing(pause_ms * MS), ascii_=ascii_).run(60 * S)
    assert (rig.counts["ok"] == 15) == is_read
    assert rig.wrong() == []


def test_the_silence_of_a_line_of_ascii_begins_behind_the_lf():
    """An answer is whole at its CR: the LF is still on the wire then."""
    rig = Rig([Poll(period=1)], lambda request, _: [(5 * MS, answer_to(request))], ascii_=True).run(S)
    assert min(rig.waited[1:]) == QUIET_NS + CHAR_NS


def test_on_a_line_without_pauses_a_cut_answer_is_not_waited_for_so_long():
    cut = [(5 * MS, b"\x01\x03\x14\x00")]
    rig = Rig(
        [Poll(period=50 * MS, timeout=100 * MS)],
        lambda request, n: cut if n % 5 == 4 else [(5 * MS, answer_to(request))],
        ascii_=True,
    ).run(60 * S)
    assert rig.counts["timeouts"] == pytest.approx(rig.counts["ok"] / 4, abs=2)
    assert rig.counts["ok"] > 400


# --- devices ---


def played() -> SimulatedBus:
    return SimulatedBus(ASCII, unit_bits((1,)), b"", pack_faults([], "bus"))


def answers(bus: SimulatedBus, characters: bytes, now_ns: int = 0) -> bytes:
    bus.feed(characters, now_ns, 0)
    return bus.release(now_ns)


def test_a_device_answers_in_characters():
    answer = answers(played(), to_ascii(with_crc(READ)))
    assert answer[:1] + answer[-2:] == b":\r\n"
    assert heard(answer)[:3] == b"\x01\x03\x04"
    assert crc_fits(heard(answer))


@pytest.mark.parametrize("ending", [b"\r\n", b"\r"], ids=["CR LF", "CR"])
@pytest.mark.parametrize("before", [b"", b"\x00\xff", b":0103", b"0103\r\n", b":010300000002FB\r\n"])
def test_a_device_understands_a_request_behind_anything(before, ending):
    request = to_ascii(with_crc(READ)).removesuffix(b"\r\n").lower() + ending
    bus = played()
    assert crc_fits(heard(answers(bus, before + request)))
    assert bus.counts()["requests"] == 1


def test_a_device_is_patient_for_a_second_within_a_request():
    request = to_ascii(with_crc(READ))
    bus = played()
    assert answers(bus, request[:7], 0) == b""
    assert answers(bus, request[7:], 999 * MS)
    assert answers(bus, request[:7], 2000 * MS) == b""
    assert answers(bus, request[7:], 3001 * MS) == b""


def test_a_device_is_not_stopped_by_a_line_that_never_ends():
    bus = played()
    for start in (b":", *[b"0"] * 9):
        assert answers(bus, start + b"0" * 500) == b""
    assert answers(bus, to_ascii(with_crc(READ)))


def test_several_requests_in_one_chunk_are_all_answered():
    bus = played()
    assert answers(bus, 3 * to_ascii(with_crc(READ))).count(b":") == 3
    assert bus.counts()["garbage_bytes"] == 0
