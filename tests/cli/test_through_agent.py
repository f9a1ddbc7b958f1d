"""`fieldtap read` and `write` on a port that a running agent has: between its polls, within its configuration."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agent.config import load_config
from agent.simulate.signal import record_at
from agent.simulate.simulator import Simulator

START_S = 20.0
POLLS = 20
CONFIG = """
schema = 1
[store]
path = "{store}"
journal_bytes = "1 MiB"
[[bus]]
name = "{name}"
port = "{port}"
parity = "N"
timeout_ms = 500
[[bus.device]]
name = "pump"
unit = 7
every = "50ms"
tag = [
  {{ name = "pressure", register = "holding:100", type = "f32", write = {{ min = 0, max = 10 }} }},
  {{ name = "mode", register = "holding:110", type = "bits:2@0", write = {{ min = 0, max = 3 }} }},
  {{ name = "speed", register = "holding:110", type = "bits:4@4", write = {{ min = 0, max = 9 }} }},
  {{ name = "level", register = "holding:120", type = "u16" }},
]
"""


@pytest.fixture
def started() -> list[Simulator]:
    """The simulators behind the agents."""
    return []


@pytest.fixture
def agent_on(tmp_path: Path, started: list[Simulator]) -> Iterator[Callable[[str], str]]:
    """Start a simulated bus and an agent that has its port; where it is."""
    agents: list[subprocess.Popen[str]] = []

    def start(port: str, name: str = "line") -> str:
        path = tmp_path / f"{name}.toml"
        store = tmp_path / f"store-{name}"
        path.write_text(CONFIG.format(name=name, port="/dev/ttyS99", store=store))
        config = load_config(str(path))
        protocol = "modbus-tcp" if port.startswith("tcp:") else "modbus-rtu"
        bus = msgspec.structs.replace(config.buses[0], port=port, protocol=protocol)
        started.append(Simulator(msgspec.structs.replace(config, buses=(bus,))))
        started[-1].start()
        path.write_text(CONFIG.format(name=name, port=started[-1].paths[name], store=store))
        command = [sys.executable, "-m", "agent", "run", str(path)]
        agents.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        lines = iter(agents[-1].stderr.readline, "")
        assert any("is open" in line for line in lines)
        return started[-1].paths[name]

    yield start
    for agent in agents:
        agent.terminate()
        agent.communicate(timeout=START_S)
    for simulator in started:
        simulator.stop()


@pytest.fixture(
    params=["/dev/ttyS99", "rtu+tcp://127.0.0.1:0", "tcp://127.0.0.1:0"], ids=["line", "gateway", "modbus-tcp"]
)
def port(request: pytest.FixtureRequest, agent_on: Callable[[str], str]) -> str:
    return agent_on(request.param)


def test_a_port_that_an_agent_has_is_read_through_it(port: str, fieldtap: Callable) -> None:
    said = fieldtap("read", port, "--unit", "7", "holding:100:2", "--json")
    assert (said.code, len(json.loads(said.out)["values"])) == (0, 2)
    assert f"{port} is bus line of a running agent, which is asked" in said.err
    assert fieldtap("read", port, "--unit", "7", "coil:0:20").code == 0


def test_a_device_that_does_not_answer_there_is_unavailable(port: str, fieldtap: Callable) -> None:
    said = fieldtap("read", port, "--unit", "9", "holding:1")
    has_gateway = port.startswith("tcp:")
    assert said.code == (1 if has_gateway else 69)
    assert ("exception 11: the gateway heard nothing from it" if has_gateway else "bus line: no answer") in said.err


def test_a_tag_is_written_with_its_own_type_and_read_back(port: str, fieldtap: Callable, tmp_path: Path) -> None:
    said = fieldtap("write", port, "--unit", "7", "holding:100", "3.3", "--yes", "--json")
    told = json.loads(said.out)
    assert (said.code, told["register"], told["new"], told["result"]) == (0, "line/pump/pressure", 3.3, "written")
    assert fieldtap("read", port, "--unit", "7", "holding:100", "--type", "f32").out == "holding:100 3.3\n"
    [record] = (tmp_path / "store-line" / "writes.jsonl").read_text().splitlines()
    assert json.loads(record)["new"] == 3.3
    assert "(pid " in json.loads(record)["who"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["holding:100", "10.5"], "line/pump/pressure: 10.5 is outside of 0 to 10, which it allows"),
        (["holding:120", "1"], "holding:120 of unit 7 on bus line: the running agent's configuration has no such tag"),
        (["holding:110", "1"], "is line/pump/mode, line/pump/speed; say which with --type"),
        (["holding:100", "1", "--function", "6"], "its configuration says how a tag is written"),
    ],
)
def test_what_the_configuration_does_not_allow_is_refused(
    agent_on: Callable[[str], str], fieldtap: Callable, words: list[str], message: str
) -> None:
    said = fieldtap("write", agent_on("/dev/ttyS99"), "--unit", "7", *words, "--yes")
    assert said.code == 2
    assert message in said.err


def test_a_type_says_which_of_the_tags_of_one_register(agent_on: Callable[[str], str], fieldtap: Callable) -> None:
    port = agent_on("/dev/ttyS99")
    said = fieldtap("write", port, "--unit", "7", "holding:110", "5", "--type", "bits:4@4", "--yes", "--json")
    assert json.loads(said.out)["register"] == "line/pump/speed"
    assert fieldtap("read", port, "--unit", "7", "holding:110", "--type", "bits:4@4").out == "holding:110 5\n"


def test_each_port_is_asked_for_at_the_agent_that_has_it(agent_on: Callable[..., str], fieldtap: Callable) -> None:
    ports = [agent_on("/dev/ttyS98", "one"), agent_on("/dev/ttyS99", "two")]
    for name, port in zip(("one", "two"), ports, strict=True):
        assert f"is bus {name} of a running agent" in fieldtap("read", port, "--unit", "7", "holding:1").err


def test_polls_go_on_while_others_read(port: str, fieldtap: Callable, started: list[Simulator]) -> None:
    def heard() -> int:
        return started[0].stats()["line"]["requests"]

    begun, reads, deadline = heard(), 0, time.monotonic() + START_S
    while heard() - begun < reads + POLLS:
        assert fieldtap("read", port, "--unit", "7", "holding:100").code == 0
        reads += 1
        assert time.monotonic() < deadline


def test_what_a_device_is_and_its_files_and_queues_are_asked_through_it(port: str, fieldtap: Callable) -> None:
    said = fieldtap("identify", port, "--unit", "7", "--json")
    told = json.loads(said.out)
    assert said.code == 0
    assert f"{port} is bus line of a running agent, which is asked" in said.err
    assert (told["identification"]["0"], told["loops_back"], told["not_answered"]) == ("fieldtap", True, [])
    assert fieldtap("read", port, "--unit", "7", "file:4:7:2").out == "".join(
        f"file:4:{at} {record_at(7, 4, at)}\n" for at in (7, 8)
    )
    assert fieldtap("read", port, "--unit", "7", "fifo:33").out.startswith("fifo:33 ")


def test_a_device_that_says_nothing_is_unavailable_there_too(
    agent_on: Callable[[str], str], fieldtap: Callable
) -> None:
    said = fieldtap("identify", agent_on("/dev/ttyS99"), "--unit", "9")
    assert (said.code, said.out) == (69, "")
    assert "bus line: no answer" in said.err


def test_records_are_not_written_past_it(agent_on: Callable[[str], str], fieldtap: Callable) -> None:
    said = fieldtap("write", agent_on("/dev/ttyS99"), "--unit", "7", "file:4:7", "1", "--yes")
    assert said.code == 2
    assert "stop it to write a file" in said.err
