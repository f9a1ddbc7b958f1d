"""Version 1 stays version 1: the golden files, read by fieldtap and by the decoders in docs, and written again."""

import json
import math
import subprocess
import zlib
from pathlib import Path
from types import ModuleType

import msgpack
import pytest

from agent.batch import SchemaBook, decode
from agent.cli.decode import sample_json

DECODERS = Path(__file__).parents[2] / "docs" / "decoders"
MOST_LINES = 100  # the contract: a reader of batches is a page


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def by_tag(lines: list[dict]) -> list[dict]:
    """Tags in the order of their names, each tag's samples as they came: what a batch promises to keep."""
    return sorted(lines, key=lambda line: line["tag"])


def signs(lines: list[dict]) -> list[float | None]:
    """-0.0 equals 0.0, so their signs are looked at apart."""
    return [math.copysign(1, line["v"]) if isinstance(line["v"], float) else None for line in lines]


def test_every_case_has_its_golden_files(make: ModuleType) -> None:
    wanted = {f"{case().name}.{form}.json" for case in make.CASES for form in make.FORMATS}
    assert {path.name for path in make.HERE.glob("*.json")} == wanted


def test_fieldtap_reads_golden_files(golden_path: Path) -> None:
    golden = load(golden_path)
    book = SchemaBook(bytes.fromhex(schema) for schema in golden["schemas"])
    batch = decode(bytes.fromhex(golden["data"]), book)
    lines = by_tag([json.loads(sample_json(sample, historical=batch.historical)) for sample in batch.samples])
    assert lines == golden["lines"]
    assert signs(lines) == signs(golden["lines"])
    assert [[gap.epoch.hex(), *gap[1:]] for gap in batch.gaps] == golden["gaps"]


def inflated(message: bytes) -> list:
    *head, body = msgpack.unpackb(message)
    return [*head, zlib.decompress(body) if head[6] else body]


def test_golden_messages_are_still_written(golden_path: Path, make: ModuleType) -> None:
    golden = load(golden_path)
    name, form, _ = golden_path.name.split(".")
    case = next(case() for case in make.CASES if case().name == name)
    again = make.golden(case, form)
    assert again["schemas"] == golden["schemas"]
    assert again["lines"] == golden["lines"]
    if name != "future":  # made from another one with another compressor
        assert repr(inflated(bytes.fromhex(again["data"]))) == repr(inflated(bytes.fromhex(golden["data"])))


def test_decoders_in_docs_read_golden_files(golden_path: Path, decoder: list[str], tmp_path: Path) -> None:
    golden = load(golden_path)
    names = []
    for i, payload in enumerate([golden["data"], *golden["schemas"]]):
        names.append(tmp_path / str(i))
        names[-1].write_bytes(bytes.fromhex(payload))
    output = subprocess.run([*decoder, *names], check=True, capture_output=True, encoding="utf-8").stdout
    lines = by_tag([json.loads(line) for line in output.splitlines()])
    for line, wanted in zip(lines, golden["lines"], strict=True):
        if isinstance(wanted["v"], float):
            line["v"] = float(line["v"])  # JavaScript and Go write large floats without a point
    assert lines == golden["lines"]


@pytest.mark.parametrize("path", sorted(DECODERS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_decoders_in_docs_fit_a_page(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES
