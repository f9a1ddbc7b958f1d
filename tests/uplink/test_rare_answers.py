"""What real brokers rarely say, said by a scripted MQTT 5 broker."""

import pytest

from agent.model import NS_PER_S
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
    driver = drive(url(new_scripted_broker(connack=code)))
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
