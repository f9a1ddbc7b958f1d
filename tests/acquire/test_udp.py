"""Datagrams on loopback: ports where nobody listens, answers that come twice, and junk; both loops."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bus_rig import answer_to as rtu_answer
from tcp_servers import answer_to as mbap_answer

from agent.acquire import pdu
from agent.acquire.once import Line
from agent.config.model import Table
from agent.model import NS_PER_MS, NS_PER_S, Quality


class Peer:
    """Answers datagrams with what `answer` gives, on a port of its own or again on one that was free."""

    def __init__(self, answer: Callable[[bytes], list[bytes]], port: int = 0) -> None:
        self.answer = answer
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.asked = 0
        self.sizes: set[int] = set()  # of requests
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            request, master = self.socket.recvfrom(2048)
            if not master[1] or request == b"stop":
                return
            self.asked += 1
            self.sizes.add(len(request))
            for datagram in self.answer(request):
                self.socket.sendto(datagram, master)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"stop", ("127.0.0.1", self.port))
        self.thread.join()
        self.socket.close()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    started: list[Peer] = []

    def start(answer: Callable[[bytes], list[bytes]], port: int = 0) -> Peer:
        started.append(Peer(answer, port))
        return started[-1]

    yield start
    for each in started:
        each.close()


def addresses(request: bytes) -> bytes:
    """The answer in RTU: every register holds its own address."""
    return rtu_answer(request, lambda _, address: address)


WAYS = {"udp": ("modbus-tcp", mbap_answer), "rtu+udp": ("modbus-rtu", addresses)}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, bus_on: Callable) -> tuple[Callable[..., Any], Callable[[bytes], bytes]]:
    """Makes a bus on a port, polled at leisure, and the right answer to a request of it."""
    protocol, answer = WAYS[request.param]

    def make(port: int, **settings: Any) -> Any:
        given = {"every_ns": 300 * NS_PER_MS, **settings}
        return bus_on(f"{request.param}://127.0.0.1:{port}", name="net", protocol=protocol, **given)

    return make, answer


def qualities(running: Any) -> set[int]:
    return {sample.quality for sample in running.seen}


def all_right(running: Any) -> bool:
    return all(each.value == 100 + each.tag for each in running.seen if each.quality == Quality.GOOD)


def test_devices_are_polled_in_datagrams(way: tuple, peer: Callable, run: Callable) -> None:
    make, answer = way
    device = peer(lambda request: [answer(request)])
    running = run(make(device.port))
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok >= 4)
    assert all_right(running)
    assert qualities(running) == {Quality.GOOD}


def test_each_request_has_a_datagram_of_its_own(way: tuple, peer: Callable, run: Callable) -> None:
    make, answer = way
    device = peer(lambda request: [answer(request)])
    running = run(make(device.port, units=(1, 2, 3, 4), in_flight=16, every_ns=NS_PER_MS))
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok >= 12)
    assert len(device.sizes) == 1


def test_where_nobody_listens_tags_fail_and_the_port_stays_open(way: tuple, peer: Callable, run: Callable) -> None:
    """A gateway that starts later than the agent, or anew, costs no more than the polls in between."""
    make, answer = way
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    running = run(make(port, timeout_ns=30 * NS_PER_MS))
    running.wait(lambda: running.acquisition.stats()["net"].counts.timeouts >= 2)
    assert running.acquisition.stats()["net"].port == "open"
    assert qualities(running) == {Quality.COMM_FAIL}
    peer(lambda request: [answer(request)], port)
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok >= 3)
    assert all_right(running)


def test_copies_junk_and_empty_datagrams_change_nothing(way: tuple, peer: Callable, run: Callable) -> None:
    make, answer = way

    def many(request: bytes) -> list[bytes]:
        return [b"", b"\xff\x00junk", answer(request)[:-1], answer(request), answer(request), b""]

    device = peer(many)
    running = run(make(device.port, timeout_ns=NS_PER_S))
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok >= 4)
    assert all_right(running)
    assert running.acquisition.stats()["net"].port == "open"
    assert running.acquisition.stats()["net"].counts.noise_bytes > 0


def test_a_command_takes_no_copy_of_the_last_answer_for_the_next(bus_on: Callable) -> None:
    """The copy of each answer comes when the next request has been sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind(("127.0.0.1", 0))
        before: list[tuple[bytes, Any]] = []

        def serve() -> None:
            for _ in range(20):
                request, master = device.recvfrom(300)
                for copy, to in before[-1:]:
                    device.sendto(copy, to)
                before.append((addresses(request), master))
                device.sendto(*before[-1])

        thread = threading.Thread(target=serve)
        thread.start()
        bus = bus_on(f"rtu+udp://127.0.0.1:{device.getsockname()[1]}", timeout_ns=10 * NS_PER_S)
        with Line(bus) as line:
            for address in range(20):
                request = pdu.read(Table.HOLDING, address, 1)
                answer = line.ask(pdu.Ask(1, request))
                assert struct.unpack(">H", pdu.data(answer)) == (address,)
        thread.join()


def test_an_agent_stops_while_datagrams_pour_in(way: tuple, peer: Callable, run: Callable) -> None:
    make, _ = way
    device = peer(lambda _: [struct.pack(">H", at) * 500 for at in range(300)])
    running = run(make(device.port, every_ns=50 * NS_PER_MS))
    running.wait(lambda: device.asked > 2)
    running.acquisition.stop()
