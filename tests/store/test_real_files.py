"""The store on the operating system's own files."""

import errno
import os
from pathlib import Path

import pytest

from agent.model import NS_PER_S
from agent.store.fs import RealFileSystem
from agent.store.writer import RETRY_NS

S = NS_PER_S


def test_the_directory_is_made_and_the_journal_preallocated(kit, tmp_path):
    directory = tmp_path / "var" / "lib"
    kit.open_real(directory).close(S)
    status = (directory / "journal").stat()
    assert status.st_size == 1 << 20
    assert status.st_blocks * 512 >= 1 << 20  # really there, no holes
    assert status.st_mode & 0o777 == 0o600


def test_batches_survive_a_restart(kit, tmp_path):
    store = kit.open_real(tmp_path)
    for seq in range(300):  # several laps
        kit.put(store, 1, seq, [seq], at_s=seq, size=9000)
        store.tick((seq + 3) * S)
    store.close(400 * S)
    again = kit.open_real(tmp_path, 2)
    found = kit.backlog(again)
    assert [message.key.seq for message in found] == list(range(found[0].key.seq, 300))
    assert found[-1] == kit.historical(kit.message(1, 299, [299], 9000))
    again.close(S)


def test_a_directory_that_cannot_be_made_means_memory_with_an_alarm(kit, tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = kit.open_real(tmp_path / "file" / "store")
    assert store.stats().alarm
    kit.put(store, 1, 0)
    assert store.tick(3 * S) is not None
    assert store.take_live().key.seq == 0
    store.close(4 * S)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "let this user write there, or give [store] another path"),
        (errno.EROFS, "mount it for writing"),
        (errno.ENOSPC, "make room, or journal_bytes smaller"),
    ],
)
def test_an_alarm_says_what_to_do(kit, tmp_path, monkeypatch, number, remedy):
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("agent.store.fs.RealFileSystem.open", refuse)
    store = kit.open_real(tmp_path)
    assert os.strerror(number) in store.stats().alarm
    assert remedy in store.stats().alarm
    store.close(S)


def test_a_second_agent_on_the_same_directory_works_in_memory_until_the_first_is_gone(kit, tmp_path):
    first = kit.open_real(tmp_path)
    second = kit.open_real(tmp_path, 2)
    assert "in use by another agent" in second.stats().alarm
    assert str(tmp_path) in second.stats().alarm
    first.close(S)
    second.tick(60 * S)
    assert second.stats().alarm == ""
    second.close(61 * S)


def test_files_are_closed_and_their_locks_given_back(kit, tmp_path):
    before = set(Path("/proc/self/fd").iterdir())
    for run in range(1, 4):
        kit.open_real(tmp_path, run).close(S)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_smaller_and_a_larger_journal_take_over(kit, tmp_path):
    store = kit.open_real(tmp_path)
    for seq in range(20):
        kit.put(store, 1, seq, size=3000)
    store.close(S)
    for run, size in ((2, 2 << 20), (3, 1 << 19)):
        again = kit.open_real(tmp_path, run, journal_bytes=size)
        assert [message.key.seq for message in kit.backlog(again)] == list(range(20))
        again.close(S)
        assert (tmp_path / "journal").stat().st_size == size
        assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "schemas"]


def test_a_larger_journal_that_the_disk_has_no_room_for_takes_over_when_there_is(kit, tmp_path, monkeypatch):
    store = kit.open_real(tmp_path)
    for seq in range(300):  # several laps: the pages would stand elsewhere in a larger file
        kit.put(store, 1, seq, at_s=seq, size=9000)
        store.tick((seq + 3) * S)
    store.close(400 * S)
    real = os.posix_fallocate

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    again = kit.open_real(tmp_path, 2, journal_bytes=2 << 20)
    for attempt in range(3):
        again.tick((attempt + 1) * RETRY_NS)
        assert "No space left" in again.stats().alarm
    assert (tmp_path / "journal.new").stat().st_size == 0
    monkeypatch.setattr(os, "posix_fallocate", real)
    again.tick(4 * RETRY_NS)
    assert again.stats().alarm == ""
    assert kit.backlog(again)[-1].key.seq == 299
    assert [gap.reason for gap in again.recovered_gaps] == ["evicted"]
    assert again.take_gaps() == again.recovered_gaps
    again.close(5 * RETRY_NS)


def test_a_full_disk_at_the_first_start_means_memory_until_there_is_room(kit, tmp_path, monkeypatch):
    real = os.posix_fallocate

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    store = kit.open_real(tmp_path)
    kit.put(store, 1, 0)
    store.tick(3 * S)
    assert "No space left" in store.stats().alarm
    monkeypatch.setattr(os, "posix_fallocate", real)
    store.tick(RETRY_NS)
    assert (store.stats().alarm, store.stats().memory_bytes) == ("", 0)
    store.close(2 * RETRY_NS)


def test_allocate_writes_zeros_up_to_an_odd_end_and_cuts_back(tmp_path):
    fs = RealFileSystem()
    path = tmp_path / "file"
    path.write_bytes(b"head")
    file = fs.open(str(path))
    fs.allocate(file, 2_500_001)
    assert path.read_bytes() == b"head" + bytes(2_499_997)
    fs.allocate(file, 2)
    assert path.read_bytes() == b"he"
    fs.close(file)


def test_rename_replaces(tmp_path):
    fs = RealFileSystem()
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    fs.rename(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "a"
    assert not Path(tmp_path / "a").exists()


def test_errors_of_the_system_come_through(tmp_path):
    fs = RealFileSystem()
    with pytest.raises(FileNotFoundError):
        fs.open(str(tmp_path / "none" / "file"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        fs.read(-1, 10, 0)
