"""`fieldtap identify`: what it prints and how it ends, against simulated devices of shipped maps."""

import json

import pytest

from agent.cli import main
from agent.config import check_config
from agent.simulate.simulator import Simulator

CONFIG = """
schema = 1
[[bus]]
name = "line"
port = "{port}"
[[bus.device]]
name = "meter"
unit = 7
device = "abb-b-series"
every = "10 s"
[[bus.device]]
name = "other"
unit = 8
device = "eastron-sdm630"
every = "10 s"
[[bus.device]]
name = "own"
unit = 9
every = "10 s"
tag = [{{ name = "v", register = "holding:0", type = "u16" }}]
"""


@pytest.fixture(params=["/dev/ttyS99", "tcp://127.0.0.1:1502"], ids=["line", "tcp"])
def target(request, tmp_path):
    """Where the three devices answer."""
    path = tmp_path / "devices.toml"
    path.write_text(CONFIG.format(port=request.param))
    checked = check_config(str(path))
    assert checked.config, checked.mistakes
    simulator = Simulator(checked.config)
    simulator.start()
    yield simulator.paths["line"]
    simulator.stop()


@pytest.fixture
def identify(capsys):
    """Run the command; returns exit code, output and messages."""

    def run(target, unit, *words):
        code = main(["identify", target, "--unit", str(unit), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_device_says_what_it_is_and_its_map_is_named_with_the_reason(target, identify):
    code, out, err = identify(target, 7)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "identification (43/14)  vendor: fieldtap"
    assert "                        product name: ABB A and B series energy meters (A43, A44, B21, B23, B24)" in lines
    assert "registers (3 4)" in out
    assert "holding:35168 holds 42 32 31 20" in out
    assert "exception status (7)    0x" in out
    assert "diagnostics (8)         loops back" in out
    assert lines[-1].startswith("device map              abb-b-series: ABB A and B series energy meters")
    assert lines[-1].endswith("; holding:35168 holds 0x42323120")


def test_json_is_one_document_with_all_that_was_said(target, identify):
    code, out, err = identify(target, 7, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["target"], said["unit"], said["loops_back"]) == (target, 7, True)
    assert said["identification"]["5"] == "abb-b-series"
    assert bytes.fromhex(said["server_id"]) == b"fieldtap\xff"
    assert said["registers"]["holding:35168"] == "42323120"
    assert said["counters"]["exceptions"] == 0
    assert said["counters"]["bus messages"] == said["events"]["messages"] + 3
    assert said["not_answered"] == []
    [fit] = said["maps"]
    assert (fit["name"], fit["reasons"]) == ("abb-b-series", ["holding:35168 holds 0x42323120"])


def test_where_no_map_tells_how_to_recognise_the_device_none_is_named(target, identify):
    code, out, _ = identify(target, 8)
    assert code == 0
    assert "product name: Eastron SDM630, three-phase energy meter" in out
    assert out.splitlines()[-1].startswith("device map              none of the ")


def test_a_device_without_a_shipped_map_says_what_it_says(target, identify):
    said = json.loads(identify(target, 9, "--json")[1])
    assert said["identification"] == {"0": "fieldtap", "1": "simulator", "2": "1"}


def test_a_device_that_is_not_there_is_told_once(target, identify):
    code, out, err = identify(target, 99, "--timeout", "100")
    told = {
        True: (1, "answered exception 11: the gateway heard nothing from it\n"),
        False: (69, "did not answer within 100 ms; nothing was heard at all\n"),
    }[target.startswith("tcp:")]
    assert (code, out, err) == (told[0], "", f"fieldtap: unit 99 at {target} {told[1]}")


def test_words_that_mean_nothing_are_usage_errors(identify):
    assert identify("/dev/null", 0)[0] == 2
    assert identify("rtu+tls://x:1", 1)[0] == 2
