"""The command line as a whole: its help, its registry, and how errors become words and exit codes."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace

import pytest

from agent import cli
from agent.errors import BusError, ConfigError, ExitCode, FieldtapError, NotPermittedError, StoreError, UsageError


def test_help_lists_every_command_with_one_line(fieldtap: Callable) -> None:
    said = fieldtap("--help")
    assert said.code == ExitCode.OK
    for name, summary in cli.COMMANDS.items():
        assert [name, *summary.split()] in [line.split() for line in said.out.splitlines()]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_module(name: str) -> None:
    module = import_module(f"agent.cli.{name}")
    module.configure(argparse.ArgumentParser())
    assert callable(module.run)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("help",),
        ("help", "check"),
        ("--json",),
        ("--version", "check"),
        ("nonsense",),
        ("check",),
        ("version", "--nonsense"),
        ("--nonsense",),
    ],
)
def test_wrong_words_are_a_matter_of_usage(fieldtap: Callable, words: tuple[str, ...]) -> None:
    said = fieldtap(*words)
    assert said.code == ExitCode.USAGE
    assert said.out == ""
    assert said.err.startswith("usage: fieldtap")


@pytest.mark.parametrize("words", [(), ("help",)])
def test_who_names_no_command_is_told_which_there_are(fieldtap: Callable, words: tuple[str, ...]) -> None:
    said = fieldtap(*words)
    assert all(name in said.err and summary in said.err for name, summary in cli.COMMANDS.items())
    assert "fieldtap COMMAND --help" in said.err


def test_an_unknown_command_is_named_with_the_nearest_or_all_that_there_are(fieldtap: Callable) -> None:
    assert "there is no command 'chek'; did you mean 'check'?" in fieldtap("chek", "x.toml").err
    assert f"no command 'nonsense'; there are: {', '.join(cli.COMMANDS)}" in fieldtap("nonsense").err


def test_the_version_is_an_option_too(fieldtap: Callable) -> None:
    assert fieldtap("--version") == fieldtap("version")
    assert fieldtap("--version", "--json") == fieldtap("version", "--json")


SENSELESS = [
    ("run", "x.toml", "--duration", "nan"),
    ("run", "x.toml", "--duration", "inf"),
    ("run", "x.toml", "--duration", "1e300"),
    ("run", "x.toml", "--duration", "-1"),
    ("run", "x.toml", "--duration", "soon"),
    ("demo", "--duration", "nan"),
    ("demo", "--duration", "0"),
    ("demo", "--fault", "crc"),
    ("read", "/dev/ttyS99", "--unit", "1", "holding:0", "--baud", "0"),
    ("read", "/dev/ttyS99", "--unit", "1", "holding:0", "--baud", "99999999999"),
    ("read", "ttyS99", "--unit", "1", "holding:0"),
    ("read", "", "--unit", "1", "holding:0"),
    ("read", "usb:xyz", "--unit", "1", "holding:0"),
    ("read", "tcp://127.0.0.1:99999", "--unit", "1", "holding:0"),
    ("read", "rtu+tls://127.0.0.1:502", "--unit", "1", "holding:0"),
    ("read", "rtu+udp://127.0.0.1", "--unit", "1", "holding:0"),
]


@pytest.mark.parametrize("words", SENSELESS, ids=" ".join)
def test_a_senseless_value_is_named_as_a_matter_of_usage(fieldtap: Callable, words: tuple[str, ...]) -> None:
    said = fieldtap(*words)
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert f"fieldtap {words[0]}: error:" in said.err or said.err.startswith("fieldtap: ")
    assert (words[-1] if words[0] != "read" or "--baud" in words else words[1]) in said.err


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `fieldtap version` fail."""

    def fail_with(error: BaseException) -> None:
        def run(args: argparse.Namespace) -> int:
            raise error

        module = SimpleNamespace(configure=lambda parser: None, run=run)
        monkeypatch.setitem(sys.modules, "agent.cli.version", module)

    return fail_with


ERRORS = [
    (FieldtapError("x"), 1, "fieldtap: x\n"),
    (UsageError("x"), 2, "fieldtap: x\n"),
    (BusError("no /dev/ttyUSB0"), 69, "fieldtap: no /dev/ttyUSB0\n"),
    (StoreError("x"), 74, "fieldtap: x\n"),
    (NotPermittedError("x"), 77, "fieldtap: x\n"),
    (ConfigError(["a.toml:1:2: x", "a.toml:3:4: y"]), 78, "a.toml:1:2: x\na.toml:3:4: y\n"),
    (
        PermissionError(13, "Permission denied", "/dev/x"),
        77,
        "fieldtap: /dev/x: Permission denied; run as a user who may, or change its mode\n",
    ),
    (FileNotFoundError(2, "No such file or directory", "a.bin"), 74, "fieldtap: a.bin: No such file or directory\n"),
    (OSError(28, "No space left on device"), 74, "fieldtap: No space left on device\n"),
    (OSError("words of our own"), 74, "fieldtap: words of our own\n"),
    (KeyboardInterrupt(), 130, ""),
]


@pytest.mark.parametrize(("error", "code", "words"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_words_on_stderr_and_its_exit_code(
    fieldtap: Callable, raising: Callable, error: BaseException, code: int, words: str
) -> None:
    raising(error)
    assert fieldtap("version") == (code, "", words)


def test_an_unforeseen_error_keeps_its_traceback(fieldtap: Callable, raising: Callable) -> None:
    raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fieldtap("version")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_error(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "agent", "version"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.OK, b"")


def test_the_package_can_be_run_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "agent", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: fieldtap")
