import asyncio
import errno
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import msgspec
import pytest
import tcp_servers
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer

from agent._native.flavour import BUILT_AS
from agent.acquire import tcp
from agent.acquire.backoff import FIRST_MS, JITTER, LAST_MS, LASTED_MS, Backoff
from agent.acquire.chronicle import Chronicle
from agent.acquire.packets import tcp_packets
from agent.acquire.resolve import Resolver
from agent.clock import boot_ns
from agent.config.model import Device
from agent.model import NS_PER_MS, NS_PER_S, Quality
from agent.simulate.simulator import Simulator

LINKS = 200
ALWAYS_DUE_NS = 50_000  # sooner than any of the sixteen is answered
# A ring of 1024 samples and a trace, 32 KiB each; a link's state, its socket and its plan besides.
BYTES_A_LINK = 160 * 1024


@pytest.fixture
def link_to(bus_on: Callable) -> Callable:
    """A bus of 16 reads that cannot be merged: each has a device of its own name, all are one unit."""

    def make(url: str, **settings: Any) -> Any:
        every_ns = settings.pop("every_ns", NS_PER_MS)
        bus = bus_on(
            url, name=settings.pop("name", "net"), protocol="modbus-tcp", tags=2, every_ns=every_ns, **settings
        )
        tags = bus.devices[0].tags
        devices = tuple(
            Device(
                name=f"part{at}",
                unit=1,
                tags=tuple(msgspec.structs.replace(tag, address=tag.address + 200 * at) for tag in tags),
            )
            for at in range(16)
        )
        return msgspec.structs.replace(bus, devices=devices)

    return make


def values(running: Any) -> dict[int, int]:
    return {sample.tag: sample.value for sample in running.seen if sample.quality == Quality.GOOD}


def expected(running: Any) -> dict[int, int]:
    tags = [tag for bus in running.buses for device in bus.devices for tag in device.tags]
    return {number: tag.address for number, tag in enumerate(tags)}


def all_right(running: Any) -> bool:
    right = expected(running)
    return all(right[each.tag] == each.value for each in running.seen if each.quality == Quality.GOOD)


def width(running: Any, bus: int = 0) -> int:
    return running.acquisition._loops._links.width(bus)


# --- peers ---


def test_a_server_that_takes_sixteen_requests_gets_them(server: Callable, run: Callable, link_to: Callable) -> None:
    peer = server(tcp_servers.in_order)
    running = run(link_to(peer.url, in_flight=16, every_ns=ALWAYS_DUE_NS))
    running.wait(lambda: len(values(running)) == 32 and running.acquisition.stats()["net"].counts.ok > 200)
    assert all_right(running)
    assert peer.connections[0].most_at_once > 8
    assert width(running) == 16


def test_by_default_requests_go_one_by_one(server: Callable, run: Callable, link_to: Callable) -> None:
    peer = server(tcp_servers.in_order)
    running = run(link_to(peer.url, every_ns=ALWAYS_DUE_NS))
    running.wait(lambda: len(values(running)) == 32)
    assert peer.connections[0].most_at_once == 1


def test_answers_in_reverse_order_are_right_and_the_link_goes_on_one_by_one(
    server: Callable, run: Callable, link_to: Callable
) -> None:
    running = run(link_to(server(tcp_servers.backwards).url, in_flight=16))
    running.wait(lambda: width(running) == 1 and running.acquisition.stats()["net"].counts.ok > 200)
    assert all_right(running)
    assert running.acquisition.stats()["net"].counts.timeouts == 0


def test_a_server_that_takes_one_request_at_a_time_gets_one_at_a_time(
    server: Callable, run: Callable, link_to: Callable
) -> None:
    bus = link_to(server(tcp_servers.one_at_a_time).url, in_flight=16)
    running = run(bus)
    running.wait(lambda: width(running) == 1 and len(values(running)) == 32)
    begun_ns = boot_ns()
    done = running.acquisition.stats()["net"].counts.ok
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok > done + 200)
    assert all_right(running)
    assert most_at_once(running, bus.timeout_ns, begun_ns) == 1


