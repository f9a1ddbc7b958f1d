"""Whatever stands in the files: the store starts, keeps what is intact and counts what is not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import NS_PER_S, Gap
from agent.store.pages import HEAD, Head

S = NS_PER_S
PAGE = 4096
RING = 64 * PAGE
JOURNAL = "/store/journal"


def filled(kit, *, sizes=(3500,) * 20, clean=True):
    """A closed store with one batch of 10 samples per size, a commit each; page 1 is the start page."""
    fs = kit.FaultyFileSystem()
    store = kit.open_store(fs, journal_bytes=RING)
    for seq, size in enumerate(sizes):
        kit.put(store, 1, seq, range(10 * seq, 10 * seq + 10), at_s=seq, size=size)
        store.tick((seq + 3) * S)
    if clean:
        store.close(100 * S)
    return fs.after_kill()


def spoil(fs, page, how="noise", path=JOURNAL):
    start = page * PAGE
    if how == "noise":
        fs.files[path][start : start + PAGE] = random.Random(page).randbytes(PAGE)
    elif how == "zeroed":
        fs.files[path][start : start + PAGE] = bytes(PAGE)
    elif how == "header":
        fs.files[path][start : start + 64] = bytes(64)
    elif how == "torn":
        fs.files[path][start + 512 : start + PAGE] = bytes(PAGE - 512)
    elif how == "bit":
        fs.files[path][start + 1000] ^= 4
    elif how == "unreadable":
        fs.bad_offsets.add(start)


def reopened(kit, fs, run=2):
    store = kit.open_store(fs, run, journal_bytes=RING)
    return store, [message.key.seq for message in kit.backlog(store)]


@pytest.mark.parametrize("how", ["noise", "zeroed", "header", "torn", "bit", "unreadable"])
def test_a_lost_page_costs_only_the_batch_on_it(kit, how):
    fs = filled(kit)
    spoil(fs, 6, how)  # pages 2.. hold batches 0..
    store, found = reopened(kit, fs)
    assert found == [seq for seq in range(20) if seq != 4]
    assert store.recovered_gaps == [Gap(kit.epoch(1), 4, 4, 10, "damaged")]
    assert store.stats().damaged_pages == 1


@pytest.mark.parametrize(
    ("first_page", "count"), [(first, count) for count in (1, 2, 5, 19) for first in range(2, 23 - count)]
)
def test_several_lost_pages_are_counted_to_the_sample(kit, first_page, count):
    fs = filled(kit)
    for page in range(first_page, first_page + count):
        spoil(fs, page)
    store, found = reopened(kit, fs)
    lost = [seq for seq in range(20) if first_page <= seq + 2 < first_page + count]
    assert found == [seq for seq in range(20) if seq not in lost]
    assert store.recovered_gaps == [Gap(kit.epoch(1), lost[0], lost[-1], 10 * len(lost), "damaged")]


def test_a_lost_page_in_a_batch_of_many_pages_costs_that_batch(kit):
    for page in range(2, 12):  # three batches of 3 to 4 pages, one commit each
        fs = filled(kit, sizes=(12_000, 12_000, 12_000))
        heads = [Head._make(f) for f in HEAD.iter_unpack(scan(fs, page))]
        spoil(fs, page)
        store, found = reopened(kit, fs)
        assert heads[0].sequence == page
        assert 10 * len(found) + sum(gap.samples for gap in store.recovered_gaps) == 30, page
        assert len(found) >= 2
        assert all(gap.first_seq == gap.last_seq for gap in store.recovered_gaps)


def scan(fs, page):
    from agent._native import page as native  # noqa: PLC0415

    return native.scan(bytes(fs.files[JOURNAL][page * PAGE : page * PAGE + PAGE]), PAGE)


@pytest.mark.parametrize("older_pending", [False, True])  # then the fragments stand where recovery looks
def test_a_lost_fragment_whose_batch_is_intact_is_missed_by_nobody(kit, older_pending):
    fs = kit.FaultyFileSystem()
    store = kit.open_store(fs, journal_bytes=RING)
    if older_pending:
        kit.put(store, 1, 0)
    for at_s in range(3):
        store.checkpoint(kit.message(1, 1, [at_s]), at_s * S)
        store.tick((at_s + 2) * S)
    kit.put(store, 1, 1, [0, 1, 2, 3], at_s=3)
    store.close(10 * S)
    fs = fs.after_kill()
    spoil(fs, 3)
    store, found = reopened(kit, fs)
    assert found == ([0, 1] if older_pending else [1])
    assert store.recovered_gaps == []


def test_acknowledged_batches_on_a_lost_page_are_not_counted(kit):
    fs = kit.FaultyFileSystem()
    store = kit.open_store(fs, journal_bytes=RING)
    for seq in range(3):
        kit.put(store, 1, seq, range(10), size=500)
    store.tick(3 * S)
    for message in kit.backlog(store)[:2]:
        store.acknowledge(message.key)
    store.close(4 * S)
    fs = fs.after_kill()
    spoil(fs, 2)
    store, found = reopened(kit, fs)
    assert found == []
    assert store.recovered_gaps == [Gap(kit.epoch(1), 2, 2, 10, "damaged")]


def test_a_commit_that_was_cut_short_counts_the_batch_that_began(kit):
    fs = filled(kit, sizes=(100, 20_000), clean=False)
    for page in (6, 7, 8):
        spoil(fs, page)
    store, found = reopened(kit, fs)
    assert found == [0]
    assert store.recovered_gaps == [Gap(kit.epoch(1), 1, 1, 10, "damaged"), Gap(kit.epoch(1), 2, 1, 0, "restart")]


def test_a_lost_fragment_without_its_batch_is_counted(kit):
    fs = kit.FaultyFileSystem()
    store = kit.open_store(fs, journal_bytes=RING)
    for at_s in range(4):
        store.checkpoint(kit.message(1, 0, [at_s]), at_s * S)
        store.tick((at_s + 2) * S)
    fs = fs.after_kill()
    spoil(fs, 3)
    store = kit.open_store(fs, 2, journal_bytes=RING)
    (merged,) = kit.backlog(store)
    assert kit.samples_of(merged.payload) == [0, 2, 3]
    assert Gap(kit.epoch(1), 0, 0, 1, "damaged") in store.recovered_gaps


@pytest.mark.parametrize(("older_pending", "expected"), [(False, [[6]]), (True, [[5], [0, 1, 2], [6]])])
def test_a_lost_batch_costs_only_what_its_fragments_lack_while_these_are_there(kit, older_pending, expected):
    fs = kit.FaultyFileSystem()
    store = kit.open_store(fs, journal_bytes=RING)
    if older_pending:  # then the pages behind it, with the fragments, are not free yet
        kit.put(store, 1, 0, [5])
    for at_s in range(3):
        store.checkpoint(kit.message(1, 1, [at_s]), at_s * S)
        store.tick((at_s + 2) * S)
    kit.put(store, 1, 1, [0, 1, 2, 3, 4], at_s=3)
    store.tick(10 * S)
    kit.put(store, 1, 2, [6], at_s=10)
    store.close(20 * S)
    fs = fs.after_kill()
    spoil(fs, 5)
    store = kit.open_store(fs, 2, journal_bytes=RING)
    found = [kit.samples_of(message.payload) for message in kit.backlog(store)]
    assert found == expected
    lost = 5 - sum(len(samples) for samples in found if samples[0] < 5)
    assert store.recovered_gaps == [Gap(kit.epoch(1), 1, 1, lost, "damaged")]


def test_damage_is_told_once_not_at_every_start(kit):
    fs = filled(kit)
    spoil(fs, 6)
    store, _ = reopened(kit, fs)
    assert len(store.take_gaps()) == 1
    kit.put(store, 2, 0)
    store.acknowledge(store.take_live().key)
    store.close(S)
    fs = fs.after_kill()
    spoil(fs, 9)
    store, _ = reopened(kit, fs, 3)
    assert store.take_gaps() == [Gap(kit.epoch(1), 7, 7, 10, "damaged")]


def test_damage_found_only_when_a_batch_is_read_is_counted_and_skipped(kit):
    fs = filled(kit)
    store = kit.open_store(fs, 2, journal_bytes=RING)
    spoil(fs, 6)
    assert [message.key.seq for message in kit.backlog(store)] == [seq for seq in range(20) if seq != 4]
    assert store.take_gaps() == [Gap(kit.epoch(1), 4, 4, 10, "damaged")]
    store.close(S)
    assert kit.open_store(fs.after_kill(), 3, journal_bytes=RING).recovered_gaps == [
        Gap(kit.epoch(1), 4, 4, 10, "damaged")
    ]


@pytest.mark.parametrize(
    "content",
    [b"\x7fELF" * 1000, b"SQLite format 3\0" * 4096, b"x", random.Random(1).randbytes(RING)],
    ids=["program", "database", "one byte", "noise"],
)
def test_a_foreign_file_is_moved_aside(kit, fs, content):
    fs.files[JOURNAL] = bytearray(content)
    fs = fs.after_kill()
    store = kit.open_store(fs, journal_bytes=RING)
    assert fs.files[JOURNAL + ".bad"] == content
    assert len(fs.files[JOURNAL]) == RING
    assert store.stats().alarm == ""
    kit.put(store, 1, 0)
    store.close(S)
    assert len(kit.backlog(kit.open_store(fs.after_kill(), 2, journal_bytes=RING))) == 1


def test_a_file_of_another_version_is_moved_aside(kit):
    fs = filled(kit)
    for start in range(0, RING, PAGE):
        fs.files[JOURNAL][start + 4] = 2
    store, found = reopened(kit, fs)
    assert found == []
    assert JOURNAL + ".bad" in fs.files
    assert store.stats().alarm == ""


@pytest.mark.parametrize("page_bytes", [4096, 8192, 16384])
@pytest.mark.parametrize("pages", [32, 64, 256])
def test_another_page_size_or_journal_size_keeps_the_backlog(kit, page_bytes, pages):
    fs = filled(kit)
    store = kit.open_store(fs, 2, journal_bytes=pages * page_bytes, page_bytes=page_bytes)
    assert len(fs.files[JOURNAL]) == pages * page_bytes
    assert [message.key for message in kit.backlog(store)] == [(kit.epoch(1), seq) for seq in range(20)]
    assert store.recovered_gaps == []
    store.close(S)
    again = kit.open_store(fs.after_kill(), 3, journal_bytes=pages * page_bytes, page_bytes=page_bytes)
    assert kit.backlog(again) == [
        kit.historical(kit.message(1, seq, range(10 * seq, 10 * seq + 10), 3500)) for seq in range(20)
    ]


def test_small_batches_share_pages_in_a_journal_of_another_size_too(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING)
    for seq in range(500):
        kit.put(store, 1, seq)
    store.close(S)
    again = kit.open_store(fs.after_kill(), 2, journal_bytes=32 * PAGE)
    assert [message.key.seq for message in kit.backlog(again)] == list(range(500))
    assert again.take_gaps() == []


def test_a_smaller_journal_keeps_the_newest_and_counts_the_rest(kit):
    fs = filled(kit)
    store = kit.open_store(fs, 2, journal_bytes=16 * PAGE)
    found = [message.key.seq for message in kit.backlog(store)]
    (gap,) = store.take_gaps()
    assert found == list(range(20 - len(found), 20))
    assert gap == (kit.epoch(1), 0, 19 - len(found), 10 * (20 - len(found)), "evicted")


@pytest.mark.parametrize("cut_at", range(1, 60))
def test_a_power_cut_while_moving_to_another_size_loses_nothing(kit, cut_at):
    fs = filled(kit)
    fs.cut_at = cut_at
    try:
        kit.open_store(fs, 2, journal_bytes=128 * PAGE)
    except kit.PowerCutError:
        fs = fs.after_power_cut(cut_at)
    else:
        fs = fs.after_kill()
    store = kit.open_store(fs, 3, journal_bytes=128 * PAGE)
    assert [message.key for message in kit.backlog(store)] == [(kit.epoch(1), seq) for seq in range(20)]


@pytest.mark.parametrize("pages", [0.5, 1, 2, 10, 21.7, 63])
def test_a_truncated_file_keeps_what_is_left(kit, pages):
    fs = filled(kit)
    del fs.files[JOURNAL][int(pages * PAGE) :]
    store, found = reopened(kit, fs)
    left = [seq for seq in range(20) if seq + 3 <= pages]
    assert found == left
    assert len(fs.files[JOURNAL]) == RING
    assert store.stats().alarm == ""


def test_an_empty_file_and_a_blank_file_are_new_journals(kit, fs):
    for content in (b"", bytes(RING), bytes(100)):
        fs.files[JOURNAL] = bytearray(content)
        fs = fs.after_kill()
        assert kit.open_store(fs, journal_bytes=RING).recovered_gaps == []
        assert JOURNAL + ".bad" not in fs.files


@settings(max_examples=200)
@given(st.data())
def test_any_damage_at_all_never_stops_the_store_nor_makes_up_a_batch(kit, data):
    fs = filled(kit, sizes=(0, 3500, 9000, 100, 5000, 20_000, 3000), clean=data.draw(st.booleans()))
    content = fs.files[JOURNAL]
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, 20 * PAGE))
        noise = data.draw(st.binary(min_size=1, max_size=64)) * data.draw(st.sampled_from([1, 10, 100]))
        content[start : start + len(noise)] = noise
    store = kit.open_store(fs, 2, journal_bytes=RING)
    keys = []
    for message in kit.backlog(store):
        seq = message.key.seq
        assert kit.samples_of(message.payload) == list(range(10 * seq, 10 * seq + 10))
        keys.append(seq)
    assert keys == sorted(set(keys))
    lost = [gap for gap in store.take_gaps() if gap.reason == "damaged"]
    assert 10 * len(keys) + sum(gap.samples for gap in lost) <= 70
    kit.put(store, 2, 0)
    store.close(S)
    again = [tuple(m.key) for m in kit.backlog(kit.open_store(fs.after_kill(), 3, journal_bytes=RING))]
    assert again == [*((kit.epoch(1), seq) for seq in keys), (kit.epoch(2), 0)]
