import struct
import subprocess
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from wire import with_crc

from agent._native.busloop import Trace
from agent._native.codec import to_ascii
from agent.acquire.trace import PAUSE_NS, Frame, LineTrace, frames_of, pcapng

MS = 1_000_000
MOST_BYTES = 520
RING_BYTES = 8 * 4096

pieces = st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=MOST_BYTES)), max_size=200)


def traced(line: list[tuple[int, bool, bytes]]) -> tuple[Frame, ...]:
    trace = Trace()
    for time_ns, sent, data in line:
        trace.add(time_ns, sent, data)
    return frames_of(trace.records())


@settings(deadline=None)
@given(pieces)
def test_the_last_pieces_are_kept_whole_and_in_order_and_only_the_oldest_are_given_up(line):
    timed = [(at * PAUSE_NS, sent, data) for at, (sent, data) in enumerate(line)]
    kept = traced(timed)
    assert list(kept) == [Frame(*each) for each in timed[len(timed) - len(kept) :]]
    room = sum(16 + -(-len(frame.data) // 8) * 8 for frame in kept)
    assert len(kept) == len(timed) or room > RING_BYTES - (16 + MOST_BYTES)


def test_noise_is_cut_to_what_a_trace_takes():
    assert traced([(0, False, bytes(4000))]) == (Frame(0, False, bytes(MOST_BYTES)),)


def test_pieces_of_an_answer_are_one_frame_and_a_late_one_is_a_frame_of_its_own():
    line = [(0, True, b"ask"), (5 * MS, False, b"ans"), (6 * MS, False, b"wer"), (6 * MS + PAUSE_NS, False, b"late")]
    assert traced([*line, (99 * MS, True, b"ask")]) == (
        Frame(0, True, b"ask"),
        Frame(6 * MS, False, b"answer"),
        Frame(6 * MS + PAUSE_NS, False, b"late"),
        Frame(99 * MS, True, b"ask"),
    )


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
        frames = frames_of(copy)
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


def dissect(path, data: bytes, *fields: str) -> list[list[str]]:
    """What tshark says of each packet."""
    path.write_bytes(data)
    asked = [part for field in ("_ws.malformed", *fields) for part in ("-e", field)]
    checks = ["-o", "mbrtu.crc_verification:TRUE", "-o", "ip.check_checksum:TRUE"]
    command = ["tshark", "-r", path, "-d", "rtacser.data,mbrtu", *checks, "-T", "fields", "-E", "separator=|", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [row.split("|") for row in done.stdout.splitlines()]
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


def test_wireshark_reads_ascii_as_the_rtu_frames_that_say_the_same_and_its_characters_as_comments(tmp_path):
    cut = to_ascii(ANSWER)[:10]
    frames = [
        Frame(at * MS, at % 2 == 0, to_ascii(data)) for at, data in enumerate((REQUEST, ANSWER, REQUEST, REFUSAL))
    ]
    line = LineTrace("old", False, (*frames, Frame(9 * MS, True, to_ascii(REQUEST))), is_ascii=True)
    rows = dissect(tmp_path / "x.pcapng", pcapng([line], 0), "modbus.func_code", "mbrtu.crc16.status", "frame.comment")
    assert [row[:2] for row in rows] == [["3", "1"]] * 5
    assert rows[0][2] == to_ascii(REQUEST).decode().replace("\r\n", r"\r\n")
    assert pcapng([LineTrace("old", False, (Frame(0, False, cut),), is_ascii=True)], 0).count(cut) == 1


def test_without_a_frame_the_capture_is_still_one(tmp_path):
    assert dissect(tmp_path / "x.pcapng", pcapng([LineTrace("idle", False, ())], 0)) == []
