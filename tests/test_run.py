"""What the agent's one loop hands to the store, in virtual time and without a port."""

import random
from pathlib import Path

import pytest

from agent._native.samples import Samples
from agent.acquire.plan import compile_plan
from agent.batch import SchemaBook, decode
from agent.batch.record import RECORD
from agent.config import load_config
from agent.model import NS_PER_MS, NS_PER_S, ValueType
from agent.run import Gateway, StopSignal
from agent.store.view import View

CONFIG = """\
schema = 1
[mqtt]
url = "mqtt://127.0.0.1:1"
batch_s = 10
max_message_bytes = 1024
[store]
path = "{store}"
[[bus]]
name = "b"
port = "/dev/no-such-port"
[[bus.device]]
name = "d"
unit = 1
tag = [{{ name = "t", register = "holding:0", type = "u16" }}]
"""


@pytest.fixture
def gateway(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.format(store=tmp_path / "store"))
    config = load_config(str(path))
    made = Gateway(config, compile_plan(config))
    yield made
    made.store.close(made.started_ns)


def samples(first, count, time_ns):
    """Values that no compression makes small."""
    noise = random.Random(first)
    rows = [
        RECORD.pack(time_ns + i * NS_PER_MS, noise.randrange(65_536), 0, 0, ValueType.U16, 0, 0, 0)
        for i in range(count)
    ]
    return Samples(b"".join(rows))


def stored(tmp_path: Path, gateway):
    """Samples that an agent killed now would leave."""
    view = View(tmp_path / "store")
    book = SchemaBook(gateway.batch.encoder.schemas().values())
    found = [
        sample for batch in view.pending() for payload in batch.payloads for sample in decode(payload, book).samples
    ]
    view.close()
    return found


def test_what_a_fragment_saved_stays_saved_when_its_batch_is_split_and_the_first_part_delivered(gateway, tmp_path):
    start = gateway.started_ns
    gateway.batch.add(samples(0, 150, start), start + NS_PER_S)
    gateway.save_fragment(start + 2 * NS_PER_S)
    gateway.store.tick(start + 2 * NS_PER_S)
    assert len(stored(tmp_path, gateway)) == 150
    gateway.batch.add(Samples(), start + 9 * NS_PER_S)
    gateway.batch.add(samples(150, 600, start + 9 * NS_PER_S), start + 10 * NS_PER_S)
    gateway.close_batch(start + 10 * NS_PER_S)
    delivered = gateway.store.take_live() or gateway.store.take_backlog()
    gateway.store.acknowledge(delivered.key)
    gateway.store.tick(start + 10 * NS_PER_S)
    assert gateway.counts.batches > 2
    assert len(stored(tmp_path, gateway)) == 750


def test_samples_that_full_rings_dropped_are_a_gap_until_it_is_delivered(gateway, monkeypatch):
    class Stats:
        ring_dropped = 12

    monkeypatch.setattr(gateway.acquisition, "stats", lambda: {"b": Stats})
    start = gateway.started_ns
    gateway.batch.add(samples(0, 1, start), start + NS_PER_S)
    gateway.close_batch(start + 2 * NS_PER_S)
    lost = gateway.store.take_live()
    gateway.store.reject(lost.key, "too large")
    assert [(gap.samples, gap.reason) for gap in gateway.store.take_gaps()] == [(1, "rejected"), (12, "overrun")]


def test_other_programs_can_ask_the_agent_before_it_has_a_port(gateway, monkeypatch):
    order = []
    for part in (gateway.control, gateway.acquisition):
        start, name = part.start, type(part).__name__
        monkeypatch.setattr(part, "start", lambda start=start, name=name: (order.append(name), start())[1])
    with StopSignal() as stop:
        gateway.run(stop, 0)
    assert order == ["Control", "Acquisition"]
