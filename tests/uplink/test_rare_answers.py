"""What real brokers rarely say, said by a scripted MQTT 5 broker."""

import os
import select
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from agent.config.model import Mqtt
from agent.model import NS_PER_S
from agent.uplink.events import Connect, Connected, Drop, Terms
from agent.uplink.link import Link
from agent.uplink.session import Limits

MAXIMUM_PACKET_SIZE_400 = b"\x27\x00\x00\x01\x90"
NO_RETAIN = b"\x25\x00"
SCHEMAS = {b"schema-a": b"schema A"}


def url(broker):
    return f"mqtt://127.0.0.1:{broker.port}"


@pytest.mark.parametrize("receive_maximum", [1, 3, 7])
def test_never_more_in_flight_than_the_broker_allows(new_scripted_broker, drive, outbox, receive_maximum):
    broker = new_scripted_broker(properties=b"\x21" + receive_maximum.to_bytes(2), hold=receive_maximum)
    driver = drive(url(broker))
    outbox.put(300)
    driver.until_acknowledged()
    assert broker.most_unacknowledged == receive_maximum


def test_without_a_receive_maximum_our_own_window_holds(new_scripted_broker, drive, outbox):
    broker = new_scripted_broker(hold=Limits().window)
    driver = drive(url(broker))
    outbox.put(300)
    driver.until_acknowledged()
    assert broker.most_unacknowledged == Limits().window


def test_a_message_above_the_maximum_packet_size_is_never_sent(new_scripted_broker, drive, outbox, sequence):
    broker = new_scripted_broker(properties=MAXIMUM_PACKET_SIZE_400)
    driver = drive(url(broker))
    outbox.put(1, size=1000)
    outbox.put(1, size=100)
    driver.until_acknowledged()
    assert [sequence(payload) for _, payload, _, _ in broker.published] == [1]
    assert [key.seq for key, _ in outbox.rejected] == [0]
    assert driver.stats.messages_rejected == 1


@pytest.mark.parametrize(("properties", "retained"), [(b"", 1), (NO_RETAIN, 0)])
def test_schemas_are_retained_where_the_broker_can(new_scripted_broker, drive, properties, retained):
    broker = new_scripted_broker(properties=properties)
    driver = drive(url(broker), schemas=SCHEMAS)
    driver.until(lambda: driver.stats.messages_acked == 1)
    assert broker.published == [(f"fieldtap/gw1/schema/{b'schema-a'.hex()}", b"schema A", retained, 0)]


def test_quota_exceeded_is_no_success(new_scripted_broker, drive, outbox, sequence):
    answers = iter([0, 0x97, 0x97])
    broker = new_scripted_broker(answer=lambda *_: next(answers, 0))
    driver = drive(url(broker))
    outbox.put(5)
    driver.until_acknowledged()
    codes = [(sequence(payload), code) for _, payload, _, code in broker.published]
    assert codes[0] == (0, 0)
    assert {seq for seq, code in codes if code == 0} == set(range(5))
    assert sum(code == 0x97 for _, code in codes) == 2
    assert len(outbox.acknowledged) == 5
    assert "asks for less" in driver.stats.last_error


def test_payload_format_invalid_is_rejected_and_the_rest_goes_on(new_scripted_broker, drive, outbox, sequence):
    broker = new_scripted_broker(answer=lambda _, payload: 0x99 if sequence(payload) == 2 else 0)
    driver = drive(url(broker))
    outbox.put(5)
    driver.until_acknowledged()
    assert [(key.seq, reason) for key, reason in outbox.rejected] == [
        (2, "refused by the broker with reason code 0x99")
    ]
    assert [key.seq for key in outbox.acknowledged] == [0, 1, 3, 4]


def test_not_authorised_ends_the_connection_and_is_tried_again_later(new_scripted_broker, drive, outbox):
    broker = new_scripted_broker(answer=lambda *_: 0x87 if len(broker.published) < 2 else 0)
    driver = drive(url(broker))
    outbox.put(3)
    driver.until(lambda: "not authorised" in driver.stats.last_error)
    driver.until_acknowledged()
    assert len(broker.connects) == 3
    assert outbox.rejected == []


