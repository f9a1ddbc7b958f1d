"""Memory first, journal when the link lags, in order, and never twice after a clean restart."""

import pytest

from agent.errors import FormatError
from agent.model import NS_PER_S, Gap
from agent.store import MEMORY_BYTES
from agent.store.writer import CURSOR_LAG_NS

S = NS_PER_S


def seqs(messages):
    return [message.key.seq for message in messages]


def live(store):
    taken = []
    while found := store.take_live():
        taken.append(found)
    return taken


def test_a_healthy_link_costs_no_flash_write(kit, fs):
    store = kit.open_store(fs)
    store.put_schemas({b"hash0001": b"schema"})
    store.tick(0)
    upkeep = store.stats().upkeep_bytes
    for seq in range(1000):
        kit.put(store, 1, seq, at_s=seq)
        store.acknowledge(store.take_live().key)
        store.tick((seq + 1) * S)
    assert store.stats().bytes_written == 0
    assert store.stats().upkeep_bytes == upkeep
    assert store.stats().memory_bytes == 0


def test_live_batches_come_in_order_and_not_flagged(kit, fs):
    store = kit.open_store(fs)
    for seq in range(5):
        kit.put(store, 1, seq)
    taken = live(store)
    assert seqs(taken) == [0, 1, 2, 3, 4]
    assert not any(message.historical for message in taken)
    assert taken[3] == kit.message(1, 3, [1])


def test_a_batch_is_written_in_time_to_be_stored_when_it_is_as_old_as_the_loss_window(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0, at_s=10)
    assert store.tick(int(11.7 * S)) == int(11.8 * S)
    assert store.stats().bytes_written == 0
    store.tick(int(11.8 * S))
    assert store.stats().bytes_written == 4096


def test_a_written_batch_leaves_memory_and_comes_back_as_backlog(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0, [7, 8], size=9000)
    store.tick(3 * S)
    assert store.stats().memory_bytes == 0
    assert store.take_live() is None
    message = store.take_backlog()
    assert message == kit.historical(kit.message(1, 0, [7, 8], 9000))
    assert store.take_backlog() is None


def test_small_batches_share_a_page(kit, fs):
    store = kit.open_store(fs)
    for seq in range(20):
        kit.put(store, 1, seq, size=100)
    store.tick(3 * S)
    assert store.stats().bytes_written == 4096
    assert seqs(kit.backlog(store)) == list(range(20))


@pytest.mark.parametrize("page_bytes", [4096, 8192, 16384])
@pytest.mark.parametrize("size", [0, 1, 3990, 4096, 16384, 122_880, 400_000])
def test_batches_of_any_size_survive_a_restart(kit, fs, size, page_bytes):
    store = kit.open_store(fs, page_bytes=page_bytes)
    for seq in range(2):
        kit.put(store, 1, seq, [1, 2, 3], size=size)
    store.close(S)
    again = kit.open_store(fs.after_kill(), 2, page_bytes=page_bytes)
    assert kit.backlog(again) == [kit.historical(kit.message(1, seq, [1, 2, 3], size)) for seq in range(2)]


def test_acknowledged_batches_do_not_come_back_after_a_clean_restart(kit, fs):
    store = kit.open_store(fs)
    for seq in range(10):
        kit.put(store, 1, seq)
    store.tick(3 * S)
    for message in kit.backlog(store):
        if message.key.seq not in {3, 7}:
            store.acknowledge(message.key)
    store.close(4 * S)
    assert seqs(kit.backlog(kit.open_store(fs.after_kill(), 2))) == [3, 7]


