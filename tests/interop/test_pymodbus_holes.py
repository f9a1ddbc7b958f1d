"""pymodbus as a device that lacks registers: which these are is found out once, and remembered."""

import json
import select
import subprocess
import sys
import time

import pytest
from layouts import records
from pump import Pump
from pymodbus.datastore import (
    ModbusDeviceContext,
    ModbusServerContext,
    ModbusSparseDataBlock,
)
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from serving import Serving

from agent._native.samples import Samples
from agent.acquire.bus import Acquisition
from agent.acquire.limits import Learned
from agent.acquire.memory import Memory
from agent.acquire.plan import compile_plan
from agent.clock import boot_ns
from agent.config.model import Hole, Table, Tag
from agent.model import Quality, ValueType

S = 1_000_000_000
DEADLINE_S = 15.0
UNIT = 17
THERE = [at for at in range(40) if at not in (12, 13, 25)]
ASKED = [*range(10), *range(15, 35)]  # nobody asks for 10 to 14, of which two are missing; 25 is asked for
WITH_HOLES = Learned(
    holes=frozenset({Hole(Table.HOLDING, 10, 14)}), missing=frozenset({Hole(Table.HOLDING, 25, 25)}), strict=True
)


def context_with_holes():
    block = ModbusSparseDataBlock({at: 1000 + at for at in THERE})
    return ModbusServerContext(devices={UNIT: ModbusDeviceContext(hr=block)}, single=False)


@pytest.fixture(params=["line", "tcp"])
def device_with_holes(request):
    """Where pymodbus serves unit 17."""
    if request.param == "tcp":
        serving = Serving(lambda: ModbusTcpServer(context_with_holes(), address=("127.0.0.1", 0)))
        host, port = serving.server.transport.sockets[0].getsockname()
        yield f"tcp://{host}:{port}"
        serving.stop()
        return
    pump = Pump()
    serving = Serving(lambda: ModbusSerialServer(context_with_holes(), port=pump.paths[0], baudrate=115200, parity="N"))
    yield pump.paths[1]
    serving.stop()
    pump.close()


def run_until(config, memory, is_done):
    """The last of every tag, a value or why there is none, once `is_done` says so of them; and the bus's counts."""
    acquisition = Acquisition(config.buses, compile_plan(config, memory.recall(config.buses)), memory)
    samples, last = Samples(), {}
    acquisition.start()
    try:
        until = time.monotonic() + DEADLINE_S
        while not is_done(last):
            assert time.monotonic() < until, (memory.recall(config.buses), last)
            select.select([acquisition.fileno()], [], [], 0.02)
            acquisition.tickets.turn(boot_ns())
            acquisition.drain(samples)
            last |= {
                each.tag: each.value if each.quality == Quality.GOOD else each.quality for each in records(samples)
            }
            samples.clear()
    finally:
        acquisition.stop()
    return acquisition.stats()["bus"].counts


def test_holes_of_a_foreign_device_are_found_once_and_remembered(device_with_holes, make_config, tmp_path):
    tags = [Tag(name=f"h{at}", table=Table.HOLDING, address=at, type=ValueType.U16, every_ns=S // 20) for at in ASKED]
    config = make_config(device_with_holes, tags, timeout_ns=5 * S)
    expected = {tag: 1000 + at if at in THERE else Quality.EXCEPTION for tag, at in enumerate(ASKED)}
    memory = Memory(str(tmp_path))

    def is_known(last):
        return last == expected and list(memory.recall(config.buses).values()) == [WITH_HOLES]

    counts = run_until(config, memory, is_known)
    assert 5 < counts.exceptions < 60
    again = run_until(config, Memory(str(tmp_path)), lambda last: last == expected)
    assert again.exceptions == 1, "the missing tag, asked for alone"


AGENT = """
schema = 1
[store]
path = "{store}"
journal_bytes = "1 MiB"
loss_window_s = 0.1
[[bus]]
name = "bus"
port = "{port}"
[[bus.device]]
name = "device"
unit = 17
firmware = "{firmware}"
every = "20ms"
tag = [
{tags}
]
"""


def test_the_agent_keeps_what_it_has_learned_in_its_store_for_the_next_start(device_with_holes, tmp_path):
    tags = "\n".join(f'{{ name = "h{at}", register = "holding:{at}", type = "u16" }},' for at in ASKED)
    serial = "" if device_with_holes.startswith("tcp:") else 'baud = 115200\nparity = "N"\n'

    def run(firmware, until):
        """`fieldtap run` until it says so; the exceptions it saw by then."""
        text = AGENT.format(store=tmp_path / "store", port=device_with_holes, firmware=firmware, tags=tags)
        (tmp_path / "agent.toml").write_text(text.replace("[[bus.device]]", f"{serial}[[bus.device]]"))
        command = [sys.executable, "-m", "agent", "run", str(tmp_path / "agent.toml"), "--json", "--duration"]
        command.append(str(DEADLINE_S if until else 1))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as agent:
            for line in agent.stderr:
                if until and until in line:
                    agent.terminate()
            assert agent.wait() == 0
            return json.loads(agent.stdout.read())["buses"]["bus"]["exceptions"]

    assert run("1.0", "device: learned: it does not have holding:25; no read through holding:10-14") > 1
    (known,) = json.loads((tmp_path / "store" / "learned.json").read_text())["devices"]
    assert (known["model"], known["firmware"], known["strict"]) == ("bus/device", "1.0", True)
    assert run("1.0", None) == 1, "the missing tag, asked for alone"
    assert run("1.1", "learned: ") > 1, "another firmware is learned anew"
