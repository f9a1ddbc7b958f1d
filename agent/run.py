"""A configuration in, a working gateway out: every stage wired in the order of the flow.

    ports ─▶ bus loop ─▶ rings ─▶ filter ─▶ open batch ─▶ store ─▶ uplink ─▶ broker
    └─ threads of their own ─┘   └────────── Gateway.turn, one thread ───┘  paho's

The one loop below sleeps until a batch or a fragment is due, a ring fills up, or the broker answers.
"""

import logging
import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Self

from agent import summary
from agent._native.samples import Samples
from agent.acquire.bus import Acquisition
from agent.acquire.memory import Memory
from agent.acquire.plan import Plan
from agent.acquire.scheduling import Scheduling
from agent.acquire.trace import pcapng
from agent.batch import Encoder, OpenBatch, SchemaBook, mark_historical, merge
from agent.clock import boot_ns, wall_clock
from agent.config.model import Config, Mqtt
from agent.control.desk import Control
from agent.model import NS_PER_MS, NS_PER_S, Gap
from agent.process.filters import compile_filter
from agent.store import Store
from agent.uplink import Uplink

log = logging.getLogger("fieldtap")

# SIGTERM must end the agent within 5 s: this much is for handing the last batches over.
FLUSH_NS = 3 * NS_PER_S
# Come round at least this often even when no stage asks for it; bounds the harm of one that forgets to.
IDLE_NS = 10 * NS_PER_S


