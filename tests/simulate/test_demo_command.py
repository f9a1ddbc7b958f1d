"""`fieldtap demo` as its user has it: a process that starts others, and must not leave them behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "agent", "demo"]
STOP_S = 5.0  # the promise of every command


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.fixture
def demo(tmp_path):
    """One that has said its first words, with its temporary files in a folder of their own."""
    command = [*COMMAND, "--duration", "120", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env=environment, start_new_session=True) as process:
        process.stderr.readline()
        yield process
        started = children(process.pid) if alive(process.pid) else []
        for pid in [process.pid, *started]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def watching(process):
    """Wait until it counts samples; returns the processes it has started."""
    while b"samples in" not in process.stderr.readline():
        assert process.poll() is None
    started = children(process.pid)
    assert len(started) == 3  # broker, simulator, agent
    return started


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 130)])
def test_a_signal_ends_it_and_all_it_has_started(demo, tmp_path, number, code):
    started = watching(demo)
    os.killpg(demo.pid, number)  # as a terminal sends it
    _, said = demo.communicate(timeout=STOP_S)
    assert demo.returncode == code
    assert b"WARNING" not in said
    assert not [pid for pid in started if alive(pid)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cut_short_it_still_gives_its_verdict(demo, number):
    watching(demo)
    demo.send_signal(number)
    out, said = demo.communicate(timeout=STOP_S)
    assert json.loads(out.splitlines()[-1])["received"]["failures"] == []
    assert said.splitlines()[-1].startswith(b"verdict: good")


def test_a_signal_before_anything_was_watched_interrupts_it(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*COMMAND, "--json"], stderr=subprocess.PIPE, env=environment) as process:
        process.stderr.readline()  # the first words come before the agent is started
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=STOP_S)
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())


def short(*words):
    return subprocess.run([*COMMAND, "--duration", "1", *words], capture_output=True, text=True, check=False)


def test_dead_devices_alone_are_a_failure_in_words_and_in_json():
    words = [word for unit in (1, 2, 3) for word in ("--fault", f"dead:{unit}")]
    done = short("--json", *words)
    received = json.loads(done.stdout)["received"]
    assert (done.returncode, received["failures"]) == (1, ["no device gave a value"])
    assert received["silent_devices"] == ["rs485/drive", "rs485/meter", "rs485/tank"]
    assert done.stderr.splitlines()[-1] == "verdict: FAILED: no device gave a value"


def test_one_dead_device_is_named_and_the_others_are_judged():
    done = short("--fault", "dead:3")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "WARNING" in done.stderr
    assert "bus rs485: device tank: does not answer" in done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "silent: no value came from rs485/tank",
        "verdict: good: every kept sample arrived once and is right",
    ]
