"""The master's transaction in virtual time: scripted lines, recorded frames, and any bytes in any chunks."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent._native import codec
from agent._native.codec import ANSWERED, EXCEPTION, PENDING, RTU, TCP, TIMED_OUT, Master

HERE = Path(__file__).parent
CASES = json.loads((HERE / "data" / "master_cases.json").read_text())["cases"]
VECTORS = json.loads((HERE.parent / "vectors" / "serial_frames.json").read_text())["vectors"]
CHAR_NS = 1_000_000  # 10 bits at about 9600 baud
TIMEOUT_NS = 100_000_000
CHUNK_NS = 50_000_000  # FT_CHUNK_NS


def with_crc(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return data + crc.to_bytes(2, "little")


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
