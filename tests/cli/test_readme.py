"""README.md does what it says: its configuration is one, its commands run as they are printed."""

import json
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TABLES = set(re.findall(r'^    "(\w+)": "', (ROOT / "benchmarks" / "__main__.py").read_text(), re.MULTILINE))
MAKEFILE = (ROOT / "Makefile").read_text()
CONFIG = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
SHELL = [line.partition("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
         for line in block.splitlines()]  # fmt: skip
COMMANDS = SHELL + re.findall(r"`((?:make|fieldtap) [^`]*)`", README)
MAKE = sorted({command for command in COMMANDS if command.startswith("make ")})
FIELDTAP = sorted({command for command in COMMANDS if command.startswith("fieldtap ")})
PLACES = {
    "CONFIG": "gateway.toml",
    "TARGET": "/dev/ttyUSB0",
    "N": "1",
    "REGISTER": "input:0",
    "DIR": ".",
    "FILE...": "-",
}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who has followed the README so far."""
    (tmp_path / "gateway.toml").write_text(CONFIG[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_one_configuration_of_12_lines() -> None:
    (config,) = CONFIG
    assert len(config.splitlines()) == 12
    assert "## A gateway in 12 lines" in README


def test_its_configuration_passes_the_check_without_a_word_of_warning(fieldtap: Callable, gateway: Path) -> None:
    said = fieldtap("check", "gateway.toml")
    assert (said.code, said.err) == (0, "")
    assert "34 tags in 7 requests per cycle" in said.out


def test_the_device_of_its_configuration_can_be_simulated(gateway: Path) -> None:
    assert "fieldtap simulate gateway.toml" in SHELL
    command = [sys.executable, "-m", "agent", "simulate", "gateway.toml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 10)[0]
        assert process.stdout.readline().startswith("rs485 /dev/pts/")
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


@pytest.mark.parametrize("command", MAKE)
def test_every_target_it_names_is_one_and_takes_the_arguments_given(command: str) -> None:
    _, target, *settings = shlex.split(command)
    assert re.search(rf"^## {target} ", MAKEFILE, re.MULTILINE)
    assert all(setting.startswith("ARGS=") for setting in settings)
    if target == "bench":
        assert {word for setting in settings for word in setting.removeprefix("ARGS=").split()} <= TABLES


@pytest.mark.parametrize("command", [command for command in MAKE if command.startswith("make demo ARGS")])
def test_every_demonstration_it_shows_ends_well(command: str) -> None:
    words = shlex.split(command)[2].removeprefix("ARGS=").split()
    program = [sys.executable, "-m", "agent", "demo", *words, "--duration", "2", "--json"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["received"]["failures"]) == (0, [])


@pytest.mark.parametrize("command", FIELDTAP)
def test_every_command_it_shows_is_understood(command: str, gateway: Path) -> None:
    words = [PLACES.get(word, word) for word in shlex.split(command)[1:]]
    module = cli.import_module(f"agent.cli.{words[0]}")
    assert vars(cli._parser(words[0], module).parse_args(words))


def test_every_command_there_is_has_its_line() -> None:
    shown = {command.split()[1] for command in FIELDTAP}
    assert shown == set(cli.COMMANDS)


def test_every_file_it_points_to_is_there() -> None:
    named = re.findall(r"\]\(([^)]+)\)|`((?:docs|agent)/[\w./]+)`", README)
    assert named
    assert all((ROOT / (link or path)).exists() for link, path in named)
