"""The medium fails while the agent runs: work goes on in memory with an alarm, and heals when it works again."""

import errno

import pytest

from agent.model import NS_PER_S
from agent.store import MEMORY_BYTES
from agent.store.reader import MAX_READ_FAILURES
from agent.store.writer import RETRY_NS

S = NS_PER_S
WRITING = ("write", "sync", "allocate", "rename")
FAILURES = {
    "full disk": (errno.ENOSPC, WRITING),
    "dead medium": (errno.EIO, (*WRITING, "read", "open")),
    "failed flush": (errno.EIO, ("sync",)),
    "read-only": (errno.EROFS, (*WRITING, "open")),
}


def live(store):
    taken = []
    while found := store.take_live():
        taken.append(found.key.seq)
    return taken


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_medium_keeps_batches_in_memory_and_heals(kit, fs, failure):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    store.tick(3 * S)
    number, methods = FAILURES[failure]
    fs.fail(number, *methods)
    kit.put(store, 1, 1, at_s=3)
    retry = store.tick(6 * S)
    assert retry == 6 * S + RETRY_NS
    assert "injected" in store.stats().alarm
    kit.put(store, 1, 2, at_s=7)
    assert live(store) == [1, 2]
    store.give_back()
    fs.work()
    store.tick(retry - 1)
    assert store.stats().alarm != ""  # not hammered
    store.tick(retry)
    assert store.stats().alarm == ""
    assert store.stats().memory_bytes == 0
    assert [m.key.seq for m in kit.backlog(kit.open_store(fs.after_kill(), 2))] == [0, 1, 2]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_medium_that_fails_at_the_start_is_used_as_soon_as_it_works(kit, fs, failure):
    earlier = kit.open_store(fs, 1)
    kit.put(earlier, 1, 0)
    earlier.close(S)
    fs = fs.after_kill()
    number, methods = FAILURES[failure]
    fs.fail(number, *methods, "make_directory")
    store = kit.open_store(fs, 2)
    assert store.stats().alarm != ""
    kit.put(store, 2, 0)
    fs.work()
    store.tick(RETRY_NS + S)
    assert store.stats().alarm == ""
    assert [tuple(m.key) for m in kit.backlog(store)] == [(kit.epoch(1), 0), (kit.epoch(2), 0)]
    assert store.recovered_gaps == []


def test_memory_stays_bounded_while_the_medium_is_dead(kit, fs):
    store = kit.open_store(fs)
    fs.fail(errno.EIO, *WRITING)
    count = 2 * MEMORY_BYTES // 100_000
    for seq in range(count):
        kit.put(store, 1, seq, size=100_000, at_s=seq)
        store.tick(seq * S)
    assert store.stats().memory_bytes <= MEMORY_BYTES
    left = live(store)
    assert left == list(range(left[0], count))
    assert store.take_gaps() == [(kit.epoch(1), 0, left[0] - 1, left[0], "evicted")]


def test_what_waits_in_memory_past_the_loss_window_is_flagged_historical(kit, fs):
    store = kit.open_store(fs)
    fs.fail(errno.EIO, *WRITING)
    kit.put(store, 1, 0)
    kit.put(store, 1, 1, at_s=2)
    store.tick(3 * S)
    assert store.take_live() == kit.historical(kit.message(1, 0, [1]))
    assert store.take_live() == kit.message(1, 1, [1])


def test_a_move_to_another_size_that_fails_is_tried_again_and_gives_every_batch_once(kit, fs):
    earlier = kit.open_store(fs)
    for seq in range(5):
        kit.put(earlier, 1, seq, size=3000)
    earlier.close(S)
    fs = fs.after_kill()
    fs.fail(errno.EIO, "rename")
    store = kit.open_store(fs, 2, page_bytes=8192)
    assert store.stats().alarm
    fs.work()
    store.tick(RETRY_NS + S)
    assert [message.key.seq for message in kit.backlog(store)] == [0, 1, 2, 3, 4]
    assert store.take_gaps() == []


def test_the_backlog_drains_from_a_medium_that_became_read_only(kit, fs):
    store = kit.open_store(fs)
    for seq in range(5):
        kit.put(store, 1, seq)
    store.tick(3 * S)
    fs.fail(errno.EROFS, *WRITING)
    kit.put(store, 1, 5, at_s=3)
    store.tick(9 * S)
    assert [m.key.seq for m in kit.backlog(store)] == [0, 1, 2, 3, 4]