def test_an_older_epochs_acknowledgement_does_not_forget_a_newer_ones(kit, fs):
    old = kit.open_store(fs)
    for seq in range(3):
        kit.put(old, 1, seq)
    old.close(3 * S)
    fs = fs.after_kill()
    new = kit.open_store(fs, 2)
    for seq in range(3):
        kit.put(new, 2, seq)
    new.tick(3 * S)
    taken = {message.key: message for message in kit.backlog(new)}
    for key in [(kit.epoch(2), 1), (kit.epoch(1), 1), (kit.epoch(1), 0)]:  # live ones are faster than old ones
        new.acknowledge(next(k for k in taken if tuple(k) == key))
    new.close(4 * S)
    found = [tuple(message.key) for message in kit.backlog(kit.open_store(fs.after_kill(), 3))]
    assert found == [(kit.epoch(1), 2), (kit.epoch(2), 0), (kit.epoch(2), 2)]


def test_acknowledgements_are_written_lazily_after_a_drain(kit, fs):
    store = kit.open_store(fs)
    for seq in range(10):
        kit.put(store, 1, seq)
    store.tick(3 * S)
    for message in kit.backlog(store):
        store.acknowledge(message.key)
    assert store.tick(4 * S) == 4 * S + CURSOR_LAG_NS
    assert len(kit.backlog(kit.open_store(fs.after_kill(), 2))) == 10  # allowed: the receiver removes duplicates
    assert store.tick(4 * S + CURSOR_LAG_NS) is None
    assert kit.backlog(kit.open_store(fs.after_kill(), 2)) == []


def test_what_was_taken_comes_again_after_give_back_oldest_first(kit, fs):
    store = kit.open_store(fs)
    for seq in range(4):
        kit.put(store, 1, seq)
    store.tick(3 * S)
    for seq in range(4, 8):
        kit.put(store, 1, seq, at_s=3)
    first = [store.take_backlog(), store.take_backlog(), store.take_live(), store.take_live()]
    store.acknowledge(first[0].key)
    store.acknowledge(first[3].key)
    store.give_back()
    assert seqs(kit.backlog(store)) == [1, 2, 3]
    assert seqs(live(store)) == [4, 6, 7]


