"""The master's transaction in virtual time: scripted lines, recorded frames, and any bytes in any chunks."""

import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire import with_crc

from agent._native import codec
from agent._native.codec import ANSWERED, EXCEPTION, PENDING, RTU, TCP, TIMED_OUT, Master

HERE = Path(__file__).parent
CASES = json.loads((HERE / "data" / "master_cases.json").read_text())["cases"]
VECTORS = json.loads((HERE.parent / "vectors" / "serial_frames.json").read_text())["vectors"]
CHAR_NS = 1_000_000  # 10 bits at about 9600 baud
TIMEOUT_NS = 100_000_000
CHUNK_NS = 50_000_000  # FT_CHUNK_NS


def bytes_of(script: str) -> bytes:
    """Hex to bytes, with the CRC appended to what stands in [] and a wrong one to what stands in {}."""
    out = b""
    for part in re.findall(r"\[[^]]*\]|\{[^}]*\}|[^[{]+", script):
        data = bytes.fromhex(part.strip("[]{}"))
        whole = with_crc(data) if part[0] in "[{" else data
        out += whole[:-1] + bytes([whole[-1] ^ 0x55]) if part[0] == "{" else whole
    return out


def transact(master: Master, request: bytes, chunks: list[bytes]) -> tuple[int, bytes]:
    """Send `request` at 0, let the chunks arrive and the deadline pass."""
    master.begin(0, request, 0, TIMEOUT_NS)
    for chunk in chunks:
        master.feed(0, chunk)
    outcome = master.expire(master.deadline_ns)
    return outcome, bytes(master.pdu)


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


def counted(master: Master) -> dict[str, int]:
    return {name: count for name, count in master.counts.items() if count}


@pytest.mark.parametrize("chunked", [lambda stream: [stream], one_by_one], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["what"])
def test_scripted_transaction(case, chunked):
    framing = TCP if case.get("framing") == "TCP" else RTU
    master = Master(framing, CHAR_NS if framing == RTU else 0)
    for request, stream in case.get("after", []):
        transact(master, bytes_of(request), chunked(bytes_of(stream)))
    outcome, pdu = transact(master, bytes_of(case["request"]), chunked(bytes_of(case["stream"])))
    assert outcome == getattr(codec, case["outcome"])
    assert pdu.hex() == case.get("pdu", pdu.hex() if outcome == ANSWERED else "")
    assert counted(master) == case.get("counts", {})


def test_an_answer_is_found_behind_more_noise_than_is_kept():
    stream = 4000 * b"\xff" + bytes_of("[0103 02 1234]")
    for chunks in ([stream], one_by_one(stream)):
        assert transact(Master(RTU, CHAR_NS), bytes_of("[0103 0000 0001]"), chunks)[0] == ANSWERED


# ---- recorded and published frames ----

RTU_ANSWERS = [v for v in VECTORS if v["protocol"] == "rtu" and v["direction"] in {"response", "exception"}]
RTU_PAIRS = [v for v in VECTORS if v["protocol"] == "rtu" and v["direction"] == "pair"]
RTU_REQUESTS = [v for v in VECTORS if v["protocol"] == "rtu" and v["direction"] == "request"]
TCP_ANSWERS = [v for v in VECTORS if v["protocol"] == "tcp" and v["direction"] == "response"]
NO_ANSWER = {"result", "action", "quirk", "strict", "truncated"}  # `expected` keys that say: not as it stands

# The masters behind these recordings asked for what the answer itself does not tell.
ASKED_FOR = {
    "rtu-006": "010301310001",  # their own echo, cut short
    "rtu-007": "01039c410001",
    "rtu-009": "0103005e0002",
    "rtu-010": "010300000001",  # one register, answered with a 16-bit byte count
    "rtu-016": "010300000001",  # one register, answered with 32 bits
    "rtu-017": "010300000001",
    "rtu-018": "010300000001",
    "rtu-132": "010100000008",  # answered by unit 2
    "rtu-143": "010300000002",  # the answer to one register comes first
}


def by_id(vector):
    return vector["id"]


