"""A file system that fails as flash does, and short ways to make stores and batches."""

import errno
import random

import pytest

from agent.config.model import Store as Settings
from agent.model import NS_PER_S, BatchKey, Message
from agent.store import Store

SECTOR = 512


class PowerCutError(Exception):
    """The machine is gone; nothing in the store may catch this."""


class FaultyFileSystem:
    """Files in memory. What was not synced when the power is cut is kept, dropped or torn; errors on demand."""

    def __init__(self):
        self.files = {}  # path -> what reads see
        self.durable = {}  # path -> what a power cut cannot take
        self.unsynced = {}  # path -> [(offset, bytes)]
        self.names = {}  # open file -> path
        self.operations = 0
        self.cut_at = None
        self.error = None  # (errno, methods)
        self.bad_offsets = set()  # reads that touch one of these bytes fail
        self.synced_bytes = 0

    def fail(self, number, *methods):
        self.error = (number, methods)

    def work(self):
        self.error = None

    def _step(self, method):
        if self.error and method in self.error[1]:
            raise OSError(self.error[0], f"injected into {method}")
        if method in {"write", "sync", "rename", "allocate"}:
            self.operations += 1
            if self.operations == self.cut_at:
                raise PowerCutError(method)

    def make_directory(self, path):
        self._step("make_directory")

    def open(self, path):
        self._step("open")
        if path in self.names.values():
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        for files in (self.files, self.durable):
            files.setdefault(path, bytearray())
        self.unsynced.setdefault(path, [])
        file = max(self.names, default=2) + 1
        self.names[file] = path
        return file

    def is_at(self, file, path):
        return self._path(file) == path

    def size(self, file):
        return len(self.files[self._path(file)])

    def allocate(self, file, size):
        self._step("allocate")
        path = self.names[file]
        for files in (self.files, self.durable):
            del files[path][size:]
            files[path].extend(bytes(size - len(files[path])))

    def read(self, file, count, offset):
        self._step("read")
        if any(offset <= bad < offset + count for bad in self.bad_offsets):
            raise OSError(errno.EIO, "bad sector")
        return bytes(self.files[self._path(file)][offset : offset + count])

    def write(self, file, data, offset):
        path = self._path(file)
        try:
            self._step("write")
        except PowerCutError:
            self.unsynced[path].append((offset, bytes(data)))
            raise
        assert offset + len(data) <= len(self.files[path]), "the file must never grow"
        self.files[path][offset : offset + len(data)] = data
        self.unsynced[path].append((offset, bytes(data)))

    def sync(self, file):
        self._step("sync")
        path = self._path(file)
        for offset, data in self.unsynced[path]:
            self.durable[path][offset : offset + len(data)] = data
            self.synced_bytes += len(data)
        self.unsynced[path] = []

    def close(self, file):
        self.names.pop(file, None)

    def rename(self, old, new):
        self._step("rename")
        for files in (self.files, self.durable, self.unsynced):
            files[new] = files.pop(old)
        self.names = {file: new if path == old else path for file, path in self.names.items()}

    def _path(self, file):
        if file not in self.names:
            raise OSError(errno.EBADF, "not open")
        return self.names[file]

    def after_power_cut(self, seed):
        """The disk as the next start finds it. Unsynced sectors are a matter of luck; a page in flight may be noise."""
        rng = random.Random(seed)
        fresh = FaultyFileSystem()
        fate = rng.choice(["all", "none", "torn", "noise"])
        for path, content in self.durable.items():
            left = bytearray(content)
            for offset, data in self.unsynced[path]:
                _land(left, offset, data, fate, rng)
            fresh.files[path], fresh.durable[path], fresh.unsynced[path] = left, bytearray(left), []
        return fresh

    def after_kill(self):
        """The process died, the machine lives: the page cache still reaches the disk."""
        fresh = FaultyFileSystem()
        for path, content in self.files.items():
            fresh.files[path], fresh.durable[path], fresh.unsynced[path] = bytearray(content), bytearray(content), []
        return fresh


def _land(left, offset, data, fate, rng):
    for start in range(0, len(data), SECTOR):
        if fate == "all" or (fate != "none" and rng.random() < 0.5):
            left[offset + start : offset + start + SECTOR] = data[start : start + SECTOR]
    if fate == "noise":
        page = rng.randrange(0, len(data), 4096)
        left[offset + page : offset + page + 4096] = rng.randbytes(4096)


def epoch(number):
    return b"epoch%03d" % number


def message(run, seq, samples, size=0):
    """A batch whose payload names its samples, padded to a size."""
    names = b" ".join(b"%d" % sample for sample in samples)
    return Message(BatchKey(epoch(run), seq), names + b"|" + bytes(max(0, size - len(names) - 1)), len(samples))


def samples_of(payload):
    return [int(name) for name in payload.split(b"|")[0].split()]


def merge(parts, schemas):
    return b" ".join(part.split(b"|")[0] for part in parts) + b"|"


def mark(payload):
    return payload + b"H"


def historical(message):
    """A message as it comes when it comes late."""
    return message._replace(payload=mark(message.payload), historical=True)


def open_store(fs, run=1, *, now_s=0, journal_bytes=1 << 20, when_full="thin", page_bytes=4096, mark=mark):
    settings = Settings(path="/store", journal_bytes=journal_bytes, when_full=when_full, loss_window_s=2.0)
    return Store.open(
        settings,
        epoch=epoch(run),
        now_ns=int(now_s * NS_PER_S),
        merge=merge,
        mark=mark,
        fs=fs,
        wall_ns=lambda: 1_700_000_000 * NS_PER_S,
        page_bytes=page_bytes,
    )


def put(store, run, seq, samples=(1,), *, at_s=0.0, size=0):
    store.put(message(run, seq, list(samples), size), int(at_s * NS_PER_S), int(at_s * NS_PER_S))


def backlog(store):
    """Everything the journal has to give, taken."""
    taken = []
    while found := store.take_backlog():
        taken.append(found)
    return taken


def open_real(directory, run=1, **settings):
    """A store on the system's own files."""
    values = {"journal_bytes": 1 << 20, **settings}
    return Store.open(Settings(path=str(directory), **values), epoch=epoch(run), now_ns=0, merge=merge, mark=mark)


class Kit:
    """What the tests of this folder share; a fixture because test files cannot import each other."""

    FaultyFileSystem = FaultyFileSystem
    PowerCutError = PowerCutError
    epoch = staticmethod(epoch)
    message = staticmethod(message)
    samples_of = staticmethod(samples_of)
    merge = staticmethod(merge)
    mark = staticmethod(mark)
    historical = staticmethod(historical)
    open_real = staticmethod(open_real)
    open_store = staticmethod(open_store)
    put = staticmethod(put)
    backlog = staticmethod(backlog)


@pytest.fixture(scope="session")
def kit():
    return Kit


@pytest.fixture
def fs():
    return FaultyFileSystem()
