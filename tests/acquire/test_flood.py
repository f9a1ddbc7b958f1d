"""A socket whose other side sends as fast as it can: it costs little, and all else goes on."""

import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest
from bus_rig import answer_to
from tcp_servers import Connection

from agent.model import NS_PER_MS, Quality

LAST = 19  # tag of the second bus, and its register 109 holds 1109
MUCH = 8_000_000  # bytes


@pytest.mark.parametrize("chunk", [bytes(65536), os.urandom(65536)], ids=["zeros", "random"])
def test_a_flood_is_counted_and_thrown_away_the_other_bus_goes_on_and_so_does_this_one_when_it_is_over(
    device: Any, run: Callable[..., Any], server: Callable[..., Any], bus_on: Callable[..., Any], chunk: bytes
) -> None:
    sent = itertools.count(len(chunk), len(chunk))

    def serve(connection: Connection) -> None:
        while next(sent) < MUCH:
            connection.send(chunk)
        while request := connection.socket.recv(100):
            connection.send(answer_to(request[-8:]))

    flooded = bus_on(f"rtu+{server(serve).url}", name="flooded", timeout_ns=50 * NS_PER_MS)
    running = run(bus_on(device.path), flooded)

    def counts(bus: str) -> Any:
        return running.acquisition.stats()[bus].counts

    running.wait(lambda: counts("flooded").noise_bytes > MUCH // 2)
    polls, reads, _ = running.acquisition._loops._lines.calls()
    answered = counts("rs485").ok
    assert reads > 2 * polls, "most of what came was not waited for piece by piece"
    running.wait(lambda: counts("rs485").ok > answered + 10)
    running.wait(lambda: counts("flooded").ok > 10)
    assert counts("flooded").noise_bytes > MUCH - 2 * len(chunk)
    assert counts("flooded").bytes_heard > MUCH - 2 * len(chunk)
    assert {sample.value for sample in running.seen if sample.tag == LAST and sample.quality == Quality.GOOD} == {1109}


def test_noise_as_lines_have_it_is_no_flood(
    run: Callable[..., Any], server: Callable[..., Any], bus_on: Callable[..., Any]
) -> None:
    """As much in all as a flood has, but with answers in between."""

    def serve(connection: Connection) -> None:
        while request := connection.socket.recv(100):
            connection.send(answer_to(request[-8:]) + b"\x55" * 3000)

    running = run(bus_on(f"rtu+{server(serve).url}", every_ns=NS_PER_MS))
    running.wait(lambda: running.acquisition.stats()["rs485"].counts.noise_bytes > 10 * 16384)
    stats = running.acquisition.stats()["rs485"]
    assert stats.counts.noise_bytes <= 3000 * (stats.counts.transactions + 1)
    assert stats.counts.timeouts <= stats.counts.ok
