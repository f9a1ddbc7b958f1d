"""The store is deleted, replaced or cut short under a live agent: noticed, mended, counted, and nothing is lost."""

import errno
import os
import shutil

import pytest

from agent.model import NS_PER_S
from agent.store.writer import RETRY_NS

S = NS_PER_S


def delete_directory(directory):
    shutil.rmtree(directory)


def delete_journal(directory):
    (directory / "journal").unlink()


def replace_directory(directory):
    directory.rename(directory.with_name("moved away"))
    directory.mkdir()


def put_a_link_to_nowhere(directory):
    shutil.rmtree(directory)
    directory.symlink_to(directory.with_name("elsewhere"))
    directory.with_name("elsewhere").mkdir()


LOSSES = [delete_directory, delete_journal, replace_directory, put_a_link_to_nowhere]


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "store"


def successor(kit, directory):
    """What the next run finds when this one is killed now."""
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    return kit.open_real(copy, 9)


@pytest.mark.parametrize("lose", LOSSES)
def test_a_journal_that_loses_its_place_is_made_anew_with_all_that_is_pending(kit, directory, lose, caplog):
    store = kit.open_real(directory)
    store.put_schemas({b"hash0001": b"schema"})
    for seq in range(200):
        kit.put(store, 1, seq, [seq], at_s=seq)
    store.tick(300 * S)
    taken = store.take_backlog()
    kit.put(store, 1, 200, [200], at_s=300)
    lose(directory)
    store.tick(301 * S)
    assert store.stats().restored == 1
    assert store.stats().alarm == ""
    assert "deleted or replaced" in caplog.text
    again = successor(kit, directory)
    assert [message.payload for message in kit.backlog(again)] == [
        kit.historical(kit.message(1, seq, [seq])).payload for seq in range(200)
    ]
    assert again.schemas() == {b"hash0001": b"schema"}
    assert store.take_backlog() == taken, "what was on its way may come twice, under its key"
    assert store.take_live() == kit.message(1, 200, [200])
    again.close(S)
    store.close(302 * S)


@pytest.mark.parametrize("lose", LOSSES)
def test_fragments_of_the_open_batch_move_along(kit, directory, lose):
    store = kit.open_real(directory)
    kit.put(store, 1, 0, [1])
    for at_s in range(2):
        store.checkpoint(kit.message(1, 1, [10 + at_s]), at_s * S)
        store.tick((at_s + 3) * S)
    lose(directory)
    store.tick(10 * S)
    again = successor(kit, directory)
    assert [kit.samples_of(message.payload) for message in kit.backlog(again)] == [[1], [10, 11]]
    again.close(S)
    kit.put(store, 1, 1, [10, 11, 12], at_s=10)
    store.close(20 * S)
    last = kit.open_real(directory, 2)
    assert [kit.samples_of(message.payload) for message in kit.backlog(last)] == [[1], [10, 11, 12]]
    assert last.recovered_gaps == []
    last.close(S)


def test_a_file_that_is_cut_short_gets_its_size_back_and_the_loss_is_counted(kit, directory, caplog):
    store = kit.open_real(directory)
    kit.put(store, 1, 0, [1, 2, 3])
    store.tick(3 * S)
    kit.put(store, 1, 1, [4], at_s=3)
    os.truncate(directory / "journal", 0)
    os.truncate(directory / "schemas", 100)
    store.tick(6 * S)
    assert "cut short" in caplog.text
    assert store.stats().restored == 1
    assert (directory / "journal").stat().st_size == 1 << 20
    assert (directory / "schemas").stat().st_size == 1 << 20
    assert [message.key.seq for message in kit.backlog(store)] == [1]
    assert store.take_gaps() == [(kit.epoch(1), 0, 0, 3, "damaged")]
    store.close(7 * S)


def test_the_store_of_another_agent_in_its_place_is_left_alone(kit, directory, tmp_path):
    store = kit.open_real(directory)
    other = kit.open_real(tmp_path / "other", 2)
    kit.put(other, 2, 0)
    other.close(S)
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "other", directory)
    before = (directory / "journal").read_bytes()
    kit.put(store, 1, 0)
    store.tick(3 * S)
    assert "another journal" in store.stats().alarm
    assert store.take_live().key.seq == 0
    assert (directory / "journal").read_bytes() == before
    store.close(4 * S)
    assert store.stats().lost_samples == 1


def test_where_it_cannot_be_made_anew_the_old_file_still_gives_its_batches(kit, directory, monkeypatch):
    store = kit.open_real(directory)
    for seq in range(3):
        kit.put(store, 1, seq)
    store.tick(3 * S)
    shutil.rmtree(directory)
    real = os.posix_fallocate

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    kit.put(store, 1, 3, at_s=3)
    retry_ns = store.tick(6 * S)
    assert (store.stats().restored, retry_ns) == (0, 6 * S + RETRY_NS)
    assert "No space" in store.stats().alarm
    assert [message.key.seq for message in kit.backlog(store)] == [0, 1, 2]
    store.give_back()
    monkeypatch.setattr(os, "posix_fallocate", real)
    store.tick(retry_ns)
    assert (store.stats().restored, store.stats().alarm) == (1, "")
    again = successor(kit, directory)
    assert [message.key.seq for message in kit.backlog(again)] == [0, 1, 2, 3]
    again.close(S)
    store.close(retry_ns + S)


def test_schemas_are_written_again_when_only_their_file_was_deleted_as_soon_as_the_disk_has_room(
    kit, directory, monkeypatch
):
    store = kit.open_real(directory)
    store.put_schemas({b"hash0001": b"schema"})
    store.tick(S)
    (directory / "schemas").unlink()
    real = os.posix_fallocate

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    store.tick(2 * S)
    assert "No space" in store.stats().alarm
    monkeypatch.setattr(os, "posix_fallocate", real)
    store.tick(2 * S + RETRY_NS)
    assert store.stats().alarm == ""
    again = successor(kit, directory)
    assert again.schemas() == {b"hash0001": b"schema"}
    again.close(S)
    store.close(20 * S)


def test_an_agent_without_a_directory_stops_with_everything_stored(kit, directory):
    store = kit.open_real(directory)
    kit.put(store, 1, 0)
    shutil.rmtree(directory)
    store.close(S)
    assert store.stats().lost_samples == 0
    again = kit.open_real(directory, 2)
    assert [message.key.seq for message in kit.backlog(again)] == [0]
    again.close(S)
