"""Runs a store on a real directory as fast as it can until it is killed, and tells what it has promised, line by line.

Arguments: directory, run number, seed. Lines: `put SEQ FIRST LAST`, `safe SEQ`, `acked SEQ`.
"""

import random
import sys

from agent.config.model import Store as Settings
from agent.model import NS_PER_S, BatchKey, Message
from agent.store import Store


def merge(parts, schemas):
    return b" ".join(part.split(b"|")[0] for part in parts) + b"|"


def main(directory, run, seed):
    rng = random.Random(seed)
    settings = Settings(path=directory, journal_bytes=1 << 20, loss_window_s=2.0)
    epoch = b"epoch%03d" % run
    store = Store.open(settings, epoch=epoch, now_ns=0, merge=merge, mark=bytes)
    now, sample = 0, 0
    for seq in range(1_000_000):
        count = rng.randint(1, 20)
        names = b" ".join(b"%d" % (sample + i) for i in range(count))
        payload = names + b"|" + bytes(rng.choice([0, 100, 3000, 20_000]))
        print(f"put {seq} {sample} {sample + count - 1}", flush=True)
        store.put(Message(BatchKey(epoch, seq), payload, count), now, now)
        sample += count
        now += 3 * NS_PER_S
        store.tick(now)
        print(f"safe {seq}", flush=True)
        for take in (store.take_backlog, store.take_live):
            if rng.random() < 0.98 and (message := take()):
                print(f"acked {message.key.epoch.decode()} {message.key.seq}", flush=True)
                store.acknowledge(message.key)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
