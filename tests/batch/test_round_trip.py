"""Whatever samples say, what arrives is what was read: every bit, every sample, each tag's order."""

import json
import random
import struct
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agent._native.samples import Samples
from agent.batch import Batch, Encoder, SchemaBook, decode, mark_historical, merge
from agent.batch.record import RECORD, TEXT_LAST
from agent.cli.decode import sample_json
from agent.errors import FormatError
from agent.model import Gap, Group, Message, Quality, Tag, ValueType, WallClock

EPOCH = b"8 bytes!"
CLOCK = WallClock(1_763_000_000_000_000_123, 2, 7)
WIDE = 1 << 30  # bytes of message that no test fills
FORMATS = pytest.mark.parametrize("form", ["columns", "plain"])


class Seen(NamedTuple):
    """A sample as it must arrive."""

    t_us: int
    quality: int
    detail: int
    raw: int | bytes


def gateway_of(types: Sequence[ValueType], widths: Sequence[int]) -> tuple[list[Tag], list[Group]]:
    tags = [Tag(i, f"bus/dev/tag{i}", kind) for i, kind in enumerate(types)]
    groups, at = [], 0
    for number, width in enumerate(widths):
        groups.append(Group(number, f"bus/dev{number}", tuple(range(at, min(at + width, len(tags))))))
        at += width
    return tags, groups


def raw_values(kind: ValueType) -> st.SearchStrategy[int | bytes]:
    if kind == ValueType.TEXT:
        return st.binary(max_size=20)
    if kind == ValueType.F32:
        patterns = st.sampled_from([0x7F800001, 0x7FC00000, 0xFF800000, 0x80000000, 1])
        pretty = st.integers(-9999, 9999).map(lambda n: struct.unpack("<I", struct.pack("<f", n / 100))[0])
        return st.integers(0, (1 << 32) - 1) | patterns | pretty
    if kind == ValueType.F64:
        patterns = st.sampled_from([0x7FF0000000000001, 0x7FF8 << 48, 0xFFF0 << 48, 1 << 63, 1])
        pretty = st.integers(-9999, 9999).map(lambda n: struct.unpack("<Q", struct.pack("<d", n / 1000))[0])
        return st.integers(0, (1 << 64) - 1) | patterns | pretty
    return st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1, (1 << 63) - 1])


class Read(NamedTuple):
    """A sample as it was read."""

    tag: int
    time_ns: int
    quality: Quality
    code: int
    raw: int | bytes


@st.composite
def readings(draw: st.DrawFn) -> tuple[list[Tag], list[Group], list[Read]]:
    types = draw(st.lists(st.sampled_from(ValueType), min_size=1, max_size=8))
    tags, groups = gateway_of(types, draw(st.lists(st.integers(1, 4), max_size=4)))
    times = draw(st.lists(st.integers(-(10**15), 10**15) | st.sampled_from([0, 1, 999, 1000]), min_size=1, max_size=6))
    reads = []
    for _ in range(draw(st.integers(0, 40))):
        tag = draw(st.sampled_from(tags))
        quality = draw(st.sampled_from(Quality) | st.just(Quality.GOOD))
        raw = draw(raw_values(tag.type)) if quality.has_value else 0
        code = draw(st.integers(1, 255)) if quality == Quality.EXCEPTION else 0
        reads.append(Read(tag.number, draw(st.sampled_from(times)), quality, code, raw))
    return tags, groups, reads


def pack(tags: Sequence[Tag], groups: Sequence[Group], reads: Iterable[Read]) -> Samples:
    group_of = {number: group.number for group in groups for number in group.tags}
    packed = []
    for read in reads:
        text = read.raw if isinstance(read.raw, bytes) else None
        chunks = [text[i : i + 8] for i in range(0, len(text), 8)] or [b""] if text is not None else [b""]
        for i, chunk in enumerate(chunks):
            value = read.raw if text is None else struct.unpack("=Q", chunk.ljust(8, b"\0"))[0]
            last = TEXT_LAST if i == len(chunks) - 1 else 0
            detail = len(chunk) if text is not None else read.code
            part = i | last if tags[read.tag].type == ValueType.TEXT else 0
            fields = (read.tag, group_of.get(read.tag, 0), tags[read.tag].type, read.quality, detail, part)
            packed.append(RECORD.pack(read.time_ns, value, *fields))
    return Samples(b"".join(packed))


