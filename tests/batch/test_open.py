"""When a batch closes, when a fragment is saved, and that neither loses a sample; in virtual time."""

import pytest

from agent._native.samples import Samples
from agent.batch import Encoder, OpenBatch, SchemaBook, decode
from agent.batch.open import SAMPLES_MAX, SCHEMA_REPEAT_NS
from agent.batch.record import RECORD
from agent.model import NS_PER_S, Gap, Group, Tag, ValueType, WallClock

TAGS = [Tag(0, "b/d/t", ValueType.U16)]
CLOCK = WallClock(1_700_000_000 * NS_PER_S, 2, 1)
EPOCH = b"epoch-01"


def open_batch(*, batch_s=10.0, loss_window_s=2.0, max_message_bytes=100_000):
    encoder = Encoder("gw", EPOCH, TAGS, [Group(0, "b/d", (0,))], "columns", max_message_bytes)
    return OpenBatch(encoder, batch_s, loss_window_s, 0)


def seconds(value):
    return int(value * NS_PER_S)


def samples(*times_s):
    rows = [RECORD.pack(seconds(t), int(t * t * 7919) % 65536, 0, 0, ValueType.U16, 0, 0, 0) for t in times_s]
    return Samples(b"".join(rows))


def times_s(open_one, messages):
    book = SchemaBook(open_one.encoder.schemas().values())
    return [
        sample.t_us / 1e6 - CLOCK.offset_ns / 1e9
        for message in messages
        for sample in decode(message.payload, book).samples
    ]


def test_a_batch_is_due_so_long_after_the_drain_before_its_first_sample():
    batch = open_batch(batch_s=10, loss_window_s=60)
    batch.add(samples(), seconds(5))
    batch.add(samples(6), seconds(8))
    assert not batch.is_due(seconds(14.9))
    assert batch.next_drain_ns() == seconds(15)
    assert batch.is_due(seconds(15))


def test_nothing_is_due_of_an_empty_batch():
    batch = open_batch(batch_s=1)
    assert not batch.is_due(seconds(100))
    assert not batch.needs_saving(seconds(100))


def test_the_loss_window_asks_for_a_fragment_before_it_is_over():
    batch = open_batch(batch_s=10, loss_window_s=2)
    batch.add(samples(0.1), seconds(1))
    due = batch.next_drain_ns()
    assert seconds(1) < due < seconds(2)
    assert batch.needs_saving(due)
    fragment = batch.fragment(CLOCK)
    assert fragment.key == (EPOCH, 0)
    assert not batch.needs_saving(due)
    assert times_s(batch, [fragment]) == pytest.approx([0.1])


def test_a_short_batch_never_needs_a_fragment():
    batch = open_batch(batch_s=1, loss_window_s=2)
    batch.add(samples(0.1), seconds(0.5))
    assert batch.next_drain_ns() == seconds(1)
    assert not batch.needs_saving(seconds(1))


def test_the_closed_batch_holds_fragments_and_rest_under_the_key_of_the_fragments():
    batch = open_batch()
    batch.add(samples(0.1, 0.2), seconds(1))
    batch.fragment(CLOCK)
    batch.add(samples(1.5), seconds(2))
    [message] = batch.close(seconds(10), CLOCK, [])
    assert message.key == (EPOCH, 0)
    assert times_s(batch, [message]) == pytest.approx([0.1, 0.2, 1.5])
    assert len(batch) == 0


def test_the_oldest_unsaved_sample_is_never_said_to_be_younger_than_it_is():
    batch = open_batch()
    batch.add(samples(), seconds(1))
    batch.add(samples(1.2, 1.9), seconds(2))
    assert batch.oldest_unsaved_ns <= seconds(1.2)
    batch.fragment(CLOCK)
    batch.add(samples(2.5), seconds(3))
    assert seconds(1.9) < batch.oldest_unsaved_ns <= seconds(2.5)


def test_seqs_count_on_across_batches_also_when_one_is_split():
    batch = open_batch(max_message_bytes=200)
    batch.add(samples(*[n * 0.0917 for n in range(500)]), seconds(50))
    first = batch.close(seconds(50), CLOCK, [])
    assert len(first) > 1
    batch.add(samples(51), seconds(52))
    [second] = batch.close(seconds(60), CLOCK, [])
    assert [message.key.seq for message in [*first, second]] == list(range(len(first) + 1))
    assert len(times_s(batch, first)) == 500


def test_a_fragment_that_is_too_large_asks_to_close_the_batch():
    batch = open_batch(max_message_bytes=200)
    batch.add(samples(*[n * 0.0917 for n in range(500)]), seconds(50))
    assert batch.fragment(CLOCK) is None
    assert len(times_s(batch, batch.close(seconds(50), CLOCK, []))) == 500


def test_schemas_go_with_the_first_batch_and_again_after_their_time():
    batch = open_batch()
    with_schema = closed_size(batch, seconds(10))
    assert closed_size(batch, seconds(20)) < with_schema
    assert closed_size(batch, SCHEMA_REPEAT_NS - 1) < with_schema
    assert closed_size(batch, SCHEMA_REPEAT_NS + seconds(10)) >= with_schema


def closed_size(batch, at_ns):
    batch.add(samples(at_ns / NS_PER_S), at_ns)
    return len(batch.close(at_ns, CLOCK, [])[0].payload)


def test_gaps_travel_with_the_next_batch():
    batch = open_batch()
    gap = Gap(b"epoch-00", 7, 6, 12, "restart")
    batch.add(samples(1), seconds(2))
    [message] = batch.close(seconds(10), CLOCK, [gap])
    assert decode(message.payload, SchemaBook()).gaps == (gap,)


def test_a_batch_closes_early_when_it_is_full():
    batch = open_batch(batch_s=3600, loss_window_s=3600)
    batch.add(Samples(bytes(samples(1)) * SAMPLES_MAX), seconds(2))
    assert batch.is_due(seconds(2))