def test_a_batch_that_was_in_flight_when_it_was_written_is_sent_again_as_historical_under_its_key(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    first = store.take_live()
    store.tick(3 * S)
    store.give_back()
    assert (first, store.take_backlog()) == (kit.message(1, 0, [1]), kit.historical(kit.message(1, 0, [1])))


def test_a_batch_given_back_within_the_loss_window_is_live_again(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    first = store.take_live()
    store.tick(S)
    store.give_back()
    assert store.take_live() == first == kit.message(1, 0, [1])


def test_merged_fragments_are_historical(kit, fs):
    store = kit.open_store(fs)
    checkpoint(kit, store, 0, [1, 2], 0)
    store.tick(3 * S)
    (merged,) = kit.backlog(kit.open_store(fs.after_kill(), 2))
    assert merged == kit.historical(kit.message(1, 0, [1, 2]))


def test_a_batch_that_cannot_be_flagged_is_sent_all_the_same(kit, fs):
    def refuse(payload):
        raise FormatError("of another version")

    store = kit.open_store(fs, mark=refuse)
    kit.put(store, 1, 0)
    store.tick(3 * S)
    assert store.take_backlog() == kit.message(1, 0, [1])._replace(historical=True)


def test_a_batch_that_is_written_while_taken_is_given_back_to_the_backlog(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    kit.put(store, 1, 1)
    store.take_live()
    store.tick(3 * S)
    assert seqs(kit.backlog(store)) == [1]
    store.give_back()
    assert seqs(kit.backlog(store)) == [0, 1]


def test_unknown_and_repeated_acknowledgements_are_ignored(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    kit.put(store, 1, 1)
    store.acknowledge(kit.message(1, 1, []).key)  # never taken
    store.acknowledge(kit.message(9, 0, []).key)
    taken = store.take_live()
    store.acknowledge(taken.key)
    store.acknowledge(taken.key)
    assert seqs(live(store)) == [1]


def test_a_batch_the_broker_refuses_is_a_counted_gap_and_never_offered_again(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0, [1, 2])
    store.tick(3 * S)
    kit.put(store, 1, 1, [3, 4, 5], at_s=3)
    store.reject(store.take_backlog().key, "too large")
    store.reject(store.take_live().key, "too large")
    store.reject(kit.message(1, 1, []).key, "again")
    store.give_back()
    assert (store.take_backlog(), store.take_live()) == (None, None)
    store.close(4 * S)
    again = kit.open_store(fs.after_kill(), 2)
    assert kit.backlog(again) == []
    assert again.take_gaps() == [
        Gap(kit.epoch(1), 0, 0, 2, "rejected"),
        Gap(kit.epoch(1), 1, 1, 3, "rejected"),
    ]


def test_memory_is_bounded_the_rest_goes_to_the_journal_at_once(kit, fs):
    store = kit.open_store(fs, journal_bytes=64 << 20)
    count = 200
    for seq in range(count):
        kit.put(store, 1, seq, size=100_000)  # 20 MB within one loss window
        assert store.stats().memory_bytes <= MEMORY_BYTES
    assert store.stats().pending_batches == count
    stored = seqs(kit.backlog(store))
    assert stored + seqs(live(store)) == list(range(count))


def test_a_batch_of_another_epoch_or_an_old_seq_is_refused(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 5)
    for run, seq in [(2, 6), (1, 5), (1, 0)]:
        with pytest.raises(ValueError, match="cannot follow"):
            kit.put(store, run, seq)


# ---- checkpoints -----------------------------------------------------------------------------------------------


def checkpoint(kit, store, seq, samples, at_s):
    store.checkpoint(kit.message(1, seq, samples), int(at_s * S))


def test_fragments_without_their_batch_are_merged_under_its_key(kit, fs):
    store = kit.open_store(fs)
    for at_s in range(3):
        checkpoint(kit, store, 0, [2 * at_s, 2 * at_s + 1], at_s)
        store.tick((at_s + 2) * S)
    again = kit.open_store(fs.after_kill(), 2)
    (merged,) = kit.backlog(again)
    assert kit.samples_of(merged.payload) == [0, 1, 2, 3, 4, 5]
    assert (merged.key.seq, merged.samples, merged.historical) == (0, 6, True)
    assert again.recovered_gaps == [Gap(kit.epoch(1), 1, 0, 0, "restart")]


def test_a_whole_batch_supersedes_its_fragments(kit, fs):
    store = kit.open_store(fs)
    checkpoint(kit, store, 0, [1, 2], 0)
    store.tick(2 * S)
    checkpoint(kit, store, 0, [3], 2)  # not written yet
    kit.put(store, 1, 0, [1, 2, 3, 4], at_s=0)
    store.tick(30 * S)
    (found,) = kit.backlog(kit.open_store(fs.after_kill(), 2))
    assert kit.samples_of(found.payload) == [1, 2, 3, 4]


def test_fragments_protect_their_batch_so_it_is_not_written_before_its_newest_sample_is_old(kit, fs):
    store = kit.open_store(fs)
    store.checkpoint(kit.message(1, 0, [1, 2]), 1 * S)  # all samples up to second 1
    store.tick(2 * S)
    written = store.stats().bytes_written
    store.put(kit.message(1, 0, [1, 2, 3]), 0, 2 * S)
    assert store.tick(int(2.7 * S)) == int(2.8 * S)
    assert store.stats().bytes_written == written
    store.tick(int(2.8 * S))
    assert store.stats().bytes_written == written + 4096


@pytest.mark.parametrize("older_pending", [False, True])  # then the fragments stand where recovery looks
def test_fragments_of_an_acknowledged_batch_are_gone(kit, fs, older_pending):
    store = kit.open_store(fs)
    if older_pending:
        kit.put(store, 1, 0)
    checkpoint(kit, store, 1, [1, 2], 0)
    store.tick(2 * S)
    kit.put(store, 1, 1, [1, 2, 3], at_s=2)
    kit.put(store, 1, 2, [4], at_s=2)
    store.acknowledge(store.take_live().key)
    store.close(3 * S)
    assert seqs(kit.backlog(kit.open_store(fs.after_kill(), 2))) == ([0, 2] if older_pending else [2])


def test_a_fragment_is_written_at_once_behind_the_batches_before_it(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    checkpoint(kit, store, 1, [2], 0)
    store.tick(0)
    assert seqs(kit.backlog(kit.open_store(fs.after_kill(), 2))) == [0, 1]


def test_a_loss_before_the_store_is_told_until_the_batch_that_carries_it_has_arrived(kit, fs):
    gap = Gap(kit.epoch(1), 0, -1, 7, "overrun")
    store = kit.open_store(fs)
    store.add_gap(gap)
    assert store.take_gaps() == [gap]
    kit.put(store, 1, 0)
    store.reject(store.take_live().key, "too large")
    assert gap in store.take_gaps()


# ---- restarts --------------------------------------------------------------------------------------------------


def test_a_clean_stop_leaves_no_gap(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    store.close(S)
    again = kit.open_store(fs.after_kill(), 2)
    assert again.recovered_gaps == []
    assert again.take_gaps() == []


def test_an_unclean_stop_is_a_gap_after_the_last_batch_known(kit, fs):
    store = kit.open_store(fs)
    for seq in range(3):
        kit.put(store, 1, seq)
    store.tick(3 * S)
    expected = [Gap(kit.epoch(1), 3, 2, 0, "restart")]
    assert kit.open_store(fs.after_kill(), 2).recovered_gaps == expected


def test_an_unclean_stop_before_anything_was_written_is_a_gap_too(kit, fs):
    kit.open_store(fs)
    assert kit.open_store(fs.after_kill(), 2).recovered_gaps == [Gap(kit.epoch(1), 0, -1, 0, "restart")]


def test_an_unclean_stop_counts_from_the_last_batch_that_was_acknowledged_if_the_journal_knows_it(kit, fs):
    store = kit.open_store(fs)
    kit.put(store, 1, 0)
    kit.put(store, 1, 1)
    store.tick(3 * S)
    store.acknowledge(kit.backlog(store)[1].key)
    for seq in range(2, 5):
        kit.put(store, 1, seq, at_s=3)
        store.acknowledge(store.take_live().key)
    store.tick(4 * S)
    store.tick(4 * S + CURSOR_LAG_NS)
    assert kit.open_store(fs.after_kill(), 2).recovered_gaps == [Gap(kit.epoch(1), 5, 4, 0, "restart")]


def test_gaps_are_told_until_the_batch_that_carries_them_is_acknowledged(kit, fs):
    kit.open_store(fs)
    gap = Gap(kit.epoch(1), 0, -1, 0, "restart")
    fs = fs.after_kill()
    second = kit.open_store(fs, 2)
    assert second.take_gaps() == [gap]
    assert second.take_gaps() == []
    kit.put(second, 2, 0)
    second.close(S)  # the batch that carries it is stored, not yet acknowledged
    fs = fs.after_kill()
    third = kit.open_store(fs, 3)
    assert third.take_gaps() == [gap]
    kit.put(third, 3, 0)
    third.acknowledge(third.take_live().key)
    third.close(S)
    assert kit.open_store(fs.after_kill(), 4).take_gaps() == []


def test_order_holds_over_several_epochs_and_many_laps(kit, fs):
    for run in range(1, 8):
        store = kit.open_store(fs, run, journal_bytes=64 * 4096)
        for seq in range(30):
            kit.put(store, run, seq, at_s=seq, size=2000)
            store.tick((seq + 3) * S)
            if seq % 4 == 3 and (message := store.take_backlog()):
                store.acknowledge(message.key)
        store.close(100 * S)
        fs = fs.after_kill()
    keys = [tuple(message.key) for message in kit.backlog(kit.open_store(fs, 8, journal_bytes=64 * 4096))]
    assert keys == sorted(keys)
    assert {run for run, _ in keys} == {kit.epoch(6), kit.epoch(7)}
    assert 30 < len(keys) < 60
