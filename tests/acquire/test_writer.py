"""Writes of tags by name: through the agent's own loop to the simulator and back, with their record."""

import json
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.acquire.audit import Audit
from agent.acquire.bus import Acquisition
from agent.acquire.plan import compile_plan
from agent.acquire.tickets import Ticket
from agent.acquire.write import Outcome
from agent.acquire.writer import Writer
from agent.clock import boot_ns
from agent.config.model import Bus, Config, Device, Gateway, Store, Table, Tag, Write
from agent.errors import RefusedError
from agent.model import NS_PER_S, ValueType
from agent.simulate.simulator import Simulator

DEADLINE_S = 10.0
MS = 1_000_000
FREE = Write(min=-1000, max=1000)
TAGS = (
    Tag(name="level", table=Table.HOLDING, address=10, type=ValueType.F32, length=2, every_ns=20 * MS, write=FREE),
    Tag(
        name="mode", table=Table.HOLDING, address=20, type=ValueType.BITS, bits=3, shift=2, every_ns=20 * MS, write=FREE
    ),
    Tag(name="pump", table=Table.COIL, address=5, type=ValueType.BOOL, every_ns=20 * MS, write=Write(min=0, max=1)),
    Tag(
        name="slow",
        table=Table.HOLDING,
        address=30,
        type=ValueType.U16,
        every_ns=20 * MS,
        write=Write(min=0, max=9, rate_ns=10 * NS_PER_S),
    ),
    Tag(name="fixed", table=Table.HOLDING, address=40, type=ValueType.U16, every_ns=20 * MS),
)


class Site:
    """A simulated bus, its acquisition and its writer."""

    def __init__(self, port: str, folder: Path, unit: int = 7) -> None:
        self.unit = unit
        config = self.config(port)
        self.simulator = Simulator(config)
        self.simulator.start()
        config = self.config(self.simulator.paths["b"])
        self.acquisition = Acquisition(config.buses, compile_plan(config))
        self.record = folder / "store" / "writes.jsonl"
        self.writer = Writer(config, self.acquisition, Audit(folder / "store"), lambda: 1700000000.5)
        self.acquisition.start()
        self.until(lambda: self.acquisition.stats()["b"].counts.ok > 0)

    def config(self, port: str) -> Config:
        protocol = "modbus-tcp" if port.startswith("tcp:") else "modbus-rtu"
        devices = (Device(name="d", unit=self.unit, tags=TAGS),)
        bus = Bus(name="b", port=port, protocol=protocol, parity="N", timeout_ns=NS_PER_S, devices=devices)
        return Config(gateway=Gateway(id="g"), mqtt=None, store=Store(), buses=(bus,))

    def until(self, wanted) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not wanted() and time.monotonic() < deadline:
            select.select([self.acquisition.tickets.fileno()], [], [], 0.01)
            self.acquisition.tickets.turn(boot_ns())
        assert wanted()

    def write(self, tag: str, value) -> Ticket:
        ticket = self.writer.write(f"b/d/{tag}", value, "anna", boot_ns())
        self.until(lambda: ticket.done)
        return ticket

    def recorded(self) -> list[dict]:
        return [json.loads(line) for line in self.record.read_text().splitlines()]


@pytest.fixture(params=["/dev/ttyS99", "rtu+tcp://127.0.0.1:0", "tcp://127.0.0.1:0"], ids=["line", "gateway", "tcp"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(request.param, tmp_path)
    yield made
    made.acquisition.stop()
    made.simulator.stop()


def test_a_write_reaches_the_device_and_is_read_back_while_polls_go_on(site: Site) -> None:
    for value in (3.25, -7, 0):
        outcome = site.write("level", value).result
        assert (outcome.result, outcome.new, outcome.why) == ("written", value, "")
    assert site.write("level", 1).result.old == 0
    assert site.write("mode", 5).result.new == 5
    assert site.write("pump", "on").result.new == 1
    counts = site.acquisition.stats()["b"].counts
    assert (counts.timeouts, counts.exceptions) == (0, 0)


def test_every_attempt_is_recorded_with_who_and_what_came_of_it(site: Site) -> None:
    site.write("mode", 1)
    site.write("mode", 6)
    for tag, value in [("fixed", 1), ("level", 5000), ("levle", 1)]:
        with pytest.raises(RefusedError):
            site.write(tag, value)
    first, second, fixed, wide, unknown = site.recorded()
    assert first["new"] == second["old"] == 1
    assert second == {
        "t": 1700000000.5, "who": "anna", "tag": "b/d/mode", "value": 6, "old": 1, "new": 6, "result": "written",
    }  # fmt: skip
    assert {record["result"] for record in (fixed, wide, unknown)} == {"refused"}
    assert "read-only" in fixed["why"]
    assert "outside of -1000 to 1000" in wide["why"]
    assert "did you mean 'b/d/level'" in unknown["why"]


def test_a_tag_is_written_no_more_often_than_it_allows(site: Site) -> None:
    site.write("slow", 1)
    with pytest.raises(RefusedError, match=r"b/d/slow: 2 comes .* s after the write before; it allows one in 10 s"):
        site.write("slow", 2)
    later = site.writer.write("b/d/slow", 3, "anna", boot_ns() + 11 * NS_PER_S)
    site.until(lambda: later.done)
    assert later.result.new == 3


def test_a_burst_is_carried_out_whole_and_in_order(site: Site) -> None:
    tickets = [site.writer.write("b/d/level", value, "anna", boot_ns()) for value in range(20)]
    site.until(lambda: all(ticket.done for ticket in tickets))
    assert [ticket.result.new for ticket in tickets] == list(range(20))


def test_without_a_port_nothing_is_written_and_that_is_said(site: Site) -> None:
    site.simulator.stop()
    site.until(lambda: site.acquisition.stats()["b"].port == "failed")
    outcome = site.write("level", 1).result
    assert (outcome.result, outcome.why) == ("failed", "bus b: the port is not open; nothing was written")


def test_the_end_of_the_agent_ends_all_tickets(site: Site) -> None:
    tickets = [site.writer.write("b/d/level", value, "anna", boot_ns()) for value in range(5)]
    site.acquisition.stop()
    assert all(ticket.done for ticket in tickets)
    assert {record["result"] for record in site.recorded()} <= {"written", "differs", "failed"}


def test_over_modbus_tcp_unit_0_is_a_device_that_is_read_back(tmp_path: Path) -> None:
    site = Site("tcp://127.0.0.1:0", tmp_path, unit=0)
    try:
        assert site.write("level", 2.5).result.result == "written"
        assert site.write("level", 4).result == Outcome("written", 2.5, 4)
    finally:
        site.acquisition.stop()
        site.simulator.stop()


# --- the record ---


def test_the_record_never_outgrows_its_bound(tmp_path: Path) -> None:
    audit = Audit(tmp_path, most_bytes=1000)
    for number in range(200):
        audit.record(number=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["writes.jsonl", "writes.jsonl.1"]
    assert all(file.stat().st_size <= 1000 for file in files)
    older, newer = (tmp_path / "writes.jsonl.1").read_text(), (tmp_path / "writes.jsonl").read_text()
    numbers = [json.loads(line)["number"] for line in (older + newer).splitlines()]
    assert numbers == list(range(numbers[0], 200))


def test_a_record_that_cannot_be_kept_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level("INFO"):
        Audit(tmp_path / "file").record(tag="b/d/t", new=float("nan"))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert '"new": "nan"' in caplog.text
    assert "is not recorded" in caplog.text
