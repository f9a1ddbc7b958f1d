"""Bytes from anywhere: the readers say what is wrong and where, and touch nothing else (see also make asan)."""

import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent._native.columns import Layout, message_end, read_envelope, read_head, read_samples, split
from agent._native.samples import Samples
from agent.batch import SchemaBook, decode
from agent.batch.message import MAX_BODY_BYTES
from agent.batch.record import RECORD
from agent.batch.schema import read_schema
from agent.errors import FormatError

GOLDEN = sorted((Path(__file__).parents[1] / "batch" / "golden").glob("*.json"))
EPOCH = bytes(8)
FLIPS = 200  # damaged copies of each golden message, of body and of envelope
MOST_PLACES = 120  # items of a message that are replaced: the values of long columns are alike


def golden(path: Path) -> tuple[bytes, SchemaBook]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return bytes.fromhex(content["data"]), SchemaBook(bytes.fromhex(schema) for schema in content["schemas"])


def read_all(message: bytes, book: SchemaBook) -> None:
    """Decode to the last sample; only FormatError may come out."""
    try:
        for sample in decode(message, book).samples:
            assert sample.tag
    except FormatError as error:
        assert str(error)  # noqa: PT017


def damaged(data: bytes, rng: random.Random) -> bytes:
    copy = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(copy) or 1)
        match rng.randrange(4):
            case 0:
                copy[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del copy[at : at + rng.randint(1, 9)]
            case 2:
                copy[at:at] = rng.randbytes(rng.randint(1, 9))
            case _:
                copy[at : at + 1] = bytes([rng.choice((0x00, 0x7F, 0x80, 0xC0, 0xC6, 0xDD, 0xFF))])
    return bytes(copy)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_damaged_envelopes_are_refused_or_read(path: Path) -> None:
    data, book = golden(path)
    rng = random.Random(path.stem)
    for _ in range(FLIPS):
        read_all(damaged(data, rng), book)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_damaged_bodies_are_refused_or_read(path: Path) -> None:
    """Damage that zlib's checksum would hide from the reader of columns."""
    data, book = golden(path)
    *head, body = msgpack.unpackb(data)[:8]
    plain = zlib.decompress(body) if head[6] else msgpack.packb(body, use_single_float=True)
    rng = random.Random(path.stem)
    for _ in range(FLIPS):
        bad = damaged(plain, rng)
        head[6] = 1
        read_all(msgpack.packb([*head, zlib.compress(bad, 1)]), book)


WRONG = [None, 0, 1, -1, 2**20, 2**32 - 1, 2**63, 2**64 - 1, -(2**63), 1.5, "", b"", b"\xff" * 9, [], [[]], [0, 0, 0]]


def places(tree: object, here: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Where something stands in nested lists."""
    yield here
    if isinstance(tree, list):
        for i, item in enumerate(tree):
            yield from places(item, (*here, i))


def replaced(tree: object, place: tuple[int, ...], by: object) -> object:
    if not place:
        return by
    assert isinstance(tree, list)
    return [replaced(item, place[1:], by) if i == place[0] else item for i, item in enumerate(tree)]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_messages_with_any_one_item_wrong_are_refused_or_read(path: Path) -> None:
    """Whole as msgpack, so that every check behind it is reached: each item in turn, by each wrong one."""
    data, book = golden(path)
    *head, body = msgpack.unpackb(data)[:8]
    head[6], tree = 0, msgpack.unpackb(zlib.decompress(body)) if head[6] else body
    message = [*head, tree]
    for place in list(places(message))[1:MOST_PLACES]:
        for by in WRONG:
            read_all(msgpack.packb(replaced(message, place, by), use_single_float=True), book)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_truncation_is_refused(path: Path) -> None:
    data, book = golden(path)
    for n in range(len(data)):
        with pytest.raises(FormatError, match=r"byte \d+"):
            decode(data[:n], book)


@settings(max_examples=500)
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"\xdd\xff\xff\xff\xff" * 3)
@example(data=b"\x98\x01" + b"\xdb\xff\xff\xff\xff")
def test_arbitrary_bytes_are_refused_or_read(data: bytes) -> None:
    read_all(data, SchemaBook())
    for read in (read_head, read_schema, message_end, read_envelope):
        try:
            read(data)
        except FormatError as error:
            assert str(error)  # noqa: PT017


def items(depth: int = 3) -> st.SearchStrategy[object]:
    leaves = st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=24) | st.floats() | st.text(max_size=5)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=6), max_leaves=6 * depth)


@settings(max_examples=500)
@given(body=st.lists(items(), max_size=12), cut=st.integers(0, 9), groups=st.lists(items(), max_size=5))
def test_well_formed_bodies_of_nonsense_are_refused_or_read(body: list[object], cut: int, groups: list[object]) -> None:
    """As valid up to the groups as it gets, so that the readers behind are reached."""
    _, book = golden(GOLDEN[-1])
    key = next(iter(book.keys()))
    made = [b"\x00" * 8, b"", 0, key, groups, *body][: 5 + cut]
    read_all(msgpack.packb([1, "gw", EPOCH, 0, 0, [0, 0], 0, made]), book)


def message(body: object, **changes: object) -> bytes:
    fields = {"version": 1, "gateway": "gw", "epoch": EPOCH, "seq": 0, "flags": 0, "clock": [0, 0], "codec": 0}
    return msgpack.packb([*(fields | changes).values(), body])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "byte 1: is of a version that this reader does not know"),
        ({"gateway": 7}, "byte 2: the gateway is not a string"),
        ({"epoch": b"short"}, "byte 5: the epoch is not 8 bytes"),
        ({"seq": -1}, "byte 15: the seq is not a count"),
        ({"flags": 128}, "byte 16: the flags are not a number below 128"),
        ({"clock": 0}, r"byte 17: the clock is not \[source, error_ms\]"),
        ({"codec": 2}, r"byte 20: the codec is neither 0 \(none\) nor 1 \(zlib\)"),
        ({"codec": 1}, "byte 21: the compressed body is not a bin"),
    ],
)
def test_what_is_wrong_with_an_envelope_is_said(changes: dict[str, object], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        decode(message([None, None, 0, b"", []], **changes), SchemaBook())


COLUMN = ["tag", 1, 1.0, 0.0, ""]
FLOAT = ["tag", 7, 1.0, 0.0, ""]
BODIES = [
    ([None, None, 0, b""], "the body is not an array of 5 or more"),
    ([b"123", None, 0, b"", []], "float planes are of unequal length"),
    ([None, None, "0", b"", []], "the base time is not an integer"),
    ([None, None, 0, b"1234567", []], "the hashes are not of 8 bytes each"),
    ([None, None, 0, bytes(8 * 4097), []], "names more than 4096 schemas"),
    ([None, None, 0, b"", 0], "the groups are not an array"),
    ([None, None, 0, b"", [], 5], "the heads are not a bin"),
    ([None, None, 0, "KEY", [[3, 1, None, None]], b"\0"], "a group's number is beyond its schemas"),
    ([b"1234", None, 0, "KEY", [[2, 2, None, None]], b"\0\0\0"], "has fewer floats than its groups say"),
    ([b"1234", None, 0, "KEY", [[2, 1, None, None]], b"\6\0\0"], "a mode is not one that this reader knows"),
    ([None, None, 0, "KEY", [0], b"\0"], "a group has no rows"),
    ([None, None, 0, "KEY", [[1, 1 << 20, None, None]], b"\0"], "has more cells than a body may have"),
    ([None, None, 0, "KEY", [2], b"\0"], "a stream ends too early"),
    ([None, None, 0, "KEY", [1], b"\0"], "a stream ends too early"),
    ([None, None, 0, "KEY", [1], b"\x80" * 11], "a varint is longer than 64 bits"),
    ([None, None, 0, "KEY", [[0, 1, b"12", None]], b"\0"], "the map of cells is not of a bit per cell"),
    ([None, None, 0, "KEY", [[0, 1, None, [0, 0]]], b"\0"], "the qualities are not in threes"),
    ([None, None, 0, "KEY", [[0, 1, None, [7, 0, 1]]], b"\0"], "a quality is not one that this reader knows"),
    ([None, None, 0, "KEY", [[0, 1, None, [0, 0, 9]]], b"\0"], "has more qualities than cells"),
    ([None, None, 0, "KEY", [[0, 1, None, [0, 0, 0]]], b"\0"], "has fewer qualities than cells"),
    ([None, None, 1 << 44, "KEY", [1], b"\0\0"], "the base time is beyond what nanoseconds can say"),
    ([None, None, 0, "KEY", [1], b"\xff" * 8 + b"\x7f\0"], "a row's time is beyond what nanoseconds can say"),
    ([None, None, 0, "KEY", [[0, 2, None, None, [0], [[]]]]], "has fewer times than rows"),
    ([None, None, 0, "KEY", [[0, 1, None, None, [0], []]]], "has not as many columns as its schema"),
    ([None, None, 0, "KEY", [[0, 1, None, None, [0], [[1, 2]]]]], "a column is not an array of as many values"),
    ([None, None, 0, "KEY", [[0, 1, None, None, [0], [[1.5]]]]], "a value is not of its column's type"),
    ([None, None, 0, "KEYKEY", []], "names a schema twice"),
    ([None, None, 0, b"", [], None, None, None, [1], []], "gaps or schemas: "),
]


@pytest.mark.parametrize(("body", "words"), BODIES, ids=[words for _, words in BODIES])
def test_what_is_wrong_with_a_body_is_said(body: list[object], words: str) -> None:
    book = SchemaBook()
    key = book.add(msgpack.packb([1, [["dev", [COLUMN]], ["wide", [COLUMN, COLUMN]], ["float", [FLOAT]]]]))
    filled = [key * (len(item) // 3) if isinstance(item, str) and item.startswith("KEY") else item for item in body]
    with pytest.raises(FormatError, match=words):
        decode(message(filled), book)


def test_a_body_that_inflates_beyond_its_bound_is_refused() -> None:
    bomb = zlib.compress(bytes(MAX_BODY_BYTES + 1), 9)
    with pytest.raises(FormatError, match="larger than"):
        decode(message(bomb, codec=1), SchemaBook())


def test_deep_nesting_exhausts_nothing() -> None:
    deep = b"\x91" * 5_000_000
    with pytest.raises(FormatError, match="ends in the middle"):
        message_end(deep)
    assert message_end(deep + b"\xc0") == len(deep) + 1


@pytest.mark.parametrize(
    ("tags", "tables", "types"),
    [
        (b"", (1, 3, 0, 0, 0), b"\0\0\0"),
        (b"", (0, 3, 1, 0, 0), b"\0\0\0"),
        (b"", (0, 3, 0, 1, 0), b"\0\0\0"),
        (b"", (0, 3, 0, 0, 0), b"\0\0\x0d"),
        ((1, 0, 0), (0, 3, 0, 0, 0), b"\0\0\0"),
        ((0, 3, 0), (0, 3, 0, 0, 0), b"\0\0\0"),
    ],
)
def test_layouts_that_point_nowhere_are_refused(tags: tuple[int, ...], tables: tuple[int, ...], types: bytes) -> None:
    def packed(numbers: tuple[int, ...] | bytes) -> bytes:
        return b"".join(number.to_bytes(4, "little") for number in numbers)

    with pytest.raises(ValueError, match=r"layout|table|type"):
        Layout(packed(tags), types, packed(tables), bytes(8), packed((1,)))


def test_ranges_outside_the_samples_are_refused() -> None:
    samples = Samples(RECORD.pack(0, 0, 0, 0, 1, 0, 0, 0) * 3)
    layout = Layout(bytes(12), b"\1", packed_table(), bytes(8), (1).to_bytes(4, "little"))
    for start, stop in ((-1, 2), (2, 1), (0, 4)):
        with pytest.raises(ValueError, match=r"are not there"):
            layout.encode(samples, start, stop, 0, False, b"")
        with pytest.raises(ValueError, match=r"are not there|is not between"):
            split(samples, start, stop, 1)
    with pytest.raises(FormatError):
        read_samples(b"", layout, Samples())


def test_samples_across_the_alignment_of_their_fields_are_refused() -> None:
    layout = Layout(bytes(12), b"\1", packed_table(), bytes(8), (1).to_bytes(4, "little"))
    shifted = memoryview(bytes(1) + RECORD.pack(0, 0, 0, 0, 1, 0, 0, 0))[1:]
    with pytest.raises(ValueError, match="multiple of 8 bytes"):
        layout.encode(shifted, 0, 1, 0, False, b"")


def packed_table() -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in (0, 1, 0, 0, 0))
