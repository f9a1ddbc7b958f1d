"""The subscriber for demo and tests."""

import threading

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from agent.errors import UplinkError
from agent.simulate import receiver as receiver_module
from agent.simulate.broker import Broker
from agent.simulate.receiver import Received, Receiver


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request):
    with Broker(request.param) as broker:
        yield broker


@pytest.fixture
def publish(broker):
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()

    def publish_and_wait(topic, payload, *, retain=False):
        client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5)

    yield publish_and_wait
    client.disconnect()
    client.loop_stop()


def test_it_gets_the_raw_payloads_of_its_filter_in_order(broker, publish):
    with Receiver(broker.url, "fieldtap/+/data") as receiver:
        publish("fieldtap/g/other", b"not this")
        for number in range(10):
            publish("fieldtap/g/data", bytes([number, 0xFF, 0]))
        got = [receiver.get(5) for _ in range(10)]
    assert got == [Received("fieldtap/g/data", bytes([number, 0xFF, 0]), retained=False) for number in range(10)]
    assert receiver.drain() == []


def test_a_retained_message_is_marked(broker, publish):
    publish("fieldtap/g/schema/1", b"schema", retain=True)
    with Receiver(broker.url) as receiver:
        assert receiver.get(5) == Received("fieldtap/g/schema/1", b"schema", retained=True)


def test_the_callback_gets_each_message_before_the_queue(broker, publish):
    told = threading.Event()
    seen = []

    def tell(received):
        seen.append(received)
        told.set()

    with Receiver(broker.url, on_message=tell) as receiver:
        publish("fieldtap/a", b"1")
        assert told.wait(5)
        assert receiver.get(5) == seen[0]


def test_a_full_queue_counts_instead_of_growing(broker, publish, monkeypatch):
    monkeypatch.setattr(receiver_module, "QUEUE_MESSAGES", 2)
    last = threading.Event()
    with Receiver(broker.url, on_message=lambda received: received.payload == b"4" and last.set()) as receiver:
        for number in range(5):
            publish("fieldtap/a", str(number))
        assert last.wait(5)
    assert [received.payload for received in receiver.drain()] == [b"0", b"1"]
    assert receiver.overflowed == 3


def test_it_subscribes_again_when_the_broker_was_away():
    with Broker() as broker, Receiver(broker.url) as receiver:
        broker.kill()
        broker.start()
        assert receiver.wait_subscribed(10)


def test_nobody_there_is_an_error_in_time(monkeypatch):
    monkeypatch.setattr(receiver_module, "READY_TIMEOUT_S", 0.1)
    broker = Broker().start()
    broker.close()
    with pytest.raises(UplinkError, match="no subscription"):
        Receiver(broker.url).start()
