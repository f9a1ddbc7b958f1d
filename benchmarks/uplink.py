"""What the uplink costs: CPU idle and at one message a second, memory, and how fast it drains, over real mosquitto.

`python benchmarks/uplink.py [--seconds 10]` prints a table. CPU is of the whole process, network thread included.
"""

import argparse
import os
import resource
import select
import sys
import time
from collections import deque
from pathlib import Path

from agent.clock import boot_ns
from agent.config.model import Mqtt
from agent.model import NS_PER_MS, NS_PER_S, BatchKey, Message
from agent.simulate.broker import Broker
from agent.uplink import Uplink

BURST_MESSAGES = 5000
PAYLOAD_BYTES = 4096


class Outbox:
    """Just enough of one: a queue, and a count of what the broker has."""

    def __init__(self):
        self.waiting = deque()
        self.taken = {}
        self.acknowledged = 0

    def put(self, seq):
        self.waiting.append(Message(BatchKey(b"benchmrk", seq), bytes(PAYLOAD_BYTES), 1))

    def take_live(self):
        if not self.waiting:
            return None
        message = self.waiting.popleft()
        self.taken[message.key] = message
        return message

    def take_backlog(self):
        return None

    def acknowledge(self, key):
        self.acknowledged += self.taken.pop(key, None) is not None

    def reject(self, key, reason):
        sys.exit(f"rejected {key}: {reason}")

    def give_back(self):
        self.waiting.extendleft(reversed(self.taken.values()))
        self.taken.clear()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short: does it work at all")
    seconds = 2 if parser.parse_args().quick else 10
    before_kib = rss_kib()
    with Broker("mosquitto") as broker:
        outbox = Outbox()
        uplink = Uplink(Mqtt(url=broker.url), "bench", outbox, dict)
        uplink.start()
        run(uplink, outbox, until=lambda: uplink.stats().connected)
        print(f"memory of an idle connection      {rss_kib() - before_kib:8} KiB, paho and ssl included")
        for per_s in (0, 1, 10):
            percent = cpu_share(uplink, outbox, seconds, per_s)
            print(f"{per_s:2} messages/s of {PAYLOAD_BYTES} B         {percent:8.4f} % of a core")
        per_s, cpu_us = burst(uplink, outbox)
        print(f"a burst of {BURST_MESSAGES}                   {per_s:8.0f} messages/s, {cpu_us:.0f} us CPU each")
        uplink.stop(boot_ns() + 2 * NS_PER_S)


def run(uplink, outbox, *, until, put_every_ns=0):
    """The agent's loop: sleep until something happens, pump."""
    poller = select.poll()
    poller.register(uplink.fileno(), select.POLLIN)
    next_put_ns = boot_ns() + put_every_ns
    seq = outbox.acknowledged
    while not until():
        now_ns = boot_ns()
        if put_every_ns and now_ns >= next_put_ns:
            outbox.put(seq)
            seq += 1
            next_put_ns += put_every_ns
        wake_ns = uplink.pump(now_ns)
        waits_ns = [at - now_ns for at in (wake_ns, next_put_ns if put_every_ns else None) if at is not None]
        poller.poll(max(0, min([*waits_ns, NS_PER_S])) / NS_PER_MS)


def cpu_share(uplink, outbox, seconds, per_s):
    end_ns = boot_ns() + seconds * NS_PER_S
    began = cpu_s()
    run(uplink, outbox, until=lambda: boot_ns() >= end_ns, put_every_ns=NS_PER_S // per_s if per_s else 0)
    return 100 * (cpu_s() - began) / seconds


def burst(uplink, outbox):
    goal = outbox.acknowledged + len(outbox.waiting) + len(outbox.taken) + BURST_MESSAGES
    for seq in range(goal - BURST_MESSAGES, goal):
        outbox.put(seq)
    began, began_cpu = time.perf_counter(), cpu_s()
    run(uplink, outbox, until=lambda: outbox.acknowledged >= goal)
    elapsed = time.perf_counter() - began
    return BURST_MESSAGES / elapsed, 1e6 * (cpu_s() - began_cpu) / BURST_MESSAGES


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_kib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    main()
