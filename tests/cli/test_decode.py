"""fieldtap decode: files of payloads in, JSON lines out; what cannot be read is named and costs the rest nothing."""

import io
import json
import struct
import sys
from pathlib import Path

import msgpack
import pytest

from agent._native.samples import Samples
from agent.batch import Encoder
from agent.batch.record import RECORD
from agent.cli import main
from agent.errors import ExitCode
from agent.model import Gap, Group, Quality, Tag, ValueType, WallClock

EPOCH = bytes.fromhex("9f3c5a7e01d2b846")
TAGS = (
    Tag(0, "rs485/pump/pressure", ValueType.F32, unit="bar"),
    Tag(1, "rs485/pump/starts", ValueType.U64),
)
T_NS = 1_763_769_600_123_456_000


def batch(seq: int, *, with_schemas: bool = False, cells: tuple[tuple[int, int, Quality, int], ...] = ()) -> bytes:
    cells = cells or ((0, struct.unpack("<I", struct.pack("<f", 3.25))[0], Quality.GOOD, 0),)
    records = b"".join(
        RECORD.pack(T_NS, raw, tag, 0, TAGS[tag].type, quality, code, 0) for tag, raw, quality, code in cells
    )
    return (
        encoder()
        .encode(Samples(records), first_seq=seq, clock=WallClock(0, 2, 1), with_schemas=with_schemas)[0]
        .payload
    )


def encoder() -> Encoder:
    return Encoder("plant7", EPOCH, TAGS, (Group(0, "rs485/pump", (0, 1)),), "columns", 100_000)


def schema() -> bytes:
    return next(iter(encoder().schemas().values()))