def request_of(vector: dict) -> bytes:
    """The request that the vector's intact answer answers, or the one it was recorded with."""
    if vector["id"] in ASKED_FOR:
        return with_crc(bytes.fromhex(ASKED_FOR[vector["id"]]))
    stream = bytes.fromhex(vector["hex"])
    frame = next(iter(vector.get("frames", [])), {"offset": 0})
    return with_crc(request_for(stream[frame["offset"] :]))


def request_for(answer: bytes) -> bytes:
    unit, function, third = answer[0], answer[1] & 0x7F, answer[2]
    if function in {1, 2}:
        return bytes([unit, function, 0, 0]) + (8 * min(third, 250)).to_bytes(2)
    if function in {3, 4, 20}:
        return bytes([unit, function, 0, 0]) + max(1, third // 2).to_bytes(2)
    if function in {15, 16}:
        return answer[:6] + bytes([2, 0, 0])
    if function in {5, 6, 22}:
        return answer[:-2]
    if function == 43:
        return bytes([unit, 43, 14, 1, 0])
    return bytes([unit, function])


def registers(pdu: bytes) -> list[int]:
    return [int.from_bytes(pdu[i : i + 2]) for i in range(2, len(pdu), 2)]


@pytest.mark.parametrize("vector", RTU_ANSWERS, ids=by_id)
def test_recorded_rtu_answer(vector):
    expected = vector["expected"]
    outcome, pdu = transact(Master(RTU, CHAR_NS), request_of(vector), one_by_one(bytes.fromhex(vector["hex"])))
    if expected.get("exception") is not None:
        assert (outcome, pdu[1]) == (EXCEPTION, expected["exception"])
    elif NO_ANSWER & expected.keys():
        assert outcome == TIMED_OUT
    else:
        assert outcome == ANSWERED
        assert registers(pdu) == expected.get("registers", registers(pdu))
        assert pdu.hex() == expected.get("pdu", pdu.hex())
        assert pdu[1] == 2 * expected.get("n_registers", pdu[1] / 2)


@pytest.mark.parametrize("vector", RTU_PAIRS, ids=by_id)
def test_published_pair(vector):
    request, stream = bytes.fromhex(vector["request_hex"]), bytes.fromhex(vector["response_hex"])
    outcome, pdu = transact(Master(RTU, CHAR_NS), request, one_by_one(stream))
    if "GOOD" in vector["source"]:
        assert (outcome, pdu) == (ANSWERED, stream[1:-2])
    else:  # wrong answers to minimalmodbus; two are an echo, which it does not strip, before a right one
        assert (outcome, pdu) == reference(request, stream)
        assert (outcome == ANSWERED) == (vector["id"] in {"rtu-295", "rtu-296"})


@pytest.mark.parametrize("vector", RTU_REQUESTS, ids=by_id)
def test_recorded_request_is_framed_alike_and_its_echo_is_no_answer(vector):
    adu = bytes.fromhex(vector["hex"])
    assert codec.request_length(adu[1:]) == len(adu) - 3
    assert codec.frame(RTU, 0, adu[0], adu[1:-2]) == adu
    is_its_own_answer = adu[1] in {5, 6, 8, 22}
    outcome, _ = transact(Master(RTU, CHAR_NS), adu, [adu])
    assert outcome == (ANSWERED if is_its_own_answer else TIMED_OUT)


@pytest.mark.parametrize("vector", TCP_ANSWERS, ids=by_id)
def test_recorded_tcp_answer(vector):
    stream, expected = bytes.fromhex(vector["hex"]), vector["expected"]
    unit = 1 if expected.get("unit_mismatch") else stream[6]
    asked = request_for(stream[6:])[1:] if stream[7] != 0x30 else bytes.fromhex("0300000001")
    request = codec.frame(TCP, int.from_bytes(stream[:2]), unit, asked)
    outcome, pdu = transact(Master(TCP), request, one_by_one(stream))
    if "exception" in expected:
        assert (outcome, pdu[1]) == (EXCEPTION, expected["exception"])
    elif NO_ANSWER & expected.keys():
        assert outcome == TIMED_OUT
    else:
        assert (outcome, len(registers(pdu))) == (ANSWERED, expected["n_registers"])


def test_a_late_answer_of_the_same_shape_is_stale_when_it_was_drained_before_the_request():
    late, right = bytes_of("[0103 04 0009 0009]"), bytes_of("[0103 04 0001 0002]")
    master = Master(RTU, CHAR_NS)
    master.feed(0, late)
    assert transact(master, bytes_of("[0103 0000 0002]"), [right]) == (ANSWERED, right[1:-2])
    assert counted(master) == {"stale_bytes": 9}


# ---- any bytes, in any chunks, against a plain description of the rule ----


def answer_length(request: bytes) -> int:
    quantity = int.from_bytes(request[4:6])
    return {1: 5 + (quantity + 7) // 8, 2: 5 + (quantity + 7) // 8, 3: 5 + 2 * quantity, 4: 5 + 2 * quantity}.get(
        request[1], 8
    )


def intact_answer(request: bytes, stream: bytes) -> bytes:
    """The PDU at the beginning of `stream` that answers `request` with a fitting CRC, else nothing."""
    whole = 5 if stream[1:2] == bytes([request[1] | 0x80]) else answer_length(request)
    frame = stream[:whole]
    if len(frame) < whole or frame[0] != request[0] or with_crc(frame[:-2]) != frame:
        return b""
    repeated = 6 if request[1] in {5, 6, 15, 16} else 2
    normal = frame[:repeated] == request[:repeated] and (repeated == 6 or frame[2] == whole - 5)
    return frame[1:-2] if (whole == 5 and frame[1] > 0x80) or normal else b""


def echo_length(request: bytes, stream: bytes) -> int:
    """How many bytes at the beginning of `stream` are the own request, whole or short of its last byte."""
    if stream.startswith(request):
        return len(request)
    return len(request) - 1 if len(request) >= 8 and stream.startswith(request[:-1]) else 0


def reference(request: bytes, stream: bytes) -> tuple[int, bytes]:
    """The first intact answer from the left, where one echo of a request that is not its own answer is skipped."""
    at, may_echo = 0, request[1] not in {5, 6}
    while at < len(stream):
        echo = echo_length(request, stream[at:]) if may_echo else 0
        pdu = b"" if echo else intact_answer(request, stream[at:])
        if pdu:
            return (EXCEPTION if pdu[0] & 0x80 else ANSWERED), pdu
        may_echo = may_echo and not echo
        at += echo or 1
    return TIMED_OUT, b""


READ = st.builds(
    lambda unit, function, address, quantity: with_crc(
        bytes([unit, function]) + address.to_bytes(2) + quantity.to_bytes(2)
    ),
    st.sampled_from([1, 3, 4, 247]),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from([0, 0x0200, 0x0103, 0xFFFF]),
    st.sampled_from([1, 2, 8, 9, 100]),
)
WRITE = st.builds(
    lambda unit, body: with_crc(bytes([unit]) + bytes.fromhex(body)),
    st.sampled_from([1, 3]),
    st.sampled_from(["0500acff00", "0600010003", "0f0013000a02cd01", "100001000204000a0102"]),
)


@st.composite
def lines(draw):
    """A request and what a bad line makes of its answer: whole and broken frames of its own and of others, noise."""
    request = draw(READ | WRITE)
    unit, function = request[0], request[1]
    payload = answer_length(request) - 5
    normal = (
        request[:6]
        if function > 4
        else bytes([unit, function, payload]) + draw(st.binary(min_size=payload, max_size=payload))
    )
    frames = [
        with_crc(normal),
        with_crc(bytes([unit, function | 0x80, draw(st.integers(0, 255))])),
        with_crc(bytes([unit ^ 2]) + normal[1:]),
        with_crc(bytes([unit, 3, 4, unit, function, 2, 0])),
        with_crc(normal)[:-1] + b"\x00",
        with_crc(normal)[: draw(st.integers(1, 8))],
        request,
        request[:-1],
    ]
    noise = st.lists(st.sampled_from([unit, function, function | 0x80, 0, 2, 255]), max_size=6).map(bytes)
    flood = st.builds(lambda piece, n: piece * n, noise, st.sampled_from([1, 1, 1, 200]))
    pieces = draw(st.lists(st.sampled_from(frames) | flood | st.binary(max_size=4), max_size=7))
    return request, b"".join(pieces)


def cut(stream: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(point, len(stream)) for point in points), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=600)
@given(lines(), st.lists(st.integers(0, 300), max_size=6))
def test_any_chunking_of_any_line_gives_what_the_rule_says(line, points):
    request, stream = line
    results = []
    for chunks in ([stream], one_by_one(stream), cut(stream, points)):
        master = Master(RTU, CHAR_NS)
        results.append((*transact(master, request, chunks), counted(master)))
    assert results[0][:2] == reference(request, stream)
    assert results[1] == results[0]
    assert results[2] == results[0]


