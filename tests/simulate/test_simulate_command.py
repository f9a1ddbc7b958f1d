"""`fieldtap simulate` as a user starts it."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent._native.codec import RTU, frame
from agent.cli import main

CONFIG = """
schema = 1
[mqtt]
url = "mqtt://localhost"
[[bus]]
name = "rs485"
port = "/dev/ttyUSB7"
[[bus.device]]
name = "pump"
unit = 7
every = "1s"
[[bus.device.tag]]
name = "pressure"
register = "holding:100"
type = "f32"
[[bus]]
name = "net"
port = "tcp://192.0.2.7:502"
protocol = "modbus-tcp"
[[bus.device]]
name = "meter"
unit = 1
every = "1s"
[[bus.device.tag]]
name = "power"
register = "input:52"
type = "u16"
"""


@pytest.fixture
def simulate(tmp_path):
    """Start the command with CONFIG; returns the process, its output to be read."""
    (tmp_path / "line.toml").write_text(CONFIG)
    started = []

    def start(*options):
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "simulate", str(tmp_path / "line.toml"), *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_where_each_bus_is_and_what_it_heard(simulate, tmp_path, number, code):
    process = simulate("--link", str(tmp_path / "dev"))
    assert process.stdout.readline() == f"rs485 {tmp_path}/dev/rs485\n"
    assert process.stdout.readline().startswith("net tcp://127.0.0.1:")
    fd = os.open(tmp_path / "dev" / "rs485", os.O_RDWR | os.O_NOCTTY)
    os.write(fd, frame(RTU, 0, 7, b"\x03\x00\x64\x00\x02"))
    assert select.select([fd], [], [], 10)[0]
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (code, "")
    assert out.splitlines() == [
        "rs485: 1 requests, 1 answered, 2 values, 0 gap violations, faults: none",
        "net: 0 requests, 0 answered, 0 values, 0 gap violations, faults: none",
    ]


def test_a_bus_with_tls_is_played_in_plain_and_that_is_said(simulate, tmp_path):
    (tmp_path / "line.toml").write_text(CONFIG.replace('"tcp://192.0.2.7:502"', '"tls://192.0.2.7:802"'))
    process = simulate()
    _, (bus, path) = (process.stdout.readline().split() for _ in range(2))
    said = process.stderr.readline()
    assert said == f"net: TLS is not simulated, {path} is plain Modbus TCP: read it there as tcp://\n"
    assert (bus, path[:16]) == ("net", "tcp://127.0.0.1:")
    process.terminate()
    assert process.communicate(timeout=10)[1] == ""


def test_json_lines_and_a_summary_file(simulate, tmp_path):
    process = simulate("--json", "--summary", str(tmp_path / "summary.json"), "--fault", "rs485=dead:7", "--pace")
    first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    assert (first["bus"], second["bus"]) == ("rs485", "net")
    process.terminate()
    out, _ = process.communicate(timeout=10)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert json.loads(out) == summary
    assert set(summary["buses"]) == {"rs485", "net"}
    assert summary["buses"]["net"]["faults"]["dead"] == 0


def test_a_wrong_fault_is_a_usage_error(simulate):
    process = simulate("--fault", "drip:1")
    _, err = process.communicate(timeout=10)
    assert process.returncode == 2
    assert "--fault drip:1: 'drip' is none of" in err


def test_a_wrong_configuration_is_refused_with_its_place(simulate, tmp_path):
    (tmp_path / "line.toml").write_text(CONFIG.replace("unit = 7", "unit = 700"))
    process = simulate()
    _, err = process.communicate(timeout=10)
    assert process.returncode == 78
    assert "line.toml:10:" in err


def test_the_links_of_one_that_runs_are_refused_and_those_of_one_that_was_killed_are_taken(simulate, tmp_path):
    options = "--link", str(tmp_path / "dev")
    first = simulate(*options)
    assert first.stdout.readline() == f"rs485 {tmp_path}/dev/rs485\n"
    second = simulate(*options)
    _, err = second.communicate(timeout=10)
    assert second.returncode == 69
    assert err == (
        f"fieldtap: {tmp_path}/dev/rs485 belongs to another `fieldtap simulate` (pid {first.pid}); end that one, "
        "or choose another folder for --link\n"
    )
    first.kill()
    first.wait()
    assert simulate(*options).stdout.readline() == f"rs485 {tmp_path}/dev/rs485\n"


def test_a_folder_one_may_not_write_to_is_a_matter_of_permission(tmp_path, monkeypatch, capsys):
    (tmp_path / "line.toml").write_text(CONFIG)

    def refuse(self, target):  # root may write everywhere, so the system's answer is played
        raise PermissionError(13, "Permission denied", target, None, str(self))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert main(["simulate", str(tmp_path / "line.toml"), "--link", str(tmp_path / "dev")]) == 77
    assert capsys.readouterr().err == (
        f"fieldtap: bus rs485: cannot be simulated: {tmp_path}/dev/rs485: Permission denied; "
        "choose a folder for --link that you may write to\n"
    )