def test_a_medium_that_was_unplugged_is_found_again_by_name(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    store.tick(3 * S)
    stale = dict(fs.names)
    fs.names.clear()  # what the store holds is not worth anything any more
    kit.put(store, 1, 1, at_s=3)
    now = store.tick(6 * S)
    assert store.stats().alarm
    store.tick(now)
    assert store.stats().alarm == ""
    assert stale
    assert [m.key.seq for m in kit.backlog(store)] == [0, 1]


def test_another_medium_in_its_place_is_not_written_to(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    store.tick(3 * S)
    fs.names.clear()
    fs.files["/store/journal"] = bytearray(len(fs.files["/store/journal"]))
    kit.put(store, 1, 1, at_s=3)
    now = store.tick(6 * S)
    store.tick(now)
    assert "is not the file it was" in store.stats().alarm
    assert not any(fs.files["/store/journal"])


def test_a_backlog_that_cannot_be_read_now_waits_and_is_not_lost(kit, fs):
    store = kit.open_store(fs)
    for seq in range(3):
        kit.put(store, 1, seq)
    store.tick(3 * S)
    fs.fail(errno.EIO, "read", *WRITING)
    kit.put(store, 1, 3, at_s=3)
    for i in range(10):
        store.tick(6 * S + i * RETRY_NS)
        assert kit.backlog(store) == []
    fs.work()
    store.tick(200 * S)
    assert [m.key.seq for m in kit.backlog(store)] == [0, 1, 2, 3]
    assert store.take_gaps() == []


def test_one_unreadable_batch_does_not_hold_up_the_others(kit, fs):
    store = kit.open_store(fs)
    for seq in range(3):
        kit.put(store, 1, seq, at_s=3 * seq)
        store.tick(3 * (seq + 1) * S)
    fs.bad_offsets.add(2 * 4096)  # the page of batch 0
    found = []
    for i in range(MAX_READ_FAILURES + 1):
        found += kit.backlog(store)
        store.tick((20 + i) * S)
    assert [m.key.seq for m in found] == [1, 2]
    assert store.take_gaps() == [(kit.epoch(1), 0, 0, 1, "damaged")]


def test_two_agents_cannot_share_a_journal_the_second_works_in_memory(kit, fs):
    first = kit.open_store(fs)
    second = kit.open_store(fs, 2)
    assert "locked" in second.stats().alarm
    kit.put(second, 2, 0)
    second.tick(3 * S)
    assert second.take_live().key.seq == 0
    first.close(4 * S)
    second.tick(RETRY_NS + 3 * S)
    assert second.stats().alarm == ""


def test_closing_tries_once_more_however_recently_the_medium_failed(kit, fs):
    store = kit.open_store(fs)
    fs.fail(errno.EIO, *WRITING)
    kit.put(store, 1, 0, [1, 2])
    retry_ns = store.tick(3 * S)
    fs.work()
    store.close(retry_ns - 1)
    assert (store.stats().lost_samples, store.stats().pending_batches) == (0, 1)
    again = kit.open_store(fs.after_kill(), 2)
    assert [message.key.seq for message in kit.backlog(again)] == [0]
    assert again.recovered_gaps == []


def test_what_neither_broker_nor_medium_took_by_the_end_is_counted_as_lost(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0, [1, 2])
    kit.put(store, 1, 1, [3])
    kit.put(store, 1, 2, [4, 5, 6])
    store.take_live()
    store.acknowledge(store.take_live().key)
    fs.fail(errno.EIO, *WRITING)
    store.close(S)
    assert (store.stats().lost_samples, store.stats().pending_batches) == (5, 0)


def test_closing_on_a_dead_medium_does_not_raise(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    fs.fail(errno.EIO, *WRITING)
    store.close(S)
    fs = fs.after_kill()
    assert kit.open_store(fs, 2).recovered_gaps == [(kit.epoch(1), 0, -1, 0, "restart")]


def test_only_real_failures_are_caught(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    fs.cut_at = fs.operations + 1
    with pytest.raises(kit.PowerCutError):
        store.tick(3 * S)
