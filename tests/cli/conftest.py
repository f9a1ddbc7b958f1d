"""Commands run in this process, their words captured; and the example of the contract as a file."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.cli import main
from agent.config.model import Bus, Config, Device, Gateway, Store
from agent.simulate.simulator import Simulator

S = 1_000_000_000


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def fieldtap(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run one command here."""

    def run(*words: str) -> Said:
        try:
            code = main(words)
        except SystemExit as exit_:  # argparse leaves this way
            code = exit_.code if isinstance(exit_.code, int) else 1
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command that asks one unit at a target."""

    def run(name: str, target: str, *words: str, unit: int = 7) -> Said:
        code = main([name, target, "--unit", str(unit), "--timeout", "2000", *words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def played() -> Iterator[Callable[..., str]]:
    """Start a simulator of one bus; returns where its devices answer."""
    with ExitStack() as started:

        def start(devices: Sequence[Device], port: str, faults: Sequence[str]) -> str:
            protocol = "modbus-tcp" if port.startswith("tcp:") else "modbus-rtu"
            bus = Bus(name="b", port=port, protocol=protocol, parity="N", timeout_ns=S, devices=tuple(devices))
            config = Config(gateway=Gateway(id="g"), mqtt=None, store=Store(), buses=(bus,))
            simulator = Simulator(config, faults=faults)
            simulator.start()
            started.callback(simulator.stop)
            return simulator.paths["b"]

        yield start


@pytest.fixture
def modules_of() -> Callable[..., set[str]]:
    """The modules a command has imported when it ends, in a process of its own."""

    def names(*words: str) -> set[str]:
        program = f"import sys; from agent.cli import main; main({words!r}); print(*sys.modules, file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}

    return names


@pytest.fixture
def example(tmp_path: Path) -> str:
    """Two devices on one line."""
    path = tmp_path / "gateway.toml"
    path.write_text("""\
schema = 1

[gateway]
id = "plant7-line3"

[mqtt]
url = "mqtt://broker.example.com"
batch_s = 1

[[bus]]
name = "rs485"
port = "/dev/ttyUSB0"

[[bus.device]]
name = "meter1"
unit = 1
device = "eastron-sdm120"
select = ["voltage", "current"]

[[bus.device]]
name = "pump"
unit = 7
every = "100ms"
[[bus.device.tag]]
name = "pressure"
register = "holding:100"
type = "f32"
""")
    return str(path)