def most_at_once(running: Any, timeout_ns: int, since_ns: int) -> int:
    """How many requests were under way: sent, and neither answered nor given up, whatever the peer had time for."""
    under_way: dict[bytes, int] = {}
    most = 0
    for packet in tcp_packets(running.acquisition.trace()[0].pieces):
        time_ns, is_sent, data = packet.frame
        under_way = {number: until_ns for number, until_ns in under_way.items() if until_ns > time_ns}
        under_way.pop(data[:2], None)
        if is_sent and time_ns >= since_ns:
            under_way[data[:2]] = time_ns + timeout_ns
            most = max(most, len(under_way))
    return most


def test_a_server_that_closes_on_a_second_request_is_read_one_by_one_after_that(
    server: Callable, run: Callable, link_to: Callable
) -> None:
    peer = server(tcp_servers.closes_on_a_second)
    running = run(link_to(peer.url, in_flight=16))
    running.wait(lambda: len(peer.connections) == 2 and len(values(running)) == 32)
    done = running.acquisition.stats()["net"].counts.ok
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok > done + 200)
    assert all_right(running)
    assert len(peer.connections) == 2


def test_a_link_that_stops_in_the_middle_of_an_answer_is_connected_anew(
    server: Callable, run: Callable, link_to: Callable
) -> None:
    peer = server(tcp_servers.mute_after(20))
    running = run(link_to(peer.url, in_flight=4))
    running.wait(lambda: len(peer.connections) == 2 and running.acquisition.stats()["net"].port == "open")
    failed = {sample.tag for sample in running.seen if sample.quality == Quality.COMM_FAIL}
    assert failed == set(range(32))
    done = running.acquisition.stats()["net"].counts.ok
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok > done + 200)
    assert all_right(running)


def test_the_stall_of_one_link_is_no_matter_to_another(server: Callable, run: Callable, link_to: Callable) -> None:
    stalled, live = server(tcp_servers.mute), server(tcp_servers.in_order)
    patient = link_to(live.url, name="live", in_flight=4, timeout_ns=10 * NS_PER_S)  # of a peer on a busy machine
    running = run(link_to(stalled.url, name="stalled"), patient)
    running.wait(lambda: len(stalled.connections) == 2 and running.acquisition.stats()["live"].counts.ok > 100)
    assert running.acquisition.stats()["live"].counts.timeouts == 0
    assert running.acquisition.stats()["stalled"].counts.timeouts >= 3


def test_plans_that_change_while_many_requests_are_under_way_lose_none(
    server: Callable, run: Callable, link_to: Callable
) -> None:
    running = run(
        link_to(server(tcp_servers.in_order).url, in_flight=16, every_ns=ALWAYS_DUE_NS, timeout_ns=10 * NS_PER_S)
    )
    wanted = 0

    def went_on() -> bool:
        return running.acquisition.stats()["net"].counts.ok > wanted

    while wanted < 1000:
        wanted += 20
        running.acquisition.replan(running.buses, running.plan)
        running.wait(went_on)
    counts = running.acquisition.stats()["net"].counts
    assert counts.timeouts == counts.stale_discarded == counts.noise_bytes == 0
    assert all_right(running)


@contextmanager
def pymodbus_server() -> Iterator[str]:
    """The other implementation, in an event loop of its own."""
    loop = asyncio.new_event_loop()
    block = ModbusSequentialDataBlock(1, list(range(5000)))
    context = ModbusServerContext(devices=ModbusDeviceContext(hr=block), single=True)

    async def start() -> ModbusTcpServer:
        made = ModbusTcpServer(context, address=("127.0.0.1", 0))
        await made.serve_forever(background=True)
        return made

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"tcp://127.0.0.1:{made.transport.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(made.shutdown(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_a_server_of_pymodbus_is_read(run: Callable, link_to: Callable) -> None:
    with pymodbus_server() as url:
        running = run(link_to(url))
        running.wait(lambda: len(values(running)) == 32 and running.acquisition.stats()["net"].counts.ok > 200)
        assert all_right(running)
        assert running.acquisition.stats()["net"].counts.timeouts == 0
        running.acquisition.stop()


def test_a_server_of_pymodbus_mixes_up_requests_that_come_together_and_no_value_is_wrong_for_that(
    run: Callable, link_to: Callable
) -> None:
    with pymodbus_server() as url:
        running = run(link_to(url, in_flight=16, every_ns=ALWAYS_DUE_NS))
        running.wait(lambda: len(values(running)) == 32 and running.acquisition.stats()["net"].counts.ok > 2000)
        assert all_right(running)
        running.acquisition.stop()