@pytest.fixture
def files(tmp_path: Path) -> "Files":
    return Files(tmp_path)


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, **payloads: bytes) -> list[str]:
        for name, payload in payloads.items():
            (self.folder / name).write_bytes(payload)
        return [str(self.folder / name) for name in payloads]


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_sample_is_the_line_of_the_contract(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", *files(s=schema(), d=batch(812))]) == ExitCode.OK
    assert capsys.readouterr().out == (
        '{"gateway":"plant7","tag":"rs485/pump/pressure","t":1763769600.123456,"v":3.25,"q":"good","unit":"bar",'
        '"seq":812,"epoch":"9f3c5a7e01d2b846"}\n'
    )


def test_payloads_come_in_any_order(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", *files(d1=batch(1), s=schema(), d2=batch(2))]) == ExitCode.OK
    assert sorted(line["seq"] for line in lines(capsys.readouterr().out)) == [1, 2]


def test_a_schema_in_band_serves_batches_before_and_after_it(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", *files(a=batch(1), b=batch(2, with_schemas=True), c=batch(3))]) == ExitCode.OK
    assert sorted(line["seq"] for line in lines(capsys.readouterr().out)) == [1, 2, 3]


def test_a_batch_whose_schema_is_nowhere_is_named_and_the_rest_decoded(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Encoder("plant8", EPOCH, (Tag(0, "x", ValueType.U16),), (), "columns", 1000)
    lost = other.encode(
        Samples(RECORD.pack(T_NS, 1, 0, 0, 1, 0, 0, 0)), first_seq=5, clock=WallClock(0, 0, 0), with_schemas=False
    )[0].payload
    names = files(lost=lost, s=schema(), d=batch(2))
    assert main(["decode", *names]) == ExitCode.FAILURE
    output = capsys.readouterr()
    assert [line["seq"] for line in lines(output.out)] == [2]
    key = next(iter(other.schemas())).hex()
    said = f"{names[0]}: message at byte 0: batch 5 of plant8 epoch {EPOCH.hex()}: schema {key} is nowhere\n"
    assert output.err == said


def test_damage_is_named_with_file_offset_and_reason(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    good = batch(1)
    names = files(s=schema(), cut=good[:-3], flipped=good[:-2] + b"??", foreign=b"\x93\x01\x02\x03", d=batch(2))
    assert main(["decode", *names]) == ExitCode.FAILURE
    output = capsys.readouterr()
    assert [line["seq"] for line in lines(output.out)] == [2]
    cut, flipped, foreign = output.err.splitlines()
    assert cut.startswith(f"{names[1]}: message at byte 0: byte ")
    assert "is longer than the bytes that are left" in cut
    assert flipped.startswith(f"{names[2]}: message at byte 0: byte ")
    assert "the body does not inflate" in flipped
    assert foreign == f"{names[3]}: message at byte 0: byte 0: is not a batch: no msgpack array of 8"


def test_an_empty_file_is_damage(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", *files(empty=b"")]) == ExitCode.FAILURE
    assert capsys.readouterr().err.endswith("empty: is empty\n")


def test_a_file_that_is_something_else_is_told_in_few_lines(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    names = files(text=b"schema = 1\n" * 100, s=schema(), d=batch(2), cut=b"\x98")
    assert main(["decode", *names]) == ExitCode.FAILURE
    output = capsys.readouterr()
    assert [line["seq"] for line in lines(output.out)] == [2]
    *told, more, cut = output.err.splitlines()
    assert len(told) == 5
    assert more == f"{names[0]}: 1095 more of its messages cannot be read"
    assert cut.startswith(f"{names[3]}: message at byte 0: ")


@pytest.mark.parametrize("words", [["decode"], ["decode", "-"], ["decode", "--json", "-"]])
def test_standard_input_is_a_concatenation_of_messages(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(batch(1) + schema() + batch(2) + batch(3)))
    monkeypatch.setattr(sys, "stdin", stream)
    assert main(words) == ExitCode.OK
    assert sorted(line["seq"] for line in lines(capsys.readouterr().out)) == [1, 2, 3]


def test_damage_in_a_concatenation_is_placed(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    first = schema() + batch(1)
    names = files(all=first + msgpack.packb([2, "gw", 0, 0, 0, 0, 0, 0]) + batch(3))
    assert main(["decode", *names]) == ExitCode.FAILURE
    output = capsys.readouterr()
    assert [line["seq"] for line in lines(output.out)] == [1, 3]
    assert f"message at byte {len(first)}: byte 1: is of a version" in output.err


def test_what_json_cannot_say_keeps_its_bits(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    cells = (
        (0, 0x7FA00001, Quality.GOOD, 0),
        (1, (1 << 64) - 1, Quality.GOOD, 0),
        (0, 0xFF800000, Quality.SUBSTITUTED, 0),
        (0, 0, Quality.EXCEPTION, 2),
        (0, 0, Quality.COMM_FAIL, 0),
    )
    assert main(["decode", *files(s=schema(), d=batch(1, cells=cells))]) == ExitCode.OK
    told = [{key: line.get(key) for key in ("v", "q", "bits", "code")} for line in lines(capsys.readouterr().out)]
    assert told == [
        {"v": None, "q": "good", "bits": "7fa00001", "code": None},
        {"v": (1 << 64) - 1, "q": "good", "bits": None, "code": None},
        {"v": None, "q": "substituted", "bits": "ff800000", "code": None},
        {"v": None, "q": "exception", "bits": None, "code": 2},
        {"v": None, "q": "comm-fail", "bits": None, "code": None},
    ]


def test_gaps_and_the_historical_flag_are_shown(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    gaps = [Gap(bytes(8), 3, 9, 77, "evicted"), Gap(EPOCH, 5, 4, 0, "restart")]
    payload = (
        encoder()
        .encode(
            Samples(RECORD.pack(T_NS, 1, 1, 0, ValueType.U64, 0, 0, 0)),
            first_seq=1,
            clock=WallClock(0, 2, 1),
            with_schemas=True,
            gaps=gaps,
            historical=True,
        )[0]
        .payload
    )
    assert main(["decode", *files(d=payload)]) == ExitCode.OK
    output = capsys.readouterr()
    assert [line["historical"] for line in lines(output.out)] == [True]
    assert output.err.splitlines() == [
        "gap: plant7 epoch 0000000000000000: batches 3 to 9, 77 samples lost: evicted",
        f"gap: plant7 epoch {EPOCH.hex()}: no whole batch, an unknown number of samples lost: restart",
    ]


def test_a_file_that_is_not_there_is_an_io_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", str(tmp_path / "nowhere")]) == ExitCode.IO_ERROR
    assert "nowhere" in capsys.readouterr().err
