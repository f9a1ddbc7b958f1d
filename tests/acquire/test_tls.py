"""Modbus/TCP Security on loopback: polls through TLS, and what goes wrong with certificates, in words."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tcp_servers
from certificates import Authority

from agent.acquire import pdu
from agent.acquire import tls as tls_links
from agent.acquire.once import Line
from agent.acquire.tls import PIECE_BYTES, Relay
from agent.config.model import Table
from agent.errors import BusError
from agent.model import NS_PER_MS, Quality
from agent.tls import Peer


class Secure(tcp_servers.Server):
    """A server that wants TLS of its connections, and a certificate of the other side where its context says so."""

    def __init__(self, serve: Callable[[Any], None], context: ssl.SSLContext) -> None:
        self.context = context
        self.refusals: list[ssl.SSLError] = []
        super().__init__(serve)
        self.url = f"tls://127.0.0.1:{self.port}"

    def _run(self, connection: tcp_servers.Connection) -> None:
        try:
            connection.socket = self.context.wrap_socket(connection.socket, server_side=True)
            self.serve(connection)
        except ssl.SSLError as error:
            self.refusals.append(error)
        except OSError:
            pass
        connection.socket.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "another CA")


@pytest.fixture
def served(authority: Authority) -> Iterator[Callable[..., Secure]]:
    """A device with a certificate of `authority`, or with `pair`; `trusts`: whose clients it lets in, None for all."""
    started: list[Secure] = []

    def start(
        serve: Callable[[Any], None] = tcp_servers.in_order,
        pair: tuple[Path, Path] | None = None,
        trusts: Path | None = None,
        version: ssl.TLSVersion | None = None,
    ) -> Secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(pair or authority.issue("device")))
        if version:
            context.maximum_version = version
        if trusts:
            context.load_verify_locations(trusts)
            context.verify_mode = ssl.CERT_REQUIRED
        started.append(Secure(serve, context))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def bus_at(bus_on: Callable, authority: Authority) -> Callable:
    """A bus on that device, with a client's certificate."""
    cert, key = authority.issue("client", hosts=("gateway",))

    def make(url: str, **settings: Any) -> Any:
        given = {
            "ca": str(authority.ca),
            "cert": str(cert),
            "key": str(key),
            "timeout_ns": 2000 * NS_PER_MS,
            **settings,
        }
        return bus_on(url, name="net", protocol="modbus-tcp", **given)

    return make


def is_read(running: Any) -> bool:
    good = {sample.tag: sample.value for sample in running.seen if sample.quality == Quality.GOOD}
    return good == {at: 100 + at for at in range(10)}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_device_that_wants_a_certificate_is_polled(
    served: Callable, bus_at: Callable, run: Callable, authority: Authority, version: ssl.TLSVersion
) -> None:
    peer = served(trusts=authority.ca, version=version)
    running = run(bus_at(peer.url))
    running.wait(lambda: is_read(running) and running.acquisition.stats()["net"].counts.ok > 50)
    assert running.acquisition.stats()["net"].port == "open"
    assert peer.connections[0].socket.version() == version.name.replace("_", ".")
    assert peer.connections[0].socket.getpeercert()["subject"] == ((("commonName", "client"),),)


def test_many_links_share_one_thread(served: Callable, bus_at: Callable, run: Callable) -> None:
    peer = served()
    buses = [msgspec.structs.replace(bus_at(peer.url), name=f"net{number}") for number in range(20)]
    running = run(*buses)
    running.wait(lambda: all(stats.counts.ok > 5 for stats in running.acquisition.stats().values()))
    assert [thread.name for thread in threading.enumerate()].count("fieldtap-tls") == 1


def test_a_connection_that_the_device_closes_is_made_anew(served: Callable, bus_at: Callable, run: Callable) -> None:
    peer = served()
    running = run(bus_at(peer.url))
    running.wait(lambda: is_read(running))
    peer.connections[0].socket.shutdown(socket.SHUT_RDWR)
    running.wait(lambda: len(peer.connections) == 2 and running.acquisition.stats()["net"].port == "open")
    done = running.acquisition.stats()["net"].counts.ok
    running.wait(lambda: running.acquisition.stats()["net"].counts.ok > done + 20)


def test_a_device_that_stops_answering_is_connected_anew(served: Callable, bus_at: Callable, run: Callable) -> None:
    peer = served(tcp_servers.mute_after(5))
    running = run(bus_at(peer.url, timeout_ns=50 * NS_PER_MS))
    running.wait(lambda: len(peer.connections) >= 2)


def test_stopping_hangs_up(served: Callable, bus_at: Callable, run: Callable) -> None:
    ended = threading.Event()

    def serve(connection: tcp_servers.Connection) -> None:
        with contextlib.suppress(OSError):
            tcp_servers.in_order(connection)
        ended.set()

    running = run(bus_at(served(serve).url))
    running.wait(lambda: is_read(running))
    running.acquisition.stop()
    assert ended.wait(10)


# --- what goes wrong ---

WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # what, of the device, of the bus, the words
    "expired": ({"issue": {"days": -1}}, {}, "the device's certificate has expired: renew it, or check this machine's"),
    "name": ({"issue": {"hosts": ("plc7",)}}, {}, "is for another name than 127.0.0.1: check port or set server_name"),
    "server name": ({}, {"server_name": "plc8"}, "is for another name than plc8: check port or set server_name"),
    "unknown CA": ({"issuer": "stranger"}, {}, "comes from an unknown CA: set ca to that CA's certificate"),
    # the alert that says it exactly gets lost where the connection is reset at once
    "no certificate": ({"trusts": "authority"}, {"cert": None, "key": None}, "wants? a client certificate"),
    "foreign certificate": ({"trusts": "stranger"}, {}, r"not trust our client certificate|or another \(cert\)"),
    "old": ({"version": ssl.TLSVersion.TLSv1_1}, {}, "TLS 1.2 or newer"),
    "missing file": ({}, {"ca": "/nowhere/ca.pem"}, "cannot read the file of ca, cert or key: No such file"),
}


