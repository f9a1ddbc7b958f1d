"""libmodbus as an independent device, written to by `fieldtap write`; it is built here from libmodbus_device.c."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from pump import Pump

from agent.cli import main

UNIT = 17
SOURCE = Path(__file__).with_name("libmodbus_device.c")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The path of the compiled device."""
    if not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("this machine has no libmodbus")
    built = tmp_path_factory.mktemp("libmodbus") / "device"
    compiler = shutil.which("cc")
    subprocess.run([compiler, "-I/usr/include/modbus", SOURCE, "-lmodbus", "-o", built], check=True)
    return built


@pytest.fixture(params=["line", "tcp"])
def device(request, program):
    """Where libmodbus serves unit 17."""
    pump = Pump() if request.param == "line" else None
    words = [program, pump.paths[0] if pump else "tcp", str(UNIT)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        ready = running.stdout.readline().split()
        yield pump.paths[1] if pump else f"tcp://127.0.0.1:{ready[1]}"
        running.stdin.close()
        assert running.wait(timeout=15) == 0
    if pump:
        pump.close()


@pytest.fixture
def command(device, capsys):
    """Run a command on the device: exit code and the last word of its output."""

    def run(name, *words):
        code = main(
            [name, device, "--unit", str(UNIT), "--baud", "115200", "--parity", "N", "--timeout", "5000", *words]
        )
        said = capsys.readouterr()
        return code, (said.out.split() or [""])[-1], said.err

    return run


def test_every_function_that_writes_is_understood_and_read_back(command):
    for register, value, *options in [
        ("holding:5", "4711"),
        ("holding:6", "4712", "--function", "16"),
        ("holding:7", "4713", "--function", "23"),
        ("holding:8", "-0.5", "--type", "f32", "--order", "CDAB"),
        ("holding:10", "5", "--type", "bits:3@4"),
        ("holding:11", "5", "--type", "bits:3@4", "--function", "6"),
        ("coil:6", "1"),
        ("coil:7", "1", "--function", "15"),
    ]:
        assert command("write", register, value, "--yes", *options)[:2] == (0, value)
    assert command("read", "holding:5")[1] == "4711"
    assert command("read", "holding:10")[1] == str((70 & ~0x70) | 0x50)
    assert command("read", "holding:11")[1] == str((77 & ~0x70) | 0x50)


def test_a_register_that_is_not_there_is_refused(command):
    code, _, err = command("write", "holding:500", "1", "--yes")
    assert code == 1
    assert "exception 2: it has no such register" in err


@pytest.mark.parametrize("device", ["line"], indirect=True)
def test_what_it_answers_to_function_17_is_told_though_it_is_silent_or_refuses_otherwise(device, capsys):
    """libmodbus does not know how long requests of other functions are: on a line it takes their rest for the beginning
    of a request until half a second has passed, on a connection for good."""
    where = ["--unit", str(UNIT), "--baud", "115200", "--parity", "N", "--timeout", "1000"]
    assert main(["identify", device, *where, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert b"LMB" in bytes.fromhex(said["server_id"])
    assert "identification" in [reply["question"] for reply in said["not_answered"]]
    assert said["registers"]["holding:11"] == f"{7 * 11:04x}"
