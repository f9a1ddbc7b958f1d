"""What the store costs: commit time and bytes by way of writing, restart with a full journal."""

import argparse
import json
import mmap
import os
import sys
import tempfile
import time
from pathlib import Path

from agent._native.page import crc32c, crc32c_portable
from agent.config.model import Store as Settings
from agent.model import NS_PER_S, BatchKey, Message
from agent.store import Store
from agent.store.fs import RealFileSystem

JOURNAL_BYTES = 64 << 20
COMMITS = 400


class DirectFileSystem(RealFileSystem):
    """The alternative that was measured: O_DIRECT | O_DSYNC through an aligned buffer, no fdatasync."""

    def __init__(self):
        self._direct = {}
        self._aligned = mmap.mmap(-1, 2 << 20)

    def open(self, path):
        file = super().open(path)
        self._direct[file] = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC)
        return file

    def write(self, file, data, offset):
        if len(data) % 4096 or len(data) > len(self._aligned):
            super().write(file, data, offset)
            os.fdatasync(file)
            return
        self._aligned[: len(data)] = data
        os.pwrite(self._direct[file], memoryview(self._aligned)[: len(data)], offset)

    def sync(self, file):
        pass


def open_store(directory, run=1, **options):
    settings = Settings(path=str(directory), journal_bytes=JOURNAL_BYTES)
    return Store.open(
        settings, epoch=b"epoch%03d" % run, now_ns=0, merge=lambda parts, _: b"".join(parts), mark=bytes, **options
    )


def message(run, seq, size):
    return Message(BatchKey(b"epoch%03d" % run, seq), os.urandom(size), 500)


def commit_cost(directory, size, fs):
    """Microseconds of wall and CPU per commit, and bytes written per payload byte."""
    store = open_store(directory, fs=fs)
    cpu, wall = time.process_time(), time.perf_counter()
    for seq in range(COMMITS):
        store.put(message(1, seq, size), 0, 0)
        store.tick(3 * NS_PER_S)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    written = store.stats().bytes_written
    store.close(0)
    return {
        "us": round(wall / COMMITS * 1e6, 1),
        "us of CPU": round(cpu / COMMITS * 1e6, 1),
        "written per byte": round(written / COMMITS / size, 2),
    }


def restart(directory, size):
    """Seconds to open a journal full of unacknowledged batches of this size, and to read them all."""
    store, run = open_store(directory), 1
    for seq in range(JOURNAL_BYTES // max(size, 4096)):
        store.put(message(run, seq, size), 0, 0)
        store.tick(3 * NS_PER_S)
    store.close(0)
    began = time.perf_counter()
    store = open_store(directory, 2)
    opened = time.perf_counter()
    count = 0
    while store.take_backlog():
        count += 1
    drained = time.perf_counter()
    store.close(0)
    return {"batches": count, "s to open": round(opened - began, 3), "s to read": round(drained - opened, 3)}


def healthy_link():
    """CPU per batch that is acknowledged at once."""
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(directory)
        batches = [message(1, seq, 4000) for seq in range(20_000)]
        began = time.process_time()
        for seq, batch in enumerate(batches):
            store.put(batch, seq, seq)
            store.acknowledge(store.take_live().key)
            store.tick(seq)
        spent = time.process_time() - began
        written = store.stats().bytes_written
        store.close(0)
    return {"us of CPU": round(spent / len(batches) * 1e6, 2), "bytes written": written}


def checksum(function):
    page = os.urandom(4096)
    began = time.perf_counter()
    for _ in range(20_000):
        function(page)
    return round(20_000 * 4096 / (time.perf_counter() - began) / 1e9, 2)


def measure():
    """Table -> row -> column -> value."""
    sizes = {"commits": (1000, 3800, 8000, 65_000), "restarts": (3800, 60_000)}
    results = {
        "CRC32C of pages": {
            "this CPU's instruction": {"GB/s": checksum(crc32c)},
            "portable": {"GB/s": checksum(crc32c_portable)},
        },
        "a batch acknowledged within the loss window": {"healthy link": healthy_link()},
        "a commit": {},
        f"a restart with a full journal of {JOURNAL_BYTES >> 20} MiB": {},
    }
    commits, restarts = list(results.values())[2:]
    for size in sizes["commits"]:
        for name, fs in (("fdatasync", RealFileSystem), ("O_DIRECT", DirectFileSystem)):
            with tempfile.TemporaryDirectory(dir=Path.home()) as directory:
                commits[f"{size:6} bytes, {name}"] = commit_cost(directory, size, fs())
    for size in sizes["restarts"]:
        with tempfile.TemporaryDirectory(dir=Path.home()) as directory:
            restarts[f"batches of {size:6} bytes"] = restart(directory, size)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="the same: it takes seconds")
    results = measure()
    if parser.parse_args().json:
        json.dump(results, sys.stdout)
        print()
        return
    for title, rows in results.items():
        print(f"\n{title:44}" + "".join(f"{column:>18}" for column in next(iter(rows.values()))))
        for name, row in rows.items():
            print(f"  {name:42}" + "".join(f"{value:18,}" for value in row.values()))


if __name__ == "__main__":
    main()