@pytest.fixture(params=WRONG)
def wrong(request: pytest.FixtureRequest, served: Callable, bus_at: Callable) -> tuple[Any, str]:
    """A bus that cannot be polled, and why."""
    of_device, of_bus, words = WRONG[request.param]
    settings: dict[str, Any] = {key: value for key, value in of_device.items() if key == "version"}
    if "trusts" in of_device:
        settings["trusts"] = request.getfixturevalue(of_device["trusts"]).ca
    if "issue" in of_device or "issuer" in of_device:
        issuer = request.getfixturevalue(of_device.get("issuer", "authority"))
        settings["pair"] = issuer.issue("bad", **of_device.get("issue", {}))
    return bus_at(served(**settings).url, **of_bus), words


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_the_agent_says_what_is_wrong(wrong: tuple[Any, str], run: Callable, caplog: pytest.LogCaptureFixture) -> None:
    bus, words = wrong
    running = run(bus)
    running.wait(lambda: bool(re.search(words, caplog.text)))
    running.wait(lambda: {sample.quality for sample in running.seen} == {Quality.COMM_FAIL})


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_a_command_says_what_is_wrong(wrong: tuple[Any, str]) -> None:
    bus, words = wrong
    with pytest.raises(BusError, match=words), Line(bus) as line:
        line.ask(pdu.Ask(1, pdu.read(Table.HOLDING, 100, 1)))


def test_a_server_without_tls_is_told_apart(bus_at: Callable) -> None:
    def answer_in_words(connection: tcp_servers.Connection) -> None:
        connection.socket.recv(100)
        connection.send(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    peer = tcp_servers.Server(answer_in_words)
    with (
        pytest.raises(BusError, match="this port does not speak TLS: use tcp:// or another port"),
        Line(bus_at(f"tls://127.0.0.1:{peer.port}")),
    ):
        pass
    peer.close()


def test_a_device_that_never_shakes_hands_is_given_up(bus_at: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_links, "HANDSHAKE_S", 0.2)
    peer = tcp_servers.Server(lambda connection: threading.Event().wait(5))
    with pytest.raises(BusError, match=r"no TLS handshake within 0.2 s"), Line(bus_at(f"tls://127.0.0.1:{peer.port}")):
        pass
    peer.close()


# --- the relay by itself ---


def test_more_than_anyone_reads_is_not_taken_in(served: Callable, bus_at: Callable) -> None:
    """A device that sends for ever to an agent that does not read: all of it waits in the network, none in memory."""
    sent = threading.Semaphore(0)
    stopped = threading.Event()

    def pour(connection: tcp_servers.Connection) -> None:
        connection.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError, OSError):
            while True:
                connection.send(bytes(PIECE_BYTES))
                sent.release()
        stopped.set()

    bus = bus_at(served(pour).url)
    relay = Relay()
    relay.ask(0, socket.create_connection(("127.0.0.1", int(bus.port.rpartition(":")[2]))), bus)
    found = relay.wait()
    assert isinstance(found, int)
    assert stopped.wait(30)
    [session] = relay._sessions
    assert len(session.to_agent) <= PIECE_BYTES
    assert session.wants == 0
    with socket.socket(fileno=found):
        relay.stop()


@pytest.mark.parametrize("size", [1, PIECE_BYTES - 1, PIECE_BYTES, 50 * PIECE_BYTES + 17])
def test_every_byte_comes_back_through_it(served: Callable, bus_at: Callable, size: int) -> None:
    def echo(connection: tcp_servers.Connection) -> None:
        while data := connection.socket.recv(4096):
            connection.send(data)

    bus = bus_at(served(echo).url)
    relay = Relay()
    relay.ask(0, socket.create_connection(("127.0.0.1", int(bus.port.rpartition(":")[2]))), bus)
    found = relay.wait()
    assert isinstance(found, int)
    data = bytes(at * at % 251 for at in range(size))
    with socket.socket(fileno=found) as end:
        end.settimeout(30)
        writer = threading.Thread(target=end.sendall, args=(data,))
        writer.start()
        back = b""
        while len(back) < size:
            back += end.recv(65536)
        writer.join()
    assert back == data
    relay.stop()


class Reset:
    """A connection that is reset after these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def recv(self, _: int) -> bytes:
        if not self.pieces:
            raise ConnectionResetError(104, "Connection reset by peer")
        return self.pieces.pop(0)

    def close(self) -> None:
        self.pieces.clear()


@pytest.mark.parametrize(("pieces", "why"), [((), "want a client certificate"), ((b"answer",), "")])
def test_only_a_device_that_has_not_spoken_may_have_refused_our_certificate(pieces: tuple, why: str) -> None:
    session: Any = tls_links._Session(0, Reset(*pieces), Peer("the device", "plc"))
    session.ours, theirs = socket.socketpair()
    relay = Relay()
    relay._sessions.append(session)
    relay._serve(session)
    assert (why in relay.why(0), bool(relay.why(0))) == (True, bool(why))
    theirs.close()