def test_the_simulator_is_read_with_many_requests_under_way(
    tmp_path: Path, run: Callable, link_to: Callable, config_of: Callable
) -> None:
    simulator = Simulator(config_of(link_to("tcp://127.0.0.1:0")), link_dir=tmp_path)
    simulator.start()
    try:
        running = run(link_to(simulator.paths["net"], in_flight=16, every_ns=2 * NS_PER_MS))
        running.wait(lambda: running.acquisition.stats()["net"].counts.ok > 2000)
        counts = running.acquisition.stats()["net"].counts
        assert counts.timeouts == counts.exceptions == counts.stale_discarded == counts.noise_bytes == 0
        assert width(running) == 16
    finally:
        simulator.stop()


# --- hundreds ---


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_two_hundred_links_are_served_by_two_threads_within_bounded_memory(
    server: Callable, run: Callable, bus_on: Callable
) -> None:
    peer = server(tcp_servers.in_order)
    before, threads = rss_bytes(), threading.active_count()
    times = {
        "every_ns": 100 * NS_PER_MS,
        "timeout_ns": 30 * NS_PER_S,
    }  # the peer's threads take turns in one interpreter
    buses = [bus_on(peer.url, name=f"net{at}", protocol="modbus-tcp", tags=4, **times) for at in range(LINKS)]
    running = run(*buses)
    running.wait(lambda: all(each.counts.ok >= 10 for each in running.acquisition.stats().values()))
    assert threading.active_count() - threads - LINKS == 2  # the peer has a thread for each connection
    assert all(each.counts.timeouts == 0 for each in running.acquisition.stats().values())
    assert all_right(running)
    peer_stacks = LINKS * 40 * 1024
    grown = rss_bytes() - before
    is_padded = "asan" in BUILT_AS  # the sanitizer puts space around all that it watches
    assert is_padded or grown < LINKS * BYTES_A_LINK + peer_stacks + 8 * 2**20


def test_hosts_that_do_not_answer_hold_nobody_up(server: Callable, run: Callable, link_to: Callable) -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    filling = [socket.socket(), socket.socket()]  # from now on a connect is neither taken nor refused
    for each in filling:
        each.setblocking(False)
        each.connect_ex(full.getsockname())
    url = f"tcp://127.0.0.1:{full.getsockname()[1]}"
    started = time.monotonic()
    dead = [link_to(url, name=f"dead{at}") for at in range(20)]
    running = run(*dead, link_to(server(tcp_servers.in_order).url, name="live"))
    running.wait(lambda: running.acquisition.stats()["live"].counts.ok > 50)
    running.wait(lambda: all(running.acquisition.stats()[bus.name].port == "failed" for bus in dead))
    assert time.monotonic() - started < 2 * tcp.CONNECT_TIMEOUT_S + 1
    assert "no connection within 2 s" in running.acquisition.stats()["dead0"].error
    for each in (*filling, full):
        each.close()


# --- connecting ---


def test_a_link_that_is_refused_fails_its_tags_and_is_served_once_there_is_a_server(
    run: Callable, link_to: Callable, server: Callable
) -> None:
    peer = server(tcp_servers.in_order)
    peer.close()
    running = run(link_to(peer.url))
    running.wait(lambda: {each.tag for each in running.seen} == set(range(32)))
    assert "Connection refused" in running.acquisition.stats()["net"].error
    server(tcp_servers.in_order, peer.port)
    running.wait(lambda: len(values(running)) == 32)
    assert running.acquisition.stats()["net"].error == ""