@settings(max_examples=300)
@given(READ, st.binary(max_size=700))
@example(bytes_of("[0103 0000 0001]"), b"\x01" * 700)
def test_every_byte_of_a_line_without_an_answer_is_counted_once(request_adu, stream):
    master = Master(RTU, CHAR_NS)
    outcome, _ = transact(master, request_adu, [stream])
    if outcome == TIMED_OUT and not master.counts["foreign"] and not master.counts["echoes"]:
        assert master.counts["garbage_bytes"] == len(stream)


@settings(max_examples=300)
@given(lines())
def test_missing_bytes_are_never_more_than_the_answer_of_a_read_takes(line):
    request, stream = line
    if request[1] > 4:
        return
    master = Master(RTU, CHAR_NS)
    master.begin(0, request, answer_length(request), TIMEOUT_NS)
    earliest = master.missing
    for arrived, byte in enumerate(one_by_one(stream), start=1):
        if master.feed(0, byte) != PENDING:
            assert arrived >= earliest
            return
        assert master.missing > 0
        seems_an_echo = any(
            request.startswith(stream[i:arrived]) for i in range(max(0, arrived - len(request)), arrived)
        )
        earliest = earliest if seems_an_echo else max(earliest, arrived + master.missing)


def tcp_frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    return codec.frame(TCP, transaction, unit, pdu)


