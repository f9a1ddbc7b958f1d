"""`fieldtap run`: what it says about what becomes of the samples it has read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import load_config

CONFIG = """\
schema = 1
[store]
path = "{store}"
journal_bytes = "1 MiB"
[[bus]]
name = "rs485"
port = "/dev/no-such-port"
[[bus.device]]
name = "pump"
unit = 7
[[bus.device.tag]]
name = "pressure"
register = "holding:100"
type = "f32"
"""

WAITS = ": ended, 1 batch waits in the store"


@pytest.fixture
def run(fieldtap: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[[Path], tuple[int, str]]:
    """Exit code and last line of the log of an agent with this store."""

    def run_briefly(store: Path) -> tuple[int, str]:
        path = tmp_path / "gateway.toml"
        path.write_text(CONFIG.format(store=store))
        caplog.set_level("INFO")
        code = fieldtap("run", str(path), "--duration", "2", "--summary", str(tmp_path / "summary.json")).code
        return code, caplog.records[-1].getMessage()

    return run_briefly


def test_at_the_end_it_says_what_waits_in_the_store(run: Callable, tmp_path: Path) -> None:
    code, said = run(tmp_path / "store")
    assert (code, said[-len(WAITS) :]) == (0, WAITS)


def test_samples_that_neither_broker_nor_store_took_end_in_an_io_error(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    code, said = run(tmp_path / "store")
    assert code == 74
    assert "1 samples are lost: no broker took them, nor the store" in said
    assert "File exists" in said
    store = json.loads((tmp_path / "summary.json").read_text())["store"]
    assert (store["lost_samples"], store["pending_batches"]) == (1, 0)


@pytest.mark.parametrize(
    ("name", "why"), [("no-such-folder/summary.json", "No such file or directory"), ("", "Is a directory")]
)
def test_a_summary_that_cannot_be_written_is_told_before_the_run_and_not_after_it(
    fieldtap: Callable, tmp_path: Path, name: str, why: str
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.format(store=tmp_path / "store"))
    done = fieldtap("run", str(path), "--summary", str(tmp_path / name))
    assert (done.code, done.err) == (74, f"fieldtap: {tmp_path / name}: cannot write the summary: {why}\n")
    assert not (tmp_path / "store").exists()


def test_a_capture_that_cannot_be_written_does_not_cost_the_summary(fieldtap: Callable, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.format(store=tmp_path / "store"))
    summary, capture = tmp_path / "summary.json", tmp_path / "no-such-folder" / "bus.pcapng"
    done = fieldtap("run", str(path), "--duration", "0", "--summary", str(summary), "--pcap", str(capture))
    assert done.code == 74
    assert "rs485" in json.loads(summary.read_text())["buses"]


INVERTER = """\
schema = 1
[store]
path = "store"
journal_bytes = "1 MiB"
[[bus]]
name = "net"
port = "{port}"
[[bus.device]]
name = "inverter"
unit = 1
device = "./inverter.toml"
"""
MODEL = """\
schema = 1
title = "An inverter of SunSpec"
sunspec = 103
start = {start}
tag = [{{ name = "power", register = "holding:14", type = "i16", unit = "W", every = "100 ms" }}]
"""


def test_where_a_model_was_found_is_known_at_the_next_start(
    fieldtap: Callable, played: Callable[..., str], tmp_path: Path
) -> None:
    """The device has it elsewhere than the map says."""
    path, summary = tmp_path / "gateway.toml", tmp_path / "summary.json"
    path.write_text(INVERTER.format(port="tcp://127.0.0.1"))
    (tmp_path / "inverter.toml").write_text(MODEL.format(start=50_069))
    port = played(load_config(str(path)).buses[0].devices, "tcp://127.0.0.1:0", ())
    path.write_text(INVERTER.format(port=port))
    (tmp_path / "inverter.toml").write_text(MODEL.format(start=40_070))
    told = []
    for _ in range(2):
        assert fieldtap("run", str(path), "--duration", "3", "--summary", str(summary)).code == 0
        document = json.loads(summary.read_text())
        assert document["samples_read"] > 0
        assert document["buses"]["net"]["exceptions"] == 0
        told.append([event["words"] for event in document["events"] if event["kind"].startswith("models")])
    assert told == [["SunSpec model 103 at 50069"], []]