def test_a_link_is_told_to_be_open_when_requests_can_go_there(
    link_to: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached, told_with, chronicle, bell = Mock(), [], Chronicle(), os.eventfd(0)
    monkeypatch.setattr(chronicle, "tell", lambda *_: told_with.append(attached.attach.mock_calls[:]))
    connector = tcp.Connector(attached, bell, [link_to("tcp://127.0.0.1:502")], chronicle)
    connector._open(0, connector._links[0], 99)
    assert told_with == [[call(0, 99)]]
    os.close(bell)


def test_a_name_is_resolved_and_all_its_addresses_are_tried(server: Callable, run: Callable, link_to: Callable) -> None:
    url = server(tcp_servers.in_order).url.replace("127.0.0.1", "localhost")  # ::1 first, where there is IPv6
    running = run(link_to(url))
    running.wait(lambda: len(values(running)) == 32)


def test_a_name_that_nobody_knows_is_told(run: Callable, link_to: Callable) -> None:
    running = run(link_to("tcp://no.such.host.invalid:502"))
    running.wait(lambda: running.acquisition.stats()["net"].port == "failed")
    assert running.acquisition.stats()["net"].error.startswith("tcp://no.such.host.invalid:502: cannot connect: ")


def test_a_name_server_that_does_not_answer_holds_up_only_those_who_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, found = threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, *arguments: Any, **words: Any) -> Any:
        if host == "slow" and not words["flags"]:
            assert hold.wait(10)
            raise OSError(errno.EIO, "no name server")
        return real(host, *arguments, **words)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = Resolver(found.set)
    resolver.ask(1, "slow", 502)
    assert resolver.take() is None
    resolver.ask(2, "127.0.0.1", 502)
    assert resolver.take() == (2, ((socket.AF_INET, ("127.0.0.1", 502)),))
    hold.set()
    assert found.wait(10)
    assert str(resolver.take()[1]) == f"[Errno {errno.EIO}] no name server"


def test_pauses_between_tries_grow_until_a_connection_has_lasted() -> None:
    backoff, now, pauses = Backoff(), NS_PER_S, []
    for _ in range(7):
        backoff.succeeded(now)  # a server that accepts and closes at once
        backoff.failed(now + NS_PER_MS)
        pauses.append((backoff.due_ns - now) / NS_PER_MS)
        now = backoff.due_ns
    wanted = [min(FIRST_MS * 2**at, LAST_MS) for at in range(7)]
    assert all(abs(pause / want - 1) <= JITTER + 0.01 for pause, want in zip(pauses, wanted, strict=True))
    backoff.succeeded(now)
    backoff.failed(now + LASTED_MS * NS_PER_MS)
    assert backoff.due_ns - now - LASTED_MS * NS_PER_MS <= FIRST_MS * (1 + JITTER) * NS_PER_MS


def test_the_answer_that_is_under_way_when_the_agent_stops_is_taken_and_nothing_is_asked_after_it(
    server: Callable, run: Callable, link_to: Callable
) -> None:
    is_ending, asked = threading.Event(), []

    def serve(connection: tcp_servers.Connection) -> None:
        for batch in connection.batches():
            if is_ending.is_set():
                running.acquisition._loops._links.stop()
                asked.extend(batch)
            connection.send(b"".join(map(tcp_servers.answer_to, batch)))

    running = run(link_to(server(serve).url, every_ns=ALWAYS_DUE_NS, timeout_ns=3600 * NS_PER_S))
    running.wait(lambda: len(values(running)) == 32)
    is_ending.set()
    running.wait(lambda: bool(asked))
    running.acquisition.stop()
    running.drain()
    counts = running.acquisition.stats()["net"].counts
    assert len(asked) <= 2  # the loop may be awake, and ask once more, before it sees that it is to end
    assert (counts.ok, counts.timeouts) == (counts.transactions, 0)
    assert len(running.seen) == 2 * counts.ok


def test_what_is_under_way_when_the_agent_stops_and_is_not_answered_is_counted_as_missing(
    server: Callable, run: Callable, link_to: Callable
) -> None:
    running = run(link_to(server(tcp_servers.mute).url, timeout_ns=3600 * NS_PER_S))
    running.wait(lambda: running.acquisition.stats()["net"].counts.transactions == 1)
    running.acquisition.stop()
    assert running.acquisition.stats()["net"].counts.timeouts == 1


def test_the_connection_is_closed_when_the_agent_stops(server: Callable, run: Callable, link_to: Callable) -> None:
    closed = threading.Event()

    def serve(connection: tcp_servers.Connection) -> None:
        try:
            tcp_servers.in_order(connection)
        finally:
            closed.set()

    running = run(link_to(server(serve).url))
    running.wait(lambda: len(values(running)) == 32)
    running.acquisition.stop()
    assert closed.wait(5)