@st.composite
def tcp_lines(draw):
    """Whole TCP frames that are stale or foreign, at most one answer behind them, then maybe half a frame."""
    pdu = draw(st.sampled_from([bytes.fromhex("03021234"), bytes.fromhex("8302")]))
    others = st.builds(
        tcp_frame, st.sampled_from([6, 7, 8]), st.sampled_from([1, 2]), st.binary(min_size=2, max_size=40)
    )
    before = [
        frame for frame in draw(st.lists(others, max_size=6)) if frame[:2] != b"\x00\x07" or frame[7] not in {3, 0x83}
    ]
    answer = [tcp_frame(7, 1, pdu)] if draw(st.booleans()) else []
    tail = draw(others)[: draw(st.integers(0, 8))]  # the shortest frame has 9 bytes
    return before, answer, tail


@settings(max_examples=300)
@given(tcp_lines(), st.lists(st.integers(0, 120), max_size=6))
def test_tcp_finds_the_answer_among_whole_frames_in_any_chunks(line, points):
    before, answer, tail = line
    stream = b"".join([*before, *answer, tail])
    request = tcp_frame(7, 1, bytes.fromhex("0300000001"))
    for chunks in ([stream], one_by_one(stream), cut(stream, points)):
        master = Master(TCP)
        outcome, pdu = transact(master, request, chunks)
        assert pdu == (answer[0][7:] if answer else b"")
        assert outcome == ((EXCEPTION if pdu[0] & 0x80 else ANSWERED) if answer else TIMED_OUT)
        assert master.counts["foreign"] == len(before)


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=6))
def test_any_tcp_bytes_give_the_same_in_any_chunks(stream, points):
    request = tcp_frame(0, 0, bytes.fromhex("0300000001"))
    results = []
    for chunks in ([stream], one_by_one(stream), cut(stream, points)):
        master = Master(TCP)
        results.append((*transact(master, request, chunks), counted(master)))
    assert results[1:] == results[:1] * 2


