"""`fieldtap run` beside `fieldtap simulate --fault`: what is told afterwards is what was done to the lines."""

import collections
import json
import signal
import subprocess
import sys
import time

import pytest

DEADLINE_S = 60.0
CONFIG = """
schema = 1
[gateway]
id = "faulty"
[store]
path = "{folder}/store"
journal_bytes = "1 MiB"
[[bus]]
name = "line"
port = "{line}"
baud = 115200
timeout_ms = 50
device = [
  {{ name = "meter", unit = 1, every = "10ms", tag = [ {{ name = "a", register = "holding:0", type = "f32" }} ] }},
  {{ name = "dead", unit = 9, every = "10ms", tag = [ {{ name = "a", register = "holding:0", type = "u16" }} ] }},
]
[[bus]]
name = "link"
port = "{link}"
protocol = "modbus-tcp"
timeout_ms = 200
device = [
  {{ name = "plc", unit = 1, every = "10ms", tag = [ {{ name = "a", register = "input:5", type = "u32" }} ] }},
  {{ name = "dead", unit = 9, every = "10ms", tag = [ {{ name = "a", register = "holding:0", type = "u16" }} ] }},
]
"""
FAULTS = ("line=crc:0.2", "line=babble:0.1", "link=exception:0.3:2", "link=drop:0.02", "dead:9")


class Run:
    """A simulator and an agent, each its own process."""

    def __init__(self, folder, faults):
        self.folder = folder
        self.config = folder / "agent.toml"
        self.log = folder / "log"
        self.summary = folder / "summary.json"
        self.capture = folder / "last.pcapng"
        self.config.write_text(CONFIG.format(folder=folder, line=folder / "line", link="tcp://127.0.0.1:15020"))
        options = [word for fault in faults for word in ("--fault", fault)]
        self.simulator = self._start("simulate", self.config, "--link", folder, *options, stdout=subprocess.PIPE)
        ports = dict(self.simulator.stdout.readline().split() for _ in range(2))
        self.config.write_text(CONFIG.format(folder=folder, **ports))
        with self.log.open("wb") as log:
            outputs = ("--summary", self.summary, "--pcap", self.capture)
            self.agent = self._start("run", self.config, *outputs, stderr=log)

    def _start(self, *words, **streams):
        return subprocess.Popen([sys.executable, "-m", "agent", *map(str, words)], text=True, **streams)

    def until_logged(self, *words):
        end = time.monotonic() + DEADLINE_S
        while not all(word in self.log.read_text() for word in words):
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def end(self):
        """The summary document."""
        self.agent.send_signal(signal.SIGTERM)
        assert self.agent.wait(DEADLINE_S) == 0, self.log.read_text()
        return json.loads(self.summary.read_text())

    def close(self):
        for process in (self.agent, self.simulator):
            if process.poll() is None:
                process.kill()
            process.wait()
        self.simulator.stdout.close()


@pytest.fixture
def faulty(tmp_path):
    made = Run(tmp_path, FAULTS)
    yield made
    made.close()


def dissected(path):
    """(whether it is marked, malformed, CRC's status) of each packet as tshark sees it, with how often it came."""
    fields = ["frame.comment", "_ws.malformed", "mbrtu.crc16.status", "frame.interface_name"]
    asked = [part for field in fields for part in ("-e", field)]
    command = ["tshark", "-r", path, "-d", "rtacser.data,mbrtu", "-o", "mbrtu.crc_verification:TRUE"]
    command += ["-T", "fields", "-E", "separator=|", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [row.split("|") for row in done.stdout.splitlines()]
    return collections.Counter((bool(comment), *rest) for comment, *rest in rows)


def test_statistics_events_and_capture_tell_what_was_done_to_a_line_and_a_link(faulty):
    faulty.until_logged(
        "bus line: device dead: does not answer",
        "bus link: device dead: does not answer",
        "bus line: device meter: of its last",
    )
    document = faulty.end()
    line, link = document["buses"]["line"], document["buses"]["link"]
    for bus in (line, link):
        for outcome in ("transactions", "ok", "timeouts", "crc_errors", "exceptions", "stale_discarded", "noise_bytes"):
            assert bus[outcome] == sum(device[outcome] for device in bus["devices"].values()), outcome
        assert bus["suspects"] == ["dead"]
        assert bus["state"] == "open"
    assert link["devices"]["dead"]["last_error"]["what"] == "no answer"
    last = line["devices"]["dead"]["last_error"]  # the babble of the line may fall into any silence
    assert last["what"] == ("only bytes that do not answer" if last["heard"] else "no answer")
    assert line["devices"]["meter"]["last_error"]["what"] in ("wrong CRC", "only bytes that do not answer")
    assert link["devices"]["plc"]["last_error"]["what"] in ("exception 2: it has no such register", "no answer")
    assert line["line"]["clean"] < 0.95 < link["line"]["clean"] == 1
    assert 0 < line["wire_utilisation"] < line["utilisation"] < 1
    assert any(sentence.startswith("dead has never answered, others do: its power") for sentence in line["advice"])
    assert any("meter are answered with CRC errors" in sentence for sentence in line["advice"])
    told = collections.Counter((event["kind"], event["bus"], event["device"]) for event in document["events"])
    assert told["port-up", "line", ""] == told["port-up", "link", ""] == 1
    assert told["device-silent", "line", "dead"] == told["device-silent", "link", "dead"] == 1
    assert told["device-bad", "line", "meter"] == 1
    frames = dissected(faulty.capture)
    assert {(malformed, crc, bus) for marked, malformed, crc, bus in frames if not marked} == {
        ("", "1", "line"),
        ("", "", "link"),
    }
    assert any(marked and bus == "line" for marked, *_, bus in frames)


def test_a_port_that_goes_and_comes_back_is_an_event_each(faulty):
    faulty.until_logged("bus link: tcp://127.0.0.1:")
    faulty.simulator.kill()
    faulty.until_logged("lost:", "bus link")
    document = faulty.end()
    kinds = [event["kind"] for event in document["events"] if event["bus"] == "link"]
    assert kinds[0] == "port-up"
    assert "port-down" in kinds
