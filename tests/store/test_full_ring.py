"""A full ring: never a byte over its bound, the oldest goes first, and every loss is counted to the sample."""

import pytest

from agent.model import NS_PER_S
from agent.store import MEMORY_BYTES

S = NS_PER_S
RING = 64 * 4096


def fill(kit, store, count, *, run=1, first=0, size=3500):
    for seq in range(first, first + count):
        kit.put(store, run, seq, [3 * seq, 3 * seq + 1, 3 * seq + 2], at_s=seq, size=size)
        store.tick((seq + 3) * S)


def account(messages, gaps):
    return sum(message.samples for message in messages) + sum(gap.samples for gap in gaps)


@pytest.mark.parametrize("when_full", ["drop-oldest", "thin"])
def test_the_oldest_batches_are_evicted_and_counted(kit, fs, when_full):
    store = kit.open_store(fs, journal_bytes=RING, when_full=when_full)
    fill(kit, store, 200)
    (gap,) = store.take_gaps()
    found = kit.backlog(store)
    first = found[0].key.seq
    assert [m.key.seq for m in found] == list(range(first, 200))
    assert gap == (kit.epoch(1), 0, first - 1, 3 * first, "evicted")
    assert store.stats().evicted == first
    assert len(found) > 48


def test_the_file_never_grows(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING)
    fill(kit, store, 100, size=9000)
    assert {len(content) for path, content in fs.files.items() if path.endswith("journal")} == {RING}


def test_an_eviction_survives_a_restart_and_adds_up(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING)
    fill(kit, store, 150)
    fs = fs.after_kill()
    again = kit.open_store(fs, 2, journal_bytes=RING)
    fill(kit, again, 100, run=2)
    third = kit.open_store(fs.after_kill(), 3, journal_bytes=RING)
    gaps = [gap for gap in third.take_gaps() if gap.reason == "evicted"]
    assert account(kit.backlog(third), gaps) == 3 * 250
    assert {gap.epoch for gap in gaps} == {kit.epoch(1), kit.epoch(2)}


def test_batches_of_many_pages_are_evicted_whole(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING)
    fill(kit, store, 60, size=30_000)
    found = kit.backlog(store)
    assert account(found, store.take_gaps()) == 3 * 60
    for message in found:
        seq = message.key.seq
        assert message == kit.historical(kit.message(1, seq, [3 * seq, 3 * seq + 1, 3 * seq + 2], 30_000))


def test_drop_newest_keeps_the_oldest_and_counts_the_rest(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING, when_full="drop-newest")
    count = 200
    fill(kit, store, count, size=100_000)
    stored = kit.backlog(store)
    assert [m.key.seq for m in stored] == list(range(len(stored)))
    live = []
    while found := store.take_live():
        live.append(found)
    gaps = store.take_gaps()
    assert account(stored + live, gaps) == 3 * count
    assert store.stats().memory_bytes <= MEMORY_BYTES
    assert {gap.reason for gap in gaps} == {"evicted"}


def test_a_gap_carried_by_a_batch_that_is_evicted_is_told_again(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING)
    fill(kit, store, 100)
    assert store.take_gaps() != []
    fill(kit, store, 200, first=100)
    gaps = store.take_gaps()
    assert account(kit.backlog(store), gaps) == 3 * 300


def test_a_batch_evicted_in_flight_counts_only_when_it_is_given_back(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING)
    fill(kit, store, 10)
    delivered, returned = store.take_backlog(), store.take_backlog()
    fill(kit, store, 100, first=10)
    store.acknowledge(delivered.key)
    store.give_back()
    gaps = store.take_gaps()
    assert account(kit.backlog(store), gaps) == 3 * 110 - delivered.samples
    assert any(gap.first_seq <= returned.key.seq <= gap.last_seq for gap in gaps)
    assert not any(gap.first_seq <= delivered.key.seq <= gap.last_seq for gap in gaps)


def test_a_batch_larger_than_the_ring_stays_in_memory(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING)
    fill(kit, store, 3)
    kit.put(store, 1, 3, size=RING)
    store.tick(100 * S)
    assert store.take_live().key.seq == 3
    assert len(kit.backlog(store)) == 3
    assert store.stats().evicted == 0


def test_a_stop_that_cannot_store_everything_counts_what_is_lost_and_tells_it_to_the_next_run(kit, fs):
    store = kit.open_store(fs, journal_bytes=RING, when_full="drop-newest")
    fill(kit, store, 60, size=5000)
    assert store.stats().memory_bytes > 0
    store.close(100 * S)
    lost = store.stats().lost_samples
    again = kit.open_store(fs.after_kill(), 2, journal_bytes=RING, when_full="drop-newest")
    found = kit.backlog(again)
    assert again.take_gaps() == [(kit.epoch(1), len(found), 59, lost, "evicted")]
    assert account(found, []) + lost == 3 * 60


@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-newest"])
def test_what_finds_no_room_does_not_ask_to_be_called_all_the_time(kit, fs, when_full):
    store = kit.open_store(fs, journal_bytes=RING, when_full=when_full)
    fill(kit, store, 60, size=5000)
    kit.put(store, 1, 60, size=2 * RING, at_s=60)
    now = 100 * S
    assert store.tick(now) > now + S