# ---- time ----

REQUEST = bytes_of("[0103 0000 000a]")
RESPONSE_BYTES = 25
ANSWER = with_crc(bytes([1, 3, 20]) + bytes(range(20)))


@pytest.fixture
def master():
    """A transaction under way: sent at 0, 8 characters on the wire, then the timeout."""
    master = Master(RTU, CHAR_NS)
    master.begin(0, REQUEST, RESPONSE_BYTES, TIMEOUT_NS)
    return master


def test_the_timeout_starts_when_the_request_has_left_the_wire(master):
    assert master.deadline_ns == 8 * CHAR_NS + TIMEOUT_NS
    assert master.expire(master.deadline_ns - 1) == PENDING
    assert master.expire(master.deadline_ns) == TIMED_OUT
    assert master.heard == 0


def test_an_answer_that_has_begun_gets_its_wire_time_and_no_more(master):
    first = master.deadline_ns
    master.feed(first - 1, ANSWER[:1])
    assert master.deadline_ns == first + RESPONSE_BYTES * CHAR_NS + CHUNK_NS
    for byte in one_by_one(ANSWER[1:-1]):
        master.feed(first, byte)
    assert master.deadline_ns == first + RESPONSE_BYTES * CHAR_NS + CHUNK_NS
    assert master.expire(master.deadline_ns) == TIMED_OUT
    assert master.heard == len(ANSWER) - 1


def test_noise_and_echo_do_not_move_the_deadline(master):
    first = master.deadline_ns
    master.feed(1, b"\xff\x00\x55")
    assert master.deadline_ns == first
    master.feed(2, REQUEST[:7])
    assert master.deadline_ns == first
    master.feed(3, REQUEST[7:])
    assert (master.deadline_ns, master.heard) == (first, 3)


def test_the_first_bytes_of_an_answer_are_timed_but_not_the_echo(master):
    master.feed(1, REQUEST[:5])
    master.feed(2, REQUEST[5:])
    assert master.first_ns == 0
    master.feed(3, ANSWER[:5])
    master.feed(4, ANSWER[5:])
    assert (master.first_ns, master.outcome) == (3, ANSWERED)


def test_an_answer_counts_even_if_nobody_looked_before_the_deadline(master):
    assert master.feed(master.deadline_ns + 1, ANSWER) == ANSWERED


def test_missing_bytes_count_down_to_the_answer(master):
    assert master.missing == 5
    master.feed(0, ANSWER[:2])
    assert master.missing == 3
    master.feed(0, ANSWER[2:3])
    assert master.missing == RESPONSE_BYTES - 3
    master.feed(0, ANSWER[3:])
    assert (master.missing, master.deadline_ns) == (0, 2**63 - 1)


def test_the_answer_stays_until_the_next_request(master):
    master.feed(0, ANSWER)
    master.feed(0, b"noise")
    assert master.pdu == ANSWER[1:-2]
    master.begin(0, REQUEST, RESPONSE_BYTES, TIMEOUT_NS)
    assert master.pdu == b""


def test_a_request_that_is_abandoned_leaves_nothing_to_the_next(master):
    master.feed(0, ANSWER[:10])
    assert transact(master, REQUEST, [ANSWER[10:]])[0] == TIMED_OUT


def test_reset_forgets_all_but_the_counters(master):
    master.feed(0, REQUEST + ANSWER[:10])
    master.reset()
    assert (master.outcome, master.missing, counted(master)) == (TIMED_OUT, 0, {"echoes": 1})
    write = bytes_of("[0106 0001 0003]")
    assert transact(master, write, [write])[0] == ANSWERED


@pytest.mark.parametrize(("framing", "size"), [(RTU, 3), (RTU, 257), (TCP, 7), (TCP, 261)])
def test_a_request_that_is_no_frame_is_refused(framing, size):
    with pytest.raises(ValueError, match=f"{size} bytes"):
        Master(framing).begin(0, bytes(size), 0, TIMEOUT_NS)
