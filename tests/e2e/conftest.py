"""A small plant: a simulated bus, a broker, the agent as its own process, and a receiver that judges every sample."""

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tcp_proxy import Proxy

from agent.batch import is_schema
from agent.batch.message import HISTORICAL, open_envelope
from agent.config import load_config
from agent.model import BatchKey
from agent.simulate.broker import Broker
from agent.simulate.receiver import Receiver
from agent.simulate.simulator import Simulator
from agent.simulate.verdict import Verdict, simulated

DEADLINE_S = 30.0  # for a condition to come true on a busy machine
LOSS_WINDOW_S = 1.0
STOP_S = 5.0  # the agent's promise after SIGTERM

CONFIG = """
schema = 1
[gateway]
id = "e2e"
[mqtt]
url = "{url}"
batch_s = {batch_s}
format = "{format}"
[store]
path = "{store}"
journal_bytes = "2 MiB"
loss_window_s = 1
[[bus]]
name = "line"
port = "{port}"
baud = 115200
parity = "N"
timeout_ms = 100
{line}
[[bus.device]]
name = "meter"
unit = 1
every = "50ms"
tag = [
  {{ name = "power", register = "holding:0", type = "f32" }},
  {{ name = "energy", register = "holding:2", type = "u64" }},
  {{ name = "state", register = "holding:6", type = "u16" }},
  {{ name = "banded", register = "holding:7", type = "u16", deadband = 4 }},
  {{ name = "running", register = "coil:3", type = "bool" }},
  {{ name = "name", register = "holding:20", type = "string:11", every = "200ms" }},
]
[[bus.device]]
name = "drive"
unit = 2
every = "50ms"
tag = [
  {{ name = "speed", register = "input:100", type = "i32", order = "CDAB", scale = 0.1, offset = -5 }},
  {{ name = "torque", register = "input:102", type = "i16" }},
]
"""


class Plant:
    """Everything around one agent, with the means to break it on purpose."""

    def __init__(
        self, folder, broker_kind="mosquitto", *, batch_s=0.25, faults=(), batch_format="columns", port="", line=""
    ):
        self.folder = folder
        self._stack = ExitStack()
        self.broker = self._stack.enter_context(Broker(broker_kind))
        self.links = folder / "bus"
        self.links.mkdir()
        self.config_path = folder / "agent.toml"
        # The receiver talks to the broker directly: the agent's way there can be closed until the receiver listens.
        self.proxy = Proxy(self.broker.port)
        self._stack.callback(self.proxy.close)
        places = {
            "url": f"mqtt://127.0.0.1:{self.proxy.port}",
            "store": folder / "store",
            "port": port or self.links / "line",
        }
        self.config_path.write_text(CONFIG.format(**places, batch_s=batch_s, format=batch_format, line=line))
        self.config = load_config(str(self.config_path))
        self.faults = faults
        self.simulator = None
        self.plug()
        self.receiver = self._stack.enter_context(Receiver(self.broker.url))
        self.verdict = Verdict(simulated(self.config))
        self.historical = {}  # whether a batch came flagged so, when it first came
        self.agents = []

    def plug(self):
        """The device side of the bus is there."""
        self.simulator = Simulator(self.config, link_dir=self.links, faults=self.faults)
        self.simulator.start()

    def unplug(self):
        """The device side is gone, its port too; returns what it had counted."""
        self.simulator.stop()
        counts, self.simulator = self.simulator.stats()["line"], None
        return counts

    def kill_broker(self):
        """SIGKILL; it forgets its subscribers."""
        self.proxy.refusing = True
        self.broker.kill()

    def revive_broker(self):
        """It is back, and hears from the agent when somebody listens: what it has taken it would lose otherwise."""
        self.broker.start()
        assert self.receiver.wait_subscribed(DEADLINE_S)
        self.proxy.refusing = False

    def start_agent(self, *options):
        """`fieldtap run`, as its own process."""
        summary = self.folder / f"summary{len(self.agents)}.json"
        command = [sys.executable, "-m", "agent", "run", str(self.config_path), "--summary", str(summary), *options]
        with (self.folder / "log").open("ab") as log:
            agent = subprocess.Popen(command, stderr=log)
        agent.summary_path = summary
        self.agents.append(agent)
        return agent

    def stop_agent(self, agent):
        """SIGTERM; returns the summary document."""
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(STOP_S) == 0, self.log()
        return json.loads(Path(agent.summary_path).read_text())

    def kill_agent(self, agent):
        """SIGKILL at this very moment; returns the wall-clock time of it."""
        agent.kill()
        killed_at = time.time()
        agent.wait()
        return killed_at

    def until(self, condition, timeout_s=DEADLINE_S):
        """Take messages until `condition()` holds; fails with the agent's log when it never does."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"{condition} never became true\n{self.log()}"
            message = self.receiver.get(0.05)
            if message is not None:
                self.verdict.take(message.payload)
                self._note_flag(message.payload)

    def _note_flag(self, payload):
        if not is_schema(payload):
            envelope = open_envelope(payload)
            flagged = bool(envelope.flags & HISTORICAL)
            self.historical.setdefault(BatchKey(envelope.epoch, envelope.seq), flagged)

    def run_for_samples(self, count):
        """Until so many more samples have been received."""
        goal = self.verdict.samples + count
        self.until(lambda: self.verdict.samples >= goal)

    def log(self):
        """What the agents have said."""
        return (self.folder / "log").read_text()

    def received(self, kept):
        """The verdict, once everything that is on its way has arrived."""
        end = time.monotonic() + DEADLINE_S
        self.until(lambda: self.verdict.samples >= kept or time.monotonic() > end, 2 * DEADLINE_S)
        return self.verdict.received(kept)

    def close(self):
        """Stop exactly what was started."""
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
                agent.wait()
        if self.simulator:
            self.unplug()
        self._stack.close()


@pytest.fixture
def plant(tmp_path):
    """A factory of plants in this test's folder; they are closed at its end."""
    with ExitStack() as stack:

        def make(**options):
            made = Plant(tmp_path, **options)
            stack.callback(made.close)
            return made

        yield make
