"""`fieldtap write`: what it does, prints and how it ends, against the simulator on a pty and over TCP."""

import io
import json
import subprocess
import sys
from functools import partial

import pytest

from agent.config.model import Device


@pytest.fixture
def target(played):
    """Start a simulator of one bus; returns what `write` is pointed at."""

    def start(port="/dev/ttyS99", faults=(), units=(7, 8)):
        return played([Device(name=f"d{unit}", unit=unit, tags=()) for unit in units], port, faults)

    return start


@pytest.fixture
def write(command):
    return partial(command, "write")


@pytest.fixture
def answers(monkeypatch):
    """A person at a terminal who answers like this."""

    def give(words):
        terminal = io.StringIO(words)
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", terminal)

    return give


@pytest.mark.parametrize("port", ["/dev/ttyS99", "tcp://127.0.0.1:0", "rtu+tcp://127.0.0.1:0"])
@pytest.mark.parametrize(
    ("register", "value", "options", "shown"),
    [
        ("holding:100", "4711", [], "4711"),
        ("holding:0x64", "0x1F", [], "31"),
        ("40101", "7", ["--function", "16"], "7"),
        ("holding:100", "-2", ["--type", "i16"], "-2"),
        ("holding:100", "0.1", ["--type", "f32", "--order", "CDAB"], "0.1"),
        ("holding:100", "3.25", ["--type", "f64", "--order", "DCBA"], "3.25"),
        ("holding:100", "1234", ["--type", "bcd16"], "1234"),
        ("holding:100", "5", ["--type", "bits:3@4"], "5"),
        ("holding:100", "5", ["--type", "bits:3@4", "--function", "6"], "5"),
        ("holding:100", "hello", ["--type", "string:8"], "hello"),
        ("holding:100", "7", ["--function", "23"], "7"),
        ("holding:100", "0.1", ["--type", "f32", "--function", "23"], "0.1"),
        ("file:4:7", "4711", [], "4711"),
        ("file:4:7", "0.1", ["--type", "f32", "--order", "CDAB"], "0.1"),
        ("file:4:7", "5", ["--type", "bits:3@4"], "5"),
        ("coil:5", "on", [], "1"),
        ("coil:5", "0", ["--function", "15"], "0"),
    ],
)
def test_what_is_written_is_read_back(port, register, value, options, shown, target, write, command):
    path = target(port)
    code, out, err = write(path, register, value, "--yes", *options)
    assert (code, err) == (0, "")
    assert out.endswith(f" -> {shown}\n")
    reading = [word for at, word in enumerate(options) if "--function" not in options[max(0, at - 1) : at + 1]]
    assert command("read", path, register, *reading)[1].split()[1:] == [shown]


def test_json_is_one_document(target, write):
    path = target()
    write(path, "holding:100", "1", "--yes")
    code, out, err = write(path, "holding:100", "2", "--yes", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "target": path, "unit": 7, "register": "holding:100", "value": "2", "old": 1, "new": 2, "result": "written",
        "why": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "code", "held"), [("y\n", 0, "2"), ("yes\n", 0, "2"), ("n\n", 1, "1"), ("", 1, "1")]
)
def test_a_person_is_shown_the_old_value_and_asked(answer, code, held, target, write, command, answers):
    path = target()
    write(path, "holding:100", "1", "--yes")
    answers(answer)
    ended, _, err = write(path, "holding:100", "2")
    assert ended == code
    assert err.startswith("unit 7, holding:100: holds 1\nwrite 2? [y/N] ")
    assert command("read", path, "holding:100")[1] == f"holding:100 {held}\n"


def test_what_is_no_bcd_number_is_shown_as_what_it_is(target, write, answers):
    path = target()
    write(path, "holding:100", "0x1A2B", "--yes")
    answers("y\n")
    code, out, err = write(path, "holding:100", "1234", "--type", "bcd16")
    assert (code, out) == (0, "holding:100 no BCD number (0x1a2b) -> 1234\n")
    assert err.startswith("unit 7, holding:100: holds no BCD number (0x1a2b)\nwrite 1234? [y/N] ")