class Gateway:
    """One running agent: construct, `run()`, then read `summary()`."""

    def __init__(self, config: Config, plan: Plan, memory: Memory | None = None) -> None:
        now_ns = boot_ns()
        batching = config.mqtt or Mqtt(url="")
        self.name = config.gateway.id
        self.plan_size = len(plan.tags), len(plan.groups), len(plan.buses)
        self.started_ns = now_ns
        self.epoch = os.urandom(8)
        scheduling = Scheduling(config.gateway.loop_priority, config.gateway.loop_cpu)
        self.acquisition = Acquisition(config.buses, plan, memory, scheduling)
        self.control = Control(config, self.acquisition)
        self.filter = compile_filter(plan.tags)
        encoder = Encoder(
            config.gateway.id, self.epoch, plan.tags, plan.groups, batching.format, batching.max_message_bytes
        )
        self.batch = OpenBatch(encoder, batching.batch_s, config.store.loss_window_s, now_ns)
        self.store = Store.open(config.store, epoch=self.epoch, now_ns=now_ns, merge=_merge, mark=mark_historical)
        self.store.put_schemas(encoder.schemas())
        self.uplink = Uplink(config.mqtt, config.gateway.id, self.store, self.store.schemas) if config.mqtt else None
        self.fresh = Samples()
        self.counts = summary.Counts()
        self.dropped_told = 0

    def run(self, stop: "StopSignal", duration_ns: int | None = None) -> None:
        """Work until `stop` is raised or `duration_ns` have passed, then hand over what is left and end."""
        end_ns = None if duration_ns is None else self.started_ns + duration_ns
        tags, requests, buses = self.plan_size
        log.info("%s: %d tags in %d requests on %d bus%s", self.name, tags, requests, buses, "" if buses == 1 else "es")
        waiter = self._waiter(stop)  # first: who finds a port taken finds the agent that can be asked
        self.acquisition.start()
        if self.uplink:
            self.uplink.start()
        try:
            while not stop.raised and (end_ns is None or boot_ns() < end_ns):
                wake_ns = self.turn(boot_ns())
                _wait(waiter, wake_ns if end_ns is None else min(wake_ns, end_ns))
        finally:
            self.end()

    def turn(self, now_ns: int) -> int:
        """Move everything that is due one step along the flow; return when to come back at the latest."""
        self.control.turn(now_ns)
        self.collect(now_ns)
        if self.batch.is_due(now_ns):
            self.close_batch(now_ns)
        elif self.batch.needs_saving(now_ns):
            self.save_fragment(now_ns)
        # The uplink first: what it hears to be acknowledged need not be written.
        uplink_ns = self.uplink.pump(now_ns) if self.uplink else None
        asks = [self.batch.next_drain_ns(), uplink_ns, self.store.tick(now_ns), self.acquisition.look(now_ns)]
        return min(now_ns + IDLE_NS, *(ask for ask in asks if ask is not None))

    def collect(self, now_ns: int) -> None:
        """Rings -> filter -> open batch."""
        self.acquisition.drain(self.fresh)
        self.counts.samples_read += self.fresh.values()
        self.filter.apply(self.fresh)
        self.counts.samples_kept += self.fresh.values()
        self.batch.add(self.fresh, now_ns)
        self.fresh.clear()

    def close_batch(self, now_ns: int) -> None:
        """Open batch -> store."""
        self._count_overruns()
        gaps = self.store.take_gaps()
        oldest_unsaved_ns, oldest_ns = self.batch.oldest_unsaved_ns, self.batch.oldest_ns
        messages = self.batch.close(now_ns, wall_clock(), gaps)
        if len(messages) == 1:
            self.store.put(messages[0], oldest_unsaved_ns, now_ns)
        else:
            # Fragments stand for the first of them only, and what they saved is in the others, too: none goes out
            # before all are as safe as the fragments were.
            for message in messages:
                self.store.put(message, oldest_ns, now_ns)
            self.store.tick(now_ns)
        self.counts.gaps += len(gaps)
        self.counts.batches += len(messages)

    def save_fragment(self, now_ns: int) -> None:
        """What the loss window would give up -> store."""
        fragment = self.batch.fragment(wall_clock())
        if fragment is None:
            self.close_batch(now_ns)
        else:
            self.store.checkpoint(fragment, now_ns)

    def end(self) -> None:
        """Stop reading, then hand over in the order of the flow: rings, open batch, broker, journal."""
        now_ns = boot_ns()
        self.control.stop(self.acquisition.stop(), now_ns)
        self.collect(now_ns)
        if len(self.batch):
            self.close_batch(now_ns)
        if self.uplink:
            self.uplink.stop(boot_ns() + FLUSH_NS)
        self.store.close(boot_ns())
        self._tell_end()

    @property
    def lost(self) -> int:
        """Samples that were lost at the end: neither a broker nor the store took them."""
        return self.store.stats().lost_samples

    def summary(self) -> dict[str, Any]:
        """The summary document of the contract, as it stands now."""
        return summary.document(
            boot_ns() - self.started_ns,
            self.counts,
            self.acquisition.stats(),
            self.acquisition.chronicle.since(0),
            self.store.stats(),
            self.uplink.stats() if self.uplink else None,
        )

    def capture(self) -> bytes:
        """The last frames of every bus as a pcapng file. May be called at any time, also after the end."""
        return pcapng(self.acquisition.trace(), wall_clock().offset_ns)

    def _tell_end(self) -> None:
        left = self.store.stats()
        waiting = "1 batch waits" if left.pending_batches == 1 else f"{left.pending_batches} batches wait"
        log.info("%s: ended, %s in the store", self.name, waiting)
        if left.lost_samples:
            why = left.alarm or "it is full"
            log.error("%s: %d samples are lost: no broker took them, nor the store: %s", self.name, self.lost, why)

    def _count_overruns(self) -> None:
        """Samples that full rings had to drop since the last batch are a gap; they never had a batch number."""
        dropped = sum(bus.ring_dropped for bus in self.acquisition.stats().values())
        lost, self.dropped_told = dropped - self.dropped_told, dropped
        if lost:
            self.store.add_gap(Gap(self.epoch, self.batch.seq, self.batch.seq - 1, lost, "overrun"))

    def _waiter(self, stop: "StopSignal") -> select.poll:
        waiter = select.poll()
        waiter.register(stop.fileno(), select.POLLIN)
        waiter.register(self.acquisition.fileno(), select.POLLIN)
        for fd in self.control.start():
            waiter.register(fd, select.POLLIN)
        if self.uplink:
            waiter.register(self.uplink.fileno(), select.POLLIN)
        return waiter


def _merge(parts: Sequence[bytes], schemas: Mapping[bytes, bytes]) -> bytes:
    return merge(parts, SchemaBook.of_readable(schemas.values()))


class StopSignal:
    """SIGTERM or SIGINT in, a flag and a readable descriptor out; the handlers before it are put back on exit."""

    def __init__(self) -> None:
        self.raised: int | None = None
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read_fd)
        os.close(self._write_fd)

    def fileno(self) -> int:
        """Readable once a signal has come; nobody reads it, so it stays so."""
        return self._read_fd

    def _raise(self, number: int, _: FrameType | None) -> None:
        if self.raised is None:
            self.raised = number
            os.write(self._write_fd, b"!")


def _wait(waiter: select.poll, until_ns: int) -> None:
    """Sleep until a descriptor is readable or `until_ns` has come, rounded up to a millisecond."""
    waiter.poll(max(0, -((boot_ns() - until_ns) // NS_PER_MS)))
