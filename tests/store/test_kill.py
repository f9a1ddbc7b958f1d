"""kill -9 of a real process at random moments, on a real file system."""

import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

KILLS = 24
WORKER = Path(__file__).with_name("killed_agent.py")


def run_until_killed(directory, run, seed):
    """The lines a worker wrote before it was killed, at a random line."""
    rng = random.Random(seed)
    lines = []
    command = [sys.executable, str(WORKER), str(directory), str(run), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        lines += islice(worker.stdout, rng.choice([1, 3, 10, 60, 200]))
        worker.kill()
        lines += worker.stdout
    return [line.split() for line in lines if line.endswith("\n")]


def test_kill_at_random_moments_loses_nothing_that_was_promised(kit, tmp_path):
    restarts = 0
    for run in range(1, KILLS + 1):
        lines = run_until_killed(tmp_path, run, seed=run)
        put = {int(line[1]): list(range(int(line[2]), int(line[3]) + 1)) for line in lines if line[0] == "put"}
        acked = {(line[1], int(line[2])) for line in lines if line[0] == "acked"}
        safe = {int(line[1]) for line in lines if line[0] == "safe"}

        store = kit.open_real(tmp_path, 500 + run)
        found = kit.backlog(store)
        keys = [(message.key.epoch.decode(), message.key.seq) for message in found]
        epoch = f"epoch{run:03}"
        assert len(keys) == len(set(keys))
        assert keys == sorted(keys)
        assert {seq for seq in safe if (epoch, seq) not in acked} <= {seq for e, seq in keys if e == epoch}
        for message in found:
            if message.key.epoch.decode() == epoch:
                assert kit.samples_of(message.payload) == put[message.key.seq]
        restarts += sum(g.reason == "restart" and g.epoch.decode() == epoch for g in store.recovered_gaps)
        assert not [gap for gap in store.recovered_gaps if gap.reason != "restart"]
        for message in found:
            store.acknowledge(message.key)
        assert store.take_gaps() == store.recovered_gaps
        kit.put(store, 500 + run, 0)
        store.acknowledge(store.take_live().key)
        store.close(0)
    assert restarts == KILLS
