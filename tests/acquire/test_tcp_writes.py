"""Writes over Modbus TCP while the links are polled: to servers that keep the protocol, and to those that break it."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tcp_servers

from agent.acquire.audit import Audit
from agent.acquire.plan import compile_plan
from agent.acquire.tickets import Ticket
from agent.acquire.write import Outcome
from agent.acquire.writer import Writer
from agent.clock import boot_ns
from agent.config.model import Bus, Write
from agent.model import NS_PER_MS, NS_PER_S

UNITS = range(1, 9)
SILENT = "no answer"


@pytest.fixture
def writable(bus_on: Callable) -> Callable[..., Bus]:
    """A bus of eight units, each read in one request, whose tags can be written."""

    def make(url: str, **settings: Any) -> Bus:
        bus = bus_on(
            url,
            name=settings.pop("name", "net"),
            protocol="modbus-tcp",
            units=tuple(UNITS),
            tags=2,
            timeout_ns=NS_PER_S,
            **({"every_ns": 2 * NS_PER_MS} | settings),
        )
        allowed = Write(min=0, max=65535, step=1)
        devices = [
            msgspec.structs.replace(
                device, tags=tuple(msgspec.structs.replace(tag, write=allowed) for tag in device.tags)
            )
            for device in bus.devices
        ]
        return msgspec.structs.replace(bus, devices=tuple(devices))

    return make


class Site:
    """Buses that are polled, and their writer."""

    def __init__(self, running: Any, writer: Writer) -> None:
        self.running = running
        self.writer = writer

    def submit(self, value: int, unit: int = 1, bus: str = "net") -> Ticket:
        return self.writer.write(f"{bus}/unit{unit}/t0", value, "anna", boot_ns())

    def wait(self, wanted: Callable[[], bool]) -> None:
        def turned() -> bool:
            self.running.acquisition.tickets.turn(boot_ns())
            return wanted()

        self.running.wait(turned)

    def write(self, value: int, unit: int = 1) -> Outcome:
        ticket = self.submit(value, unit)
        self.wait(lambda: ticket.done)
        return ticket.result

    def counts(self, bus: str = "net") -> Any:
        return self.running.acquisition.stats()[bus].counts


@pytest.fixture
def site(run: Callable, config_of: Callable, tmp_path: Path) -> Callable[..., Site]:
    """Polls these buses until each has been heard so often."""

    def start(*buses: Bus, heard: int = 40) -> Site:
        running = run(*buses)
        made = Site(running, Writer(config_of(*buses), running.acquisition, Audit(tmp_path), lambda: 0.0))
        made.wait(lambda: all(made.counts(bus.name).ok >= heard for bus in buses))
        return made

    return start


@pytest.mark.parametrize("in_flight", [1, 16])
@pytest.mark.parametrize(
    ("deal", "result", "why"),
    [
        (tcp_servers.obeys, "written", ""),
        (tcp_servers.obeys_backwards, "written", ""),
        (tcp_servers.obeys_after_reading, "written", ""),
        (tcp_servers.says_everything_twice, "written", ""),
        (tcp_servers.obeys_without_a_word, "written", f"bus net: {SILENT}; but it holds the value now"),
        (tcp_servers.ignores_writes, "differs", f"bus net: {SILENT}"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_write_is_sent_once_and_read_back_whatever_the_server_does(
    deal: Any, result: str, why: str, in_flight: int, server: Callable, site: Callable, writable: Callable
) -> None:
    serve = tcp_servers.Writable(deal)
    made = site(writable(server(serve).url, in_flight=in_flight))
    tickets = [made.submit(4700 + unit, unit) for unit in (1, 2, 3)]
    made.wait(lambda: all(ticket.done for ticket in tickets))
    assert {(ticket.result.result, ticket.result.why) for ticket in tickets} == {(result, why)}
    assert sorted(serve.writes) == [bytes([unit, 6, 0, 100]) + (4700 + unit).to_bytes(2) for unit in (1, 2, 3)]
    assert made.counts().exceptions == 0


def test_on_an_idle_link_a_write_goes_at_once_and_its_end_wakes_who_waits_for_it(
    server: Callable, site: Callable, writable: Callable, readable: Callable
) -> None:
    peer = server(tcp_servers.Writable(tcp_servers.obeys))
    made = site(writable(peer.url, every_ns=3600 * NS_PER_S), heard=len(UNITS))
    tickets, ticket = made.running.acquisition.tickets, made.submit(7)
    while not ticket.done:
        assert readable(tickets.fileno(), 10)
        tickets.turn(boot_ns())
    assert ticket.result == Outcome("written", 100, 7)


def test_what_was_written_is_what_is_polled_next(server: Callable, site: Callable, writable: Callable) -> None:
    made = site(writable(server(tcp_servers.Writable(tcp_servers.obeys)).url, in_flight=4))
    assert made.write(1234) == Outcome("written", 100, 1234)
    made.running.seen.clear()
    made.wait(lambda: any((each.tag, each.value) == (0, 1234) for each in made.running.seen))
    assert {each.value for each in made.running.seen if each.tag % 2 == 0} == {100, 1234}


def test_a_server_that_hangs_up_on_a_write_gets_it_once_and_is_served_again(
    server: Callable, site: Callable, writable: Callable
) -> None:
    serve = tcp_servers.Writable(tcp_servers.obeys_and_hangs_up)
    peer = server(serve)
    made = site(writable(peer.url, in_flight=4))
    outcome = made.write(7)
    assert "the port was lost before the answer" in outcome.why
    assert outcome.result == ("written" if outcome.new == 7 else "failed")  # the agent may be back before it reads
    made.wait(lambda: len(peer.connections) == 2 and made.running.acquisition.stats()["net"].port == "open")
    serve.deal = tcp_servers.obeys
    assert made.write(8) == Outcome("written", 7, 8)
    assert [write[-1] for write in serve.writes] == [7, 8]


def test_a_server_that_says_nothing_at_all_is_not_written_to(
    server: Callable, site: Callable, writable: Callable
) -> None:
    serve = tcp_servers.Writable(tcp_servers.obeys)
    made = site(writable(server(serve).url))
    serve.deal = lambda _registers, _batch: b""
    outcome = made.write(7)
    assert (outcome.result, outcome.old) == ("failed", None)
    assert outcome.why.endswith("; nothing was written")
    assert serve.writes == []


def test_a_burst_to_one_unit_is_carried_out_in_order_while_polls_go_on(
    server: Callable, site: Callable, writable: Callable
) -> None:
    serve = tcp_servers.Writable(tcp_servers.obeys)
    made = site(writable(server(serve).url, in_flight=16))
    before = made.counts().ok
    tickets = [made.submit(value) for value in range(30)]
    made.wait(lambda: all(ticket.done for ticket in tickets))
    assert [ticket.result.new for ticket in tickets] == list(range(30))
    assert [write[-1] for write in serve.writes] == list(range(30))
    assert made.counts().ok - before > 3 * 30
    assert made.counts().timeouts == 0


def test_two_links_are_written_to_replanned_watched_and_cut_at_once(
    server: Callable, site: Callable, writable: Callable, config_of: Callable
) -> None:
    serves = [tcp_servers.Writable(tcp_servers.obeys) for _ in range(2)]
    peers = [server(serve) for serve in serves]
    buses = [writable(peer.url, name=f"net{at}", in_flight=(1, 16)[at]) for at, peer in enumerate(peers)]
    made = site(*buses)
    chance = random.Random(1)
    tickets: list[Ticket] = []

    def are_open_and_not_too_busy() -> bool:
        stats = made.running.acquisition.stats().values()
        return sum(not ticket.done for ticket in tickets) < 20 and {each.port for each in stats} == {"open"}

    for value in range(400):
        tickets += [made.submit(value, chance.choice(UNITS), bus.name) for bus in buses]
        if value % 100 == 50:
            chance.choice(peers).cut()
        if value % 40 == 0:
            made.running.acquisition.replan(buses, compile_plan(config_of(*buses)))
        made.running.acquisition.trace()
        made.wait(are_open_and_not_too_busy)
    made.wait(lambda: all(ticket.done for ticket in tickets))
    for at, serve in enumerate(serves):
        outcomes = [ticket.result for ticket in itertools.islice(tickets, at, None, 2)]
        sent = [int.from_bytes(write[-2:]) for write in serve.writes]
        assert len(set(sent)) == len(sent)
        written = [value for value, outcome in enumerate(outcomes) if outcome.result == "written"]
        assert set(written) <= set(sent)
        assert len(written) > 300
        assert all(outcome.new == value for value, outcome in enumerate(outcomes) if value in written)
