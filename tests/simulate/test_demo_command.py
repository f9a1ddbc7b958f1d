"""`fieldtap demo` as its user has it: a process that starts others, and must not leave them behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
    command = [sys.executable, "-m", "agent", "demo", "--duration", "120", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, start_new_session=True) as process:
        process.stderr.readline()
        started = children(process.pid)
        yield process
        for pid in [process.pid, *started]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_all_it_has_started(demo, tmp_path, number):
    started = children(demo.pid)
    assert len(started) == 3  # broker, simulator, agent
    os.killpg(demo.pid, number)  # as a terminal sends it
    _, said = demo.communicate(timeout=STOP_S)
    assert demo.returncode == 130
    assert b"WARNING" not in said
    assert not [pid for pid in started if alive(pid)]
    assert not list(tmp_path.iterdir())
