"""A broker's normal life, with real brokers: down at start, killed, slow, refusing, cut off, coming back."""

import logging
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from agent.model import NS_PER_S
from agent.simulate.receiver import Receiver
from agent.uplink.session import Limits

SCHEMAS = {b"schema-a": b"schema A", b"schema-b": b"schema B"}


def until_logged(broker, words, timeout_s=20):
    """A broker writes when it has read, which is after what we sent it."""
    end = time.monotonic() + timeout_s
    while words not in broker.log():
        assert time.monotonic() < end, broker.log()
        time.sleep(0.02)


def take(receiver, count, timeout_s=20):
    end = time.monotonic() + timeout_s
    got = []
    while len(got) < count:
        received = receiver.get(timeout_s=1)
        if received is not None:
            got.append(received)
        assert time.monotonic() < end, f"{len(got)} of {count}"
    return got


def test_everything_arrives_in_order_behind_its_schemas(broker, drive, outbox, sequence):
    with Receiver(broker.url) as receiver:
        driver = drive(broker.url, schemas=SCHEMAS)
        outbox.put(200, size=1000)
        driver.until_acknowledged()
        got = take(receiver, 202)
    assert [(received.topic, received.payload) for received in got[:2]] == [
        (f"fieldtap/gw1/schema/{schema_hash.hex()}", payload) for schema_hash, payload in SCHEMAS.items()
    ]
    assert {received.topic for received in got[2:]} == {"fieldtap/gw1/data"}
    assert [sequence(received.payload) for received in got[2:]] == list(range(200))
    assert driver.stats.messages_acked == driver.stats.messages_sent == 202
    assert driver.stats.last_error == ""


def test_a_receiver_that_comes_late_finds_the_schemas_retained(broker, drive):
    driver = drive(broker.url, schemas=SCHEMAS)
    driver.until(lambda: driver.stats.messages_acked == 2)
    with Receiver(broker.url) as receiver:
        got = take(receiver, 2)
    assert {received.payload for received in got} == set(SCHEMAS.values())
    assert all(received.retained for received in got)


def test_large_messages_pass(broker, drive, outbox, sequence):
    with Receiver(broker.url) as receiver:
        driver = drive(broker.url)
        outbox.put(30, size=122_880)
        driver.until_acknowledged()
        got = take(receiver, 30)
    assert [sequence(received.payload) for received in got] == list(range(30))
    assert {len(received.payload) for received in got} == {122_880}


def test_websockets_carry_it_too(new_broker, drive, outbox, sequence):
    broker = new_broker("amqtt", websockets=True)
    with Receiver(broker.url) as receiver:
        driver = drive(broker.url)
        outbox.put(50, size=5000)
        driver.until_acknowledged()
        assert [sequence(received.payload) for received in take(receiver, 50)] == list(range(50))


def test_a_broker_that_is_down_at_start_is_found_when_it_comes_up(new_broker, drive, outbox):
    broker = new_broker()
    broker.stop()
    driver = drive(broker.url)
    outbox.put(5)
    driver.until(lambda: "nothing listens there" in driver.stats.last_error)
    assert not driver.stats.connected
    assert len(outbox.live) == 5
    broker.start()
    driver.until_acknowledged()


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_a_killed_broker_costs_no_message(new_broker, new_proxy, drive, outbox, sequence, kind):
    broker = new_broker(kind)
    proxy = new_proxy(broker.port)
    seen = []
    with Receiver(broker.url, on_message=lambda received: seen.append(sequence(received.payload))) as receiver:
        driver = drive(f"mqtt://127.0.0.1:{proxy.port}")
        for _ in range(3):
            outbox.put(20)
            driver.until(lambda: len(seen) >= 10 and outbox.empty)
            driver.until(lambda: set(seen) >= {key.seq for key in outbox.acknowledged})
            os.kill(broker.pid, signal.SIGKILL)
            outbox.put(20)
            driver.until(lambda: not driver.stats.connected)
            proxy.refusing = True  # not before the receiver is back: the broker would have nobody to deliver to
            broker.kill()
            broker.start()
            assert receiver.wait_subscribed(10)
            proxy.refusing = False
            driver.until_acknowledged()
        driver.until(lambda: set(seen) == set(range(120)))
    assert driver.stats.reconnects == 3
    assert list(dict.fromkeys(seen)) == list(range(120))


