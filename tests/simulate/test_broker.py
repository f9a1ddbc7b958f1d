"""The broker for demo and tests: it is ours, on loopback, and gone afterwards."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.errors import UplinkError
from agent.simulate import broker as broker_module
from agent.simulate.broker import Broker, find_mosquitto
from agent.simulate.receiver import Receiver

KINDS = ["mosquitto", "amqtt"]


def is_listening(port, host="127.0.0.1"):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def listening_addresses(port):
    """The addresses (hex, as in /proc) on which somebody listens on this port."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and int(line[1].split(":")[1], 16) == port]


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_connections_on_loopback_only_once_started(kind):
    with Broker(kind) as broker:
        assert is_listening(broker.port)
        assert listening_addresses(broker.port) == ["0100007F"]
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"


@pytest.mark.parametrize("kind", KINDS)
def test_closing_ends_its_process_and_removes_its_folder(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Broker(kind) as broker:
        pid = broker.pid
        assert list(tmp_path.iterdir())
    assert not Path(f"/proc/{pid}").exists()
    assert not is_listening(broker.port)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_kill_it_comes_back_on_the_same_port(kind):
    with Broker(kind) as broker:
        port, pid = broker.port, broker.pid
        broker.kill()
        assert not is_listening(port)
        broker.start()
        assert (broker.port, is_listening(port)) == (port, True)
        assert broker.pid != pid


def test_two_brokers_do_not_meet():
    with Broker("mosquitto") as one, Broker("mosquitto") as other, Receiver(one.url) as receiver:
        assert one.port != other.port
        with Receiver(other.url):
            assert receiver.drain() == []


def test_mosquitto_is_preferred_where_it_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Broker().kind == "mosquitto"
    monkeypatch.setattr("agent.simulate.broker.SYSTEM_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mosquitto() is None
    assert Broker().kind == "amqtt"


def test_a_taken_port_is_left_to_its_owner_and_another_is_used(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as owner:
        ports = iter([owner.getsockname()[1]])
        really_free = broker_module._free_port
        monkeypatch.setattr(broker_module, "_free_port", lambda: next(ports, None) or really_free())
        with Broker("mosquitto") as broker:
            assert broker.port != owner.getsockname()[1]


def test_a_broker_that_cannot_start_says_why():
    broker = Broker("mosquitto", settings=["no_such_setting true"])
    with pytest.raises(UplinkError, match="no_such_setting"):
        broker.start()
    broker.close()


def test_a_broker_that_hangs_is_killed_in_time(monkeypatch):
    monkeypatch.setattr("agent.simulate.broker.STOP_TIMEOUT_S", 0.2)
    broker = Broker("mosquitto").start()
    os.kill(broker.pid, 19)  # SIGSTOP: it cannot react to SIGTERM
    began = time.monotonic()
    broker.close()
    assert time.monotonic() - began < 2
    assert not is_listening(broker.port)


def test_importing_it_loads_no_broker():
    code = "import sys, agent.simulate.broker; print([m for m in ('asyncio', 'amqtt', 'paho') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