def wanted(tags: Sequence[Tag], reads: Iterable[Read], offset_ns: int = CLOCK.offset_ns) -> dict[str, list[Seen]]:
    by_tag = defaultdict(list)
    for read in reads:
        by_tag[tags[read.tag].name].append(Seen((read.time_ns + offset_ns) // 1000, read.quality, read.code, read.raw))
    return dict(by_tag)


def arrived(batches: Iterable[Batch]) -> dict[str, list[Seen]]:
    by_tag = defaultdict(list)
    labels = {quality.label: quality for quality in Quality}
    for batch in batches:
        for sample in batch.samples:
            by_tag[sample.tag].append(Seen(sample.t_us, labels[sample.q], sample.detail, sample.raw))
    return dict(by_tag)


def encoded(encoder: Encoder, samples: Samples, **more: object) -> list[Message]:
    options = {"first_seq": 0, "clock": CLOCK, "with_schemas": False} | more
    return encoder.encode(samples, **options)


@FORMATS
@settings(max_examples=300)
@given(reading=readings())
def test_every_bit_of_every_sample_arrives(form: str, reading: tuple[list[Tag], list[Group], list[Read]]) -> None:
    tags, groups, reads = reading
    encoder = Encoder("gw", EPOCH, tags, groups, form, WIDE)
    messages = encoded(encoder, pack(tags, groups, reads))
    book = SchemaBook(encoder.schemas().values())
    assert arrived(decode(message.payload, book) for message in messages) == wanted(tags, reads)
    assert len(messages) == bool(reads)


@FORMATS
def test_text_of_every_length_arrives(form: str) -> None:
    """Up to beyond 255 bytes: every number of pieces, and every width of a length."""
    tags, groups = gateway_of([ValueType.TEXT, ValueType.TEXT], [2])
    encoder = Encoder("gw", EPOCH, tags, groups, form, WIDE)
    noise = random.Random(2)
    lengths = [*range(270), 16_383, 16_384, 65_535, 65_536]
    reads = [Read(i % 2, i // 2, Quality.GOOD, 0, noise.randbytes(n)) for i, n in enumerate(lengths)]
    (message,) = encoded(encoder, pack(tags, groups, reads))
    assert arrived([decode(message.payload, SchemaBook(encoder.schemas().values()))]) == wanted(tags, reads)


# (not shrunk: every step would start a process; the tests above shrink)
@FORMATS
@settings(max_examples=25, phases=[Phase.generate])
@given(reading=readings())
def test_the_readers_in_docs_read_what_fieldtap_reads(
    decoder: list[str], form: str, reading: tuple[list[Tag], list[Group], list[Read]]
) -> None:
    """Not only the golden files: whatever may be written."""
    tags, groups, reads = reading
    encoder = Encoder("gw", EPOCH, tags, groups, form, WIDE)
    book = SchemaBook(encoder.schemas().values())
    messages = encoded(encoder, pack(tags, groups, reads), with_schemas=True)
    samples = [sample for message in messages for sample in decode(message.payload, book).samples]
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder, str(message.key.seq)) for message in messages]
        for name, message in zip(names, messages, strict=True):
            name.write_bytes(message.payload)
        output = subprocess.run([*decoder, *names], check=True, capture_output=True, encoding="utf-8").stdout
    lines = [json.loads(line, parse_int=float) for line in output.split("\n")[:-1]]  # text may hold other line ends
    assert lines == [json.loads(sample_json(sample, historical=False), parse_int=float) for sample in samples]


@FORMATS
@settings(max_examples=150)
@given(reading=readings(), most=st.integers(40, 400))
def test_splitting_loses_and_reorders_nothing(
    form: str, reading: tuple[list[Tag], list[Group], list[Read]], most: int
) -> None:
    tags, groups, reads = reading
    encoder = Encoder("gw", EPOCH, tags, groups, form, most)
    samples = pack(tags, groups, reads)
    messages = encoded(encoder, samples, first_seq=41)
    batches = [decode(message.payload, SchemaBook(encoder.schemas().values())) for message in messages]
    assert [message.key.seq for message in messages] == [41 + i for i in range(len(messages))]
    assert [batch.seq for batch in batches] == [message.key.seq for message in messages]
    assert sum(message.samples for message in messages) == len(reads), "a text is one sample"
    assert arrived(batches) == wanted(tags, reads)
    group_of = {tags[number].name: group.number for group in groups for number in group.tags}
    for message, batch in zip(messages, batches, strict=True):
        assert message.samples == sum(1 for _ in batch.samples)
        rows = {(sample.t_us, group_of.get(sample.tag, 0)) for sample in batch.samples}
        assert len(message.payload) <= most or len(rows) == 1


@FORMATS
@settings(max_examples=100)
@given(reading=readings(), cuts=st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_merged_fragments_say_what_the_whole_says(
    form: str, reading: tuple[list[Tag], list[Group], list[Read]], cuts: list[int]
) -> None:
    tags, groups, reads = reading
    encoder = Encoder("gw", EPOCH, tags, groups, form, WIDE)
    edges = [0, *sorted(min(cut, len(reads)) for cut in cuts), len(reads)]
    parts = [pack(tags, groups, reads[a:b]) for a, b in pairwise(edges) if a < b]
    fragments = [message.payload for part in parts for message in encoded(encoder, part, first_seq=9)]
    if not fragments:
        return
    book = SchemaBook(encoder.schemas().values())
    merged = decode(merge(fragments, book), book)
    assert (merged.gateway, merged.epoch, merged.seq, merged.plain) == ("gw", EPOCH, 9, form == "plain")
    assert arrived([merged]) == wanted(tags, reads)


def test_a_schema_of_a_newer_version_does_not_keep_others_from_being_read() -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    known = Encoder("gw", EPOCH, tags, groups, "columns", WIDE).schemas()
    assert SchemaBook.of_readable([b"\x92\x02\x90", *known.values()]).keys() == known.keys()


@FORMATS
def test_a_wall_clock_that_steps_back_by_hours_between_fragments_costs_no_sample(form: str) -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    encoder = Encoder("gw", EPOCH, tags, groups, form, WIDE)
    reads = [Read(0, second * 10**9, Quality.GOOD, 0, second) for second in range(4)]
    stepped = CLOCK._replace(offset_ns=CLOCK.offset_ns - 3 * 3600 * 10**9)
    before = encoded(encoder, pack(tags, groups, reads[:2]))[0]
    after = encoded(encoder, pack(tags, groups, reads[2:]), clock=stepped)[0]
    book = SchemaBook(encoder.schemas().values())
    merged = decode(merge([before.payload, after.payload], book), book)
    told = wanted(tags, reads[:2])["bus/dev/tag0"] + wanted(tags, reads[2:], stepped.offset_ns)["bus/dev/tag0"]
    assert arrived([merged]) == {"bus/dev/tag0": told}


def test_merging_keeps_gaps_schemas_flags_and_the_worse_clock() -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    encoder = Encoder("gw", EPOCH, tags, groups, "columns", WIDE)
    gap = Gap(EPOCH, 1, 2, 30, "restart")
    good, bad = WallClock(0, 2, 5), WallClock(0, 1, 900)
    one = pack(tags, groups, [Read(0, 1000, Quality.GOOD, 0, 1)])
    first = encoded(encoder, one, clock=good, gaps=[gap], with_schemas=True)[0].payload
    second = encoded(encoder, one, clock=bad, gaps=[gap], historical=True)[0].payload
    merged = decode(merge([first, second], SchemaBook()), SchemaBook())
    assert merged.gaps == (gap,)
    assert merged.historical
    assert merged.clock == bad
    assert len(list(merged.samples)) == 2


def test_fragments_of_different_batches_are_not_merged() -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    encoder = Encoder("gw", EPOCH, tags, groups, "columns", WIDE)
    one = pack(tags, groups, [Read(0, 1000, Quality.GOOD, 0, 1)])
    parts = [encoded(encoder, one, first_seq=seq)[0].payload for seq in (1, 2)]
    with pytest.raises(ValueError, match="fragments of 2 batches"):
        merge(parts, SchemaBook(encoder.schemas().values()))


@FORMATS
def test_marking_historical_changes_one_bit(form: str) -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    encoder = Encoder("a gateway with a long name, longer than thirty-one bytes", EPOCH, tags, groups, form, WIDE)
    one = pack(tags, groups, [Read(0, 1000, Quality.GOOD, 0, 1)])
    payload = encoded(encoder, one, first_seq=70_000)[0].payload
    marked = mark_historical(payload)
    assert decode(marked, SchemaBook(encoder.schemas().values())).historical
    assert sum(a != b for a, b in zip(payload, marked, strict=True)) == 1
    assert mark_historical(marked) == marked
    assert encoded(encoder, one, first_seq=70_000, historical=True)[0].payload == marked


@FORMATS
def test_the_first_message_alone_carries_gaps_and_schemas(form: str) -> None:
    tags, groups = gateway_of([ValueType.U64] * 4, [4])
    encoder = Encoder("gw", EPOCH, tags, groups, form, 600)
    noise = random.Random(1)
    reads = [Read(n, t * 10**9, Quality.GOOD, 0, noise.getrandbits(64)) for t in range(60) for n in range(4)]
    gap = Gap(bytes(8), 3, 9, 77, "evicted")
    messages = encoded(encoder, pack(tags, groups, reads), gaps=[gap], with_schemas=True)
    assert len(messages) > 2
    book = SchemaBook()
    batches = [decode(message.payload, book) for message in messages]
    assert [batch.gaps for batch in batches] == [(gap,), *[()] * (len(batches) - 1)]
    with pytest.raises(FormatError, match="is nowhere"):
        decode(messages[1].payload, SchemaBook())


@FORMATS
def test_times_before_1970_are_rounded_down_like_all_others(form: str) -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    encoder = Encoder("gw", EPOCH, tags, groups, form, WIDE)
    reads = [Read(0, time_ns, Quality.GOOD, 0, 1) for time_ns in (-1_999_999_999_001, -1, 1, -1000)]
    message = encoded(encoder, pack(tags, groups, reads), clock=WallClock(0, 0, 0))[0]
    batch = decode(message.payload, SchemaBook(encoder.schemas().values()))
    assert [sample.t_us for sample in batch.samples] == [-2_000_000_000, -1, 0, -1]


def test_nothing_to_tell_gives_no_message() -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    assert encoded(Encoder("gw", EPOCH, tags, groups, "columns", WIDE), Samples()) == []


@pytest.mark.parametrize(
    ("tag", "kind", "words"),
    [(1, ValueType.U16, "tag 1, which is not in the tag table"), (0, ValueType.F32, "tag 0 is of type 7")],
)
def test_samples_that_are_not_of_this_gateway_are_refused(tag: int, kind: ValueType, words: str) -> None:
    tags, groups = gateway_of([ValueType.U16], [1])
    encoder = Encoder("gw", EPOCH, tags, groups, "columns", WIDE)
    with pytest.raises(ValueError, match=words):
        encoded(encoder, Samples(RECORD.pack(0, 0, tag, 0, kind, 0, 0, 0)))


def test_more_cells_than_a_body_may_have_become_several_messages() -> None:
    """A row for every sample of a wide group: cells that nobody has are counted too."""
    tags, groups = gateway_of([ValueType.U16] * 1000, [1000])
    encoder = Encoder("gw", EPOCH, tags, groups, "columns", WIDE)
    reads = [Read(i % 1000, i * 1000, Quality.GOOD, 0, i) for i in range(2500)]
    messages = encoded(encoder, pack(tags, groups, reads))
    assert len(messages) >= 3
    batches = [decode(message.payload, SchemaBook(encoder.schemas().values())) for message in messages]
    assert arrived(batches) == wanted(tags, reads)


def test_many_groups_share_few_schemas() -> None:
    tags, groups = gateway_of([ValueType.U16] * 2000, [10] * 200)
    encoder = Encoder("gw", EPOCH, tags, groups, "columns", WIDE)
    schemas = encoder.schemas()
    assert 1 < len(schemas) < 10
    assert max(map(len, schemas.values())) < 20_000
    reads = [Read(n, 1000, Quality.GOOD, 0, n) for n in (5, 1999, 1000)]
    batch = decode(encoded(encoder, pack(tags, groups, reads))[0].payload, SchemaBook(schemas.values()))
    assert arrived([batch]) == wanted(tags, reads)
    assert len(batch.schemas) == 3


@pytest.mark.parametrize("case", ["types", "extremes", "texts", "noise", "qualities"])
@FORMATS
def test_native_records_come_back_as_they_went(make: ModuleType, case: str, form: str) -> None:
    """Not through Python's idea of a sample: the 32 bytes themselves."""
    one = next(made() for made in make.CASES if made().name == case)
    schemas, data = make.encode(one, form)
    batch = decode(data, SchemaBook(schemas))
    shift = make.CLOCK.offset_ns
    sent = [(t + shift, *rest) for t, *rest in RECORD.iter_unpack(make.records(one))]
    assert sorted(RECORD.iter_unpack(batch.records)) == sorted(sent)
