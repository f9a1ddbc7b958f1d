import struct
import subprocess
import threading

from hypothesis import given
from hypothesis import strategies as st
from wire import with_crc

from agent._native.codec import to_ascii
from agent._native.parts import Trace
from agent.acquire.packets import PAUSE_NS, Frame
from agent.acquire.trace import LineTrace, pcapng, pieces_in_rtu, pieces_of

MS = 1_000_000
MOST_BYTES = 520
RING_BYTES = 8 * 4096

pieces = st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=MOST_BYTES)), max_size=200)


def traced(line: list[tuple[int, bool, bytes]]) -> tuple[Frame, ...]:
    trace = Trace()
    for time_ns, sent, data in line:
        trace.add(time_ns, sent, data)
    return pieces_of(trace.records())


@given(pieces)
def test_the_last_pieces_are_kept_whole_and_in_order_and_only_the_oldest_are_given_up(line):
    timed = [(at * PAUSE_NS, sent, data) for at, (sent, data) in enumerate(line)]
    kept = traced(timed)
    assert list(kept) == [Frame(*each) for each in timed[len(timed) - len(kept) :]]
    room = sum(16 + -(-len(frame.data) // 8) * 8 for frame in kept)
    assert len(kept) == len(timed) or room > RING_BYTES - (16 + MOST_BYTES)


def test_noise_is_cut_to_what_a_trace_takes():
    assert traced([(0, False, bytes(4000))]) == (Frame(0, False, bytes(MOST_BYTES)),)


def test_a_copy_taken_while_the_line_goes_on_has_only_whole_records_without_a_hole():
    trace, stop, copies = Trace(), threading.Event(), []
    reader = threading.Thread(target=lambda: [copies.append(trace.records()) for _ in iter(stop.is_set, True)])
    reader.start()
    for number in range(30_000):
        trace.add(number * PAUSE_NS, True, struct.pack("=q", number) * (1 + number % 40))
    stop.set()
    reader.join()
    assert copies
    for copy in copies:
        frames = pieces_of(copy)
        first = frames[0].time_ns // PAUSE_NS if frames else 0
        for number, frame in enumerate(frames, first):
            assert frame == Frame(number * PAUSE_NS, True, struct.pack("=q", number) * (1 + number % 40))


# --- what another program reads in it ---

REQUEST, ANSWER = with_crc(bytes.fromhex("010300640002")), with_crc(bytes.fromhex("01030441200000"))
REFUSAL = with_crc(bytes.fromhex("018302"))
MBAP_REQUEST, MBAP_ANSWER = bytes.fromhex("000100000006010300640002"), bytes.fromhex("00010000000701030441200000")
SERIAL = LineTrace(
    "rs485",
    False,
    (
        Frame(0, True, REQUEST),
        Frame(9 * MS, False, ANSWER),
        Frame(20 * MS, True, REQUEST),
        Frame(26 * MS, False, REFUSAL),
    ),
)
TCP = LineTrace("plc", True, (Frame(1 * MS, True, MBAP_REQUEST), Frame(2 * MS, False, MBAP_ANSWER)))
WALL_NS = 1_763_769_600_123_456_789


CHECKS = ["-o", "mbrtu.crc_verification:TRUE", "-o", "ip.check_checksum:TRUE"]


def read_out(path, data: bytes, *fields: str) -> list[list[str]]:
    """What tshark says of each packet."""
    path.write_bytes(data)
    asked = [part for field in fields for part in ("-e", field)]
    command = ["tshark", "-r", path, "-d", "rtacser.data,mbrtu", *CHECKS, "-T", "fields", "-E", "separator=|", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [row.split("|") for row in done.stdout.splitlines()]


def dissect(path, data: bytes, *fields: str) -> list[list[str]]:
    """The same, of frames of which none is malformed."""
    rows = read_out(path, data, "_ws.malformed", *fields)
    assert [row[0] for row in rows] == [""] * len(rows), f"malformed: {rows}"
    return [row[1:] for row in rows]


def test_wireshark_reads_every_frame_with_its_time_and_its_bus(tmp_path):
    fields = ("frame.interface_name", "frame.time_epoch", "modbus.func_code", "modbus.exception_code")
    assert dissect(tmp_path / "x.pcapng", pcapng([SERIAL, TCP], WALL_NS), *fields) == [
        ["rs485", "1763769600.123456789", "3", ""],
        ["plc", "1763769600.124456789", "3", ""],
        ["plc", "1763769600.125456789", "3", ""],
        ["rs485", "1763769600.132456789", "3", ""],
        ["rs485", "1763769600.143456789", "3", ""],
        ["rs485", "1763769600.149456789", "3", "2"],
    ]


def test_wireshark_finds_crcs_and_ip_checksums_right(tmp_path):
    fields = ("mbrtu.crc16.status", "ip.checksum.status", "mbtcp.trans_id")
    rows = dissect(tmp_path / "x.pcapng", pcapng([SERIAL, TCP], 0), *fields)
    assert sorted(rows) == [["", "1", "1"]] * 2 + [["1", "", ""]] * 4


def test_wireshark_reads_a_line_of_ascii_as_the_rtu_frames_that_say_the_same(tmp_path):
    pieces = [
        Frame(at * MS, at % 2 == 0, to_ascii(data)) for at, data in enumerate((REQUEST, ANSWER, REQUEST, REFUSAL))
    ]
    answer = to_ascii(ANSWER)
    pieces[1:2] = [Frame(MS, False, answer[:1]), Frame(MS, False, answer[1:8]), Frame(MS, False, answer[8:])]
    rows = dissect(
        tmp_path / "x.pcapng",
        pcapng([LineTrace("old", False, pieces_in_rtu(pieces))], 0),
        "modbus.func_code",
        "mbrtu.crc16.status",
    )
    assert rows == [["3", "1"]] * 4


def test_without_a_frame_the_capture_is_still_one(tmp_path):
    assert dissect(tmp_path / "x.pcapng", pcapng([LineTrace("idle", False, ())], 0)) == []


# --- what is no frame says so ---


def timed(*pieces: tuple[bool, bytes]) -> tuple[Frame, ...]:
    return tuple(Frame(at * 10 * MS, sent, data) for at, (sent, data) in enumerate(pieces))


DAMAGED = ANSWER[:-1] + bytes([ANSWER[-1] ^ 1])
FAULTY_LINE = timed(
    (True, REQUEST), (False, DAMAGED),
    (True, REQUEST), (False, ANSWER[:6]),
    (True, REQUEST), (False, REQUEST + ANSWER),  # with its echo
    (True, REQUEST), (False, b"\x00" + ANSWER + b"\xa5\xa5"),  # a glitch in front of it and behind it
    (True, REQUEST), (False, ANSWER + REFUSAL),  # and a late one
    (True, REQUEST), (False, b"\x55" * 40),
    (True, REQUEST), (False, ANSWER),
)  # fmt: skip
FAULTY_LINK = timed(
    (False, MBAP_ANSWER[5:]),  # what the ring has begun with
    (True, MBAP_REQUEST), (False, MBAP_ANSWER[:3]), (False, MBAP_ANSWER[3:] + MBAP_ANSWER),
    (True, MBAP_REQUEST + MBAP_REQUEST), (False, b"HTTP/1.1 400 Bad Request" + MBAP_ANSWER),
    (True, MBAP_REQUEST), (False, MBAP_ANSWER[:9]),
)  # fmt: skip
FIELDS = ("_ws.malformed", "mbrtu.crc16.status", "frame.packet_flags_crc_error", "frame.comment", "modbus.func_code")


def test_of_a_faulty_line_every_frame_is_intact_and_everything_else_is_marked(tmp_path):
    rows = read_out(tmp_path / "x.pcapng", pcapng([LineTrace("rs485", False, FAULTY_LINE)], 0), *FIELDS)
    good = [row for row in rows if row[2] in ("0", "False")]
    marked = [row for row in rows if row not in good]
    assert {(malformed, crc) for malformed, crc, *_ in good} == {("", "1")}
    assert len(good) == 7 + 5  # requests; answers, the late one among them
    assert [row[3].partition(",")[0] for row in marked] == [
        *["in no frame with a right CRC"] * 2,
        "a request",
        *["in no frame with a right CRC"] * 3,
    ]


def test_of_a_faulty_link_every_frame_is_intact_and_everything_else_is_marked(tmp_path):
    rows = read_out(tmp_path / "x.pcapng", pcapng([LineTrace("plc", True, FAULTY_LINK)], 0), *FIELDS)
    good = [row for row in rows if not row[3]]
    marked = [row for row in rows if row[3]]
    assert [(malformed, function) for malformed, *_, function in good] == [("", "3")] * (4 + 3)
    assert [row[2] in ("1", "True") for row in marked] == [True] * 3


def test_every_packet_says_which_way_it_went(tmp_path):
    rows = dissect(
        tmp_path / "x.pcapng", pcapng([SERIAL, TCP], 0), "frame.packet_flags_direction", "frame.interface_name"
    )
    assert [way for way, name in rows if name == "rs485"] == ["0x00000002", "0x00000001"] * 2
    assert [way for way, name in rows if name == "plc"] == ["0x00000002", "0x00000001"]
