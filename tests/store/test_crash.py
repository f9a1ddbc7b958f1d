"""A power cut at every write of a workload: nothing promised is lost, nothing comes twice, every loss is counted."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import NS_PER_S

WINDOW_NS = 2 * NS_PER_S
STEPS = {"read": 8, "put": 4, "tick": 4, "send": 3, "ack": 3, "cut_link": 0.4, "checkpoint": 1, "restart": 0.3}


class Bench:
    """A store under a random workload, and beside it what the store has promised."""

    def __init__(self, kit, fs, seed, journal_bytes):
        self.kit = kit
        self.rng = random.Random(seed)
        self.fs = fs
        self.journal_bytes = journal_bytes
        self.now = 0
        self.run = 0
        self.sample = 0
        self.born = {}  # sample -> (time it was read, key of its batch)
        self.in_batch = {}  # key -> samples
        self.acked = set()  # keys
        self.safe = set()  # samples that may not vanish silently any more
        self.store = None

    def start(self):
        self.run += 1
        self.seq = 0
        self.open_batch = []  # samples of the batch that is still open
        self.checkpointed = 0  # of these
        self.flying = []
        self.clean = False
        self.store = self.kit.open_store(self.fs, self.run, now_s=self.now / NS_PER_S, journal_bytes=self.journal_bytes)

    def work(self, steps):
        self.start()
        for _ in range(steps):
            getattr(self, self.rng.choices(list(STEPS), STEPS.values())[0])()
        return self

    def read(self):
        key = (self.kit.epoch(self.run), self.seq)
        for _ in range(self.rng.randint(1, 4)):
            self.open_batch.append(self.sample)
            self.in_batch.setdefault(key, set()).add(self.sample)
            self.born[self.sample] = (self.now, key)
            self.sample += 1

    def put(self):
        if self.open_batch:
            size = self.rng.choice([0, 50, 3000, 4000, 4096, 9000])
            message = self.kit.message(self.run, self.seq, self.open_batch, size)
            self.store.put(message, self.born[self.open_batch[0]][0], self.now)
            self.seq += 1
            self.open_batch, self.checkpointed = [], 0

    def checkpoint(self):
        fresh = self.open_batch[self.checkpointed :]
        if fresh:
            size = self.rng.choice([0, 100, 5000])
            message = self.kit.message(self.run, self.seq, fresh, size)
            self.store.checkpoint(message, self.now)
            self.checkpointed = len(self.open_batch)

    def tick(self):
        self.now += self.rng.choice([1, NS_PER_S, 3 * NS_PER_S, 15 * NS_PER_S])
        self.checkpoint()  # as the agent does: a sample that was never handed over cannot be kept
        self.store.tick(self.now)
        self.promise(self.now - WINDOW_NS)

    def promise(self, until):
        """From now on the samples of this run that are this old may not vanish."""
        mine = ((s, born, key) for s, (born, key) in self.born.items() if key[0] == self.kit.epoch(self.run))
        self.safe |= {s for s, born, key in mine if born <= until and key not in self.acked}

    def send(self):
        for take in self.rng.sample([self.store.take_live, self.store.take_backlog], 2):
            if message := take():
                self.flying.append(message.key)

    def ack(self):
        if self.flying:
            key = self.flying.pop(self.rng.randrange(len(self.flying)))
            self.store.acknowledge(key)
            self.acked.add(tuple(key))

    def cut_link(self):
        self.store.give_back()
        self.flying = []

    def restart(self):
        self.checkpoint()
        self.put()
        self.store.close(self.now)
        self.promise(self.now)
        self.clean = True
        self.start()


def check(bench, fs):
    """Open what the cut left, take everything, and compare with what was promised."""
    kit = bench.kit
    store = kit.open_store(fs, 999, now_s=0, journal_bytes=bench.journal_bytes)
    found = kit.backlog(store)
    keys = [tuple(message.key) for message in found]
    assert max(Counter(keys).values(), default=1) == 1, "a batch comes twice"
    assert keys == sorted(keys), "batches come out of order"
    recovered = set()
    for message in found:
        samples = kit.samples_of(message.payload)
        assert len(samples) == message.samples
        assert samples == sorted(set(samples))
        assert set(samples) <= bench.in_batch[tuple(message.key)], "a sample in the wrong batch"
        assert message.historical
        recovered |= set(samples)
    missing = {s for s in bench.safe if s not in recovered and bench.born[s][1] not in bench.acked}
    gaps = store.take_gaps()
    counted = [gap for gap in gaps if gap.reason in {"evicted", "damaged"}]
    assert not missing or bench.store.stats().evicted or bench.journal_bytes < 1 << 20, "lost with room to spare"
    for sample in missing:
        run, seq = bench.born[sample][1]
        assert any(g.epoch == run and g.first_seq <= seq <= g.last_seq for g in counted), f"{sample} lost silently"
    restarts = [gap.epoch for gap in gaps if gap.reason == "restart"]
    assert len(set(restarts)) == len(restarts), "an unclean stop is told twice"


def cut_everywhere(kit, seed, journal_bytes, steps):
    """The same workload again and again, cut one write later each time."""
    total = Bench(kit, kit.FaultyFileSystem(), seed, journal_bytes).work(steps).fs.operations
    for cut_at in range(1, total + 1):
        fs = kit.FaultyFileSystem()
        fs.cut_at = cut_at
        bench = Bench(kit, fs, seed, journal_bytes)
        with pytest.raises(kit.PowerCutError):
            bench.work(steps)
        check(bench, fs.after_power_cut((seed, cut_at).__hash__()))


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_at_any_write_loses_nothing_that_was_promised(kit, seed):
    cut_everywhere(kit, seed, 1 << 20, steps=150)


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_at_any_write_of_a_full_ring_counts_what_was_evicted(kit, seed):
    cut_everywhere(kit, 100 + seed, 1 << 16, steps=200)


@settings(max_examples=150)
@given(seed=st.integers(0, 1 << 30), steps=st.integers(1, 300), pages=st.sampled_from([16, 24, 64, 256]))
def test_any_workload_killed_at_its_end_keeps_its_promise(kit, seed, steps, pages):
    bench = Bench(kit, kit.FaultyFileSystem(), seed, pages * 4096).work(steps)
    check(bench, bench.fs.after_kill())


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 30), cuts=st.lists(st.integers(1, 60), min_size=2, max_size=6))
def test_cut_after_cut_the_order_and_the_promise_hold(kit, seed, cuts):
    bench = Bench(kit, kit.FaultyFileSystem(), seed, 1 << 17)
    for number, cut in enumerate(cuts):
        bench.fs.cut_at = cut
        try:
            bench.work(80)
        except kit.PowerCutError:
            bench.fs = bench.fs.after_power_cut(seed + number)
        else:
            bench.fs = bench.fs.after_kill()
    bench.fs.cut_at = None
    check(bench, bench.fs)