def test_a_lost_puback_costs_one_connection_and_one_duplicate(new_scripted_broker, drive, outbox, sequence):
    answers = iter([0, None])
    broker = new_scripted_broker(answer=lambda *_: next(answers, 0))
    limits = Limits(ack_timeout_ns=NS_PER_S // 5, backoff_first_ns=1000, backoff_longest_ns=1000)
    driver = drive(url(broker), limits=limits)
    outbox.put(3)
    driver.until_acknowledged()
    sent = [sequence(payload) for _, payload, _, _ in broker.published]
    assert sorted(set(sent)) == [0, 1, 2]
    assert sent.count(0) == 1
    assert len(broker.connects) == 2


def test_no_connection_relies_on_what_the_broker_remembers_of_the_one_before(new_scripted_broker, drive, outbox):
    answers = iter([0, "hang up", 0, "hang up"])
    broker = new_scripted_broker(answer=lambda *_: next(answers, 0), hang_up_code=0x8B)
    driver = drive(url(broker))
    outbox.put(3)
    driver.until_acknowledged()
    assert broker.clean_starts == [True, True, True]


def test_a_broker_that_hangs_up_over_one_message_gets_the_others(new_scripted_broker, drive, outbox, sequence):
    broker = new_scripted_broker(answer=lambda _, payload: "hang up" if sequence(payload) == 6 else 0)
    driver = drive(url(broker))
    outbox.put(20)
    driver.until_acknowledged()
    assert [key.seq for key, _ in outbox.rejected] == [6]
    assert "a packet was too large" in outbox.rejected[0][1]
    assert sorted(key.seq for key in outbox.acknowledged) == [seq for seq in range(20) if seq != 6]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x86, "wrong user name or password"),
        (0x87, "not authorised"),
        (0x85, "client id"),
        (0x89, "busy"),
        (0x9F, "so many connections"),
        (0x84, "neither MQTT 5 nor 3.1.1"),
    ],
)
def test_a_refusal_is_told_in_words(new_scripted_broker, drive, code, words):
    broker = new_scripted_broker(connack=code, greet=lambda level, number: level == 5)
    driver = drive(url(broker))
    driver.until(lambda: driver.stats.last_error)
    assert words in driver.stats.last_error


def test_another_client_with_our_id_is_named(new_scripted_broker, drive, outbox):
    broker = new_scripted_broker(answer=lambda *_: "hang up", hang_up_code=0x8E)
    driver = drive(url(broker))
    outbox.put(1)
    driver.until(lambda: driver.stats.last_error)
    assert "another client has taken our id" in driver.stats.last_error
    assert outbox.rejected == []


def test_goodbye_is_said_on_stop(new_scripted_broker, drive):
    broker = new_scripted_broker()
    driver = drive(url(broker))
    driver.until(lambda: driver.stats.connected)
    driver.stop()
    assert broker.left.wait(5)
    assert broker.disconnects == 1


def test_a_broker_that_hangs_up_on_mqtt_5_is_asked_in_3_1_1(new_scripted_broker, drive, outbox):
    broker = new_scripted_broker(greet=lambda level, number: level == 4)
    driver = drive(url(broker), schemas=SCHEMAS)
    outbox.put(5)
    driver.until_acknowledged()
    assert broker.connects == [5, 4]


def test_a_broker_that_has_spoken_mqtt_5_is_not_asked_in_3_1_1_because_it_once_hung_up(
    new_scripted_broker, drive, outbox
):
    broker = new_scripted_broker(greet=lambda level, number: number != 2, answer=lambda *_: answers.pop())
    answers = [0, "hang up"]
    driver = drive(url(broker))
    outbox.put(1)
    driver.until(lambda: len(broker.connects) == 3 and driver.stats.connected)
    assert broker.connects == [5, 5, 5]


def test_a_dropped_connection_reports_nothing_more(new_scripted_broker):
    broker = new_scripted_broker(answer=lambda *_: None)
    link = Link(Mqtt(url=url(broker)), "gw1")
    link.start()
    for _ in range(20):
        link.do([Connect()])
        assert wait_for_events(link) == [Connected(Terms())]
        link.do([Drop()])
    link.do([Connect()])
    assert wait_for_events(link) == [Connected(Terms())]
    link.close(5)


def wait_for_events(link):
    poller = select.poll()
    poller.register(link.fileno(), select.POLLIN)
    for _ in range(100):
        assert poller.poll(5000), "nothing in 5 s"
        events = link.events()
        if events:
            return events
    raise AssertionError("woken 100 times for nothing")


def test_what_follows_in_the_same_tls_record_is_read_at_once(new_scripted_broker, new_authority, drive):
    authority = new_authority()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("scripted"))
    broker = new_scripted_broker(tls=tls, behind_connack=b"\xe0\x01\x8e")
    driver = drive(url(broker).replace("mqtt", "mqtts"), ca=str(authority.ca))
    driver.until(lambda: driver.stats.last_error, timeout_s=5)
    assert "another client has taken our id" in driver.stats.last_error


def test_small_packets_are_not_held_back_by_the_kernel(new_scripted_broker, drive):
    broker = new_scripted_broker()
    driver = drive(url(broker))
    driver.until(lambda: driver.stats.connected)
    assert nodelay_of_connections_to(broker.port) == [1]


def nodelay_of_connections_to(port):
    """TCP_NODELAY of every socket of this process whose peer has this port."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        if path.is_socket():
            with socket.socket(fileno=os.dup(int(path.name))) as sock, suppress(OSError, IndexError):
                if sock.getpeername()[1] == port:
                    found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return found