def test_without_a_terminal_nothing_is_sent_unless_told_to(target, write, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, out, err = write(target(), "holding:100", "2")
    assert (code, out) == (2, "")
    assert err == "fieldtap: there is no terminal to ask on; add --yes to write without asking\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["holding:100", "65536"], "holding:100: 65536 does not fit; the type holds 0 to 65535"),
        (["holding:100", "x"], "holding:100: x is no number"),
        (["input:100", "1"], "the input table is read-only by definition"),
        (["discrete:100", "1"], "the discrete table is read-only by definition"),
        (["holding:100:2", "1"], "holding:100:2: allowed: TABLE:ADDRESS"),
        (["holding:100", "1", "--function", "5"], "written with function 6 or 16 or 23, not 5"),
        (["file:4:7", "1", "--function", "16"], "a file's records are written with function 21 alone"),
        (["file:4:10000", "1"], "records 0 to 9999"),
        (["coil:1", "1", "--type", "u16"], "a coil holds one bit"),
        (["holding:100", "1", "--broadcast"], "--broadcast goes with --unit 0 on a serial line, not with --unit 7"),
    ],
)
def test_words_that_mean_nothing_are_usage_errors(words, told, write):
    code, _, err = write("/dev/null", *words, "--yes")
    assert code == 2
    assert told in err


def test_a_broadcast_is_refused_unless_asked_for(target, write, command):
    path = target()
    code, _, err = write(path, "holding:100", "9", "--yes", unit=0)
    assert (code, "add --broadcast if that is meant" in err) == (2, True)
    code, _, err = write(path, "holding:100", "9", "--yes", "--broadcast", unit=0)
    assert (code, err) == (0, "fieldtap: unverified: a broadcast is not answered\n")
    for unit in (7, 8):
        assert command("read", path, "holding:100", unit=unit)[1] == "holding:100 9\n"


def test_unit_0_over_tcp_is_a_device_which_is_read_before_and_after(target, write):
    said = write(target("tcp://127.0.0.1:0", units=(0,)), "holding:100", "9", "--yes", unit=0)
    assert said[0] == 0
    assert said[1].endswith(" -> 9\n")


def test_an_exception_is_told_in_words_with_its_code(target, write):
    path = target(faults=["exception:1:2"])
    code, out, err = write(path, "holding:1", "1", "--yes")
    assert (code, out) == (1, "")
    told = f"unit 7 at {path} answered exception 2: it has no such register"
    assert err == f"fieldtap: refused: {told}\n"


def test_a_device_that_says_nothing_is_not_written_to(target, write):
    code, out, err = write(target(faults=["dead:7"]), "holding:1", "1", "--yes", "--timeout", "60")
    assert (code, out) == (69, "")
    assert "did not answer within 60 ms" in err
    assert err.endswith("; nothing was written\n")


def test_a_port_that_is_not_there_is_unavailable(write, tmp_path):
    code, _, err = write(str(tmp_path / "ttyUSB9"), "holding:1", "1", "--yes")
    assert (code, err) == (69, f"fieldtap: {tmp_path}/ttyUSB9: No such file or directory\n")


def test_a_port_that_an_agent_has_open_says_who_has_it_and_what_to_do(target, write):
    path = target()
    owner = "import sys; from agent.acquire.once import Line; from agent.config.model import Bus; "
    owner += f"line = Line(Bus(name='b', port={path!r}, timeout_ns=1, devices=())); line.__enter__(); "
    owner += "print('open', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", owner]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "open\n"
        code, _, err = write(path, "holding:1", "1", "--yes")
        running.stdin.close()
    assert code == 69
    assert f"(pid {running.pid}); end it" in err