def test_a_link_that_is_cut_again_and_again_keeps_order_and_repeats_at_most_a_window(
    broker, new_proxy, drive, outbox, sequence
):
    proxy = new_proxy(broker.port)
    seen = []
    with Receiver(broker.url, on_message=lambda received: seen.append(sequence(received.payload))):
        driver = drive(f"mqtt://127.0.0.1:{proxy.port}")
        outbox.put(2000, size=500)
        for part in (300, 700, 1100, 1500):
            driver.until(lambda part=part: len(outbox.acknowledged) >= part)
            proxy.cut()
            driver.until(lambda: not driver.stats.connected)
        driver.until_acknowledged()
        driver.until(lambda: set(seen) == set(range(2000)))
    first = list(dict.fromkeys(seen))
    assert first == list(range(2000))
    assert len(seen) - len(first) <= 4 * Limits().window
    assert driver.stats.reconnects == 4
    assert "cut by the other side" in driver.stats.last_error


def test_a_stalled_link_is_dropped_and_replaced(new_broker, new_proxy, drive, outbox):
    broker = new_broker("mosquitto")
    proxy = new_proxy(broker.port)
    limits = Limits(ack_timeout_ns=NS_PER_S // 2, backoff_first_ns=NS_PER_S // 50, backoff_longest_ns=NS_PER_S // 10)
    driver = drive(f"mqtt://127.0.0.1:{proxy.port}", limits=limits)
    driver.until(lambda: driver.stats.connected)
    proxy.stalled = True
    outbox.put(500, size=100_000)  # more than any socket buffer between here and the broker
    driver.until(lambda: "acknowledged nothing" in driver.stats.last_error)
    proxy.cut()
    proxy.stalled = False
    driver.until_acknowledged()
    assert driver.slowest_pump_s < 0.5


@pytest.fixture
def black_hole():
    """An address that takes no connection and says nothing: a listener whose queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_black_hole_blocks_neither_pump_nor_stop(black_hole, drive, outbox):
    driver = drive(f"mqtt://127.0.0.1:{black_hole}")
    outbox.put(5)
    poked = threading.Event()
    threading.Timer(0.3, poked.set).start()
    driver.until(poked.is_set)
    assert driver.slowest_pump_s < 0.25
    began = time.monotonic()
    driver.stop(timeout_s=1.0)
    assert time.monotonic() - began < 1.5
    assert len(outbox.live) == 5


def test_a_host_that_accepts_but_says_nothing_is_given_up(drive, monkeypatch):
    monkeypatch.setattr("agent.uplink.mqtt.CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        driver = drive(f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
        driver.until(lambda: "no answer" in driver.stats.last_error)


def test_a_server_that_is_no_broker_is_named(drive):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            with suppress(OSError):  # the test is over
                while True:
                    listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        driver = drive(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        driver.until(lambda: driver.stats.last_error)
        assert "is it a broker" in driver.stats.last_error
        driver.stop()
        listener.shutdown(socket.SHUT_RDWR)


def test_user_name_and_password_are_checked_and_a_wrong_one_is_named(new_broker, drive, outbox):
    broker = new_broker("mosquitto", users={"gw1": "secret"})
    outbox.put(3)
    wrong = drive(broker.url, username="gw1", password="wrong")
    wrong.until(lambda: wrong.stats.last_error)
    assert "user name or password" in wrong.stats.last_error or "not authorised" in wrong.stats.last_error
    wrong.stop()
    assert outbox.acknowledged == []
    right = drive(broker.url, username="gw1", password="secret")
    right.until_acknowledged()


def test_two_gateways_with_one_id_are_told_what_they_may_have_done(new_broker, drive):
    broker = new_broker("mosquitto")
    first = drive(broker.url)
    first.until(lambda: first.stats.connected)
    second = drive(broker.url)
    second.until(lambda: second.stats.connected)
    first.until(lambda: first.stats.last_error)
    assert "gateway.id" in first.stats.last_error


def test_an_unknown_host_is_named(drive):
    driver = drive("mqtt://no-such-host.invalid")
    driver.until(lambda: driver.stats.last_error)
    assert driver.stats.last_error.startswith("no-such-host.invalid:1883: ")
    assert "DNS" in driver.stats.last_error


def test_the_log_says_why_there_is_no_connection_once_and_when_there_is_one(new_broker, new_proxy, drive, caplog):
    caplog.set_level(logging.INFO, "agent.uplink")
    proxy = new_proxy(new_broker("mosquitto").port)
    proxy.refusing = True
    driver = drive(f"mqtt://127.0.0.1:{proxy.port}")
    driver.until(lambda: proxy.accepted >= 8)
    proxy.refusing = False
    for _ in range(2):
        driver.until(lambda: driver.stats.connected)
        proxy.cut()
        driver.until(lambda: not driver.stats.connected)
    words = [(record.levelname, record.getMessage().partition(" ")[0]) for record in caplog.records]
    address = f"127.0.0.1:{proxy.port}:"
    assert words == [("WARNING", address), *[("INFO", "connected"), ("WARNING", address)] * 2]


def test_it_falls_back_to_3_1_1_within_one_attempt(new_broker, drive, outbox):
    broker = new_broker("amqtt")
    driver = drive(broker.url, limits=Limits(backoff_first_ns=3600 * NS_PER_S, backoff_longest_ns=3600 * NS_PER_S))
    outbox.put(3)
    driver.until_acknowledged()
    assert driver.stats.last_error == ""


def test_mqtt_5_is_preferred(new_broker, drive):
    broker = new_broker("mosquitto", settings=["log_type all"])
    driver = drive(broker.url)
    driver.until(lambda: driver.stats.connected)
    until_logged(broker, "as gw1 (p5,")


def test_stop_sends_what_is_live_and_says_goodbye(new_broker, drive, outbox):
    broker = new_broker("mosquitto", settings=["log_type all"])
    driver = drive(broker.url)
    driver.until(lambda: driver.stats.connected)
    outbox.put(300)
    driver.stop()
    assert outbox.empty
    assert len(outbox.acknowledged) == 300
    until_logged(broker, "Client gw1 disconnected.")


def test_stop_gives_back_what_a_stalled_link_did_not_take_and_is_in_time(new_broker, new_proxy, drive, outbox):
    broker = new_broker("mosquitto")
    proxy = new_proxy(broker.port)
    driver = drive(f"mqtt://127.0.0.1:{proxy.port}")
    driver.until(lambda: driver.stats.connected)
    proxy.stalled = True
    outbox.put(500, size=100_000)
    driver.until(lambda: outbox.taken)
    began = time.monotonic()
    driver.stop(timeout_s=2.0)
    assert time.monotonic() - began < 2.2
    assert not outbox.taken
    assert len(outbox.live) + len(outbox.acknowledged) == 500


def test_many_connections_leave_no_descriptor_and_no_thread_behind(new_broker, new_proxy, drive):
    proxy = new_proxy(new_broker("mosquitto").port)
    threads, descriptors = threading.active_count(), open_descriptors()
    driver = drive(f"mqtt://127.0.0.1:{proxy.port}")
    for _ in range(10):
        driver.until(lambda: driver.stats.connected)
        proxy.cut()
        driver.until(lambda: not driver.stats.connected)
    driver.until(lambda: driver.stats.connected)
    driver.stop()
    proxy.cut()
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))
