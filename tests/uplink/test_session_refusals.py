"""What the session does with what a broker refuses, in virtual time."""

import pytest
from weather import BAD_FORMAT, LIMITS, NOT_AUTHORISED, QUOTA, TOO_LARGE, TOPIC_INVALID, UNSPECIFIED, Weather

from agent.model import NS_PER_S
from agent.uplink.events import Terms


def test_quota_exceeded_halves_the_window_waits_and_sends_the_same_message_again(weather):
    weather.outbox.put(40)
    weather.accept()
    for _ in range(9):
        weather.arrive()
        weather.acknowledge()
    weather.arrive(10)
    before = len(weather.sent_on[0])
    weather.acknowledge(0, QUOTA)
    assert len(weather.sent_on[0]) == before
    assert "asks for less" in weather.session.last_error
    while weather.way_back:
        weather.acknowledge()
    assert len(weather.sent_on[0]) == before, "sent during the pause"
    weather.wait(weather.session.deadline_ns() - weather.now)
    assert weather.data([weather.sent_on[0][before]]) == [9]
    weather.deliver_all()
    assert sorted(set(weather.data())) == list(range(40))
    assert weather.outbox.rejected == []


def test_quota_exceeded_for_ever_never_rejects_and_waits_longer_each_time(weather):
    weather.accept()
    weather.outbox.put(1)
    weather.step()
    waits = []
    for _ in range(12):
        weather.arrive()
        weather.acknowledge(0, QUOTA)
        waits.append(weather.session.deadline_ns() - weather.now)
        weather.wait(waits[-1])
    assert weather.outbox.rejected == []
    assert waits[:4] == [NS_PER_S // 2, NS_PER_S, 2 * NS_PER_S, 4 * NS_PER_S]
    assert max(waits) == LIMITS.backoff_longest_ns // 2


@pytest.fixture
def full_window(weather):
    """Ten messages in flight, all at the broker, none acknowledged."""
    weather.outbox.put(100)
    weather.accept()
    while weather.session.in_flight < LIMITS.window:
        weather.arrive()
        weather.acknowledge()
    weather.arrive(LIMITS.window)
    return weather


def test_quota_exceeded_halves_the_window(full_window):
    full_window.acknowledge(0, QUOTA)
    full_window.wait(NS_PER_S)
    assert full_window.session.in_flight == LIMITS.window - 1, "filled up again although nothing succeeded"
    assert full_window.session.deadline_ns() > full_window.now, "asks to be called without anything to do"


def test_a_success_lets_the_next_pause_be_short_again(full_window):
    for _ in range(3):
        full_window.acknowledge(0, QUOTA)
    while len(full_window.way_back) > 1:
        full_window.acknowledge()
    full_window.acknowledge(0, QUOTA)
    assert full_window.session.deadline_ns() - full_window.now == NS_PER_S // 2


def test_refused_messages_are_sent_again_in_their_first_order(full_window):
    first = full_window.data(full_window.way_back[:1])[0]
    for index in (4, 2, 0):
        full_window.acknowledge(index, QUOTA)
    while full_window.way_back:
        full_window.acknowledge()
    full_window.wait(LIMITS.backoff_longest_ns)
    assert full_window.data(full_window.way_there)[:3] == [first, first + 2, first + 4]


def test_what_waits_to_be_sent_again_is_sent_once_after_a_cut(full_window):
    full_window.acknowledge(3, QUOTA)
    full_window.cut()
    full_window.wait_until_connecting()
    full_window.accept()
    full_window.deliver_all()
    sent = full_window.data(full_window.sent_on[-1])
    assert sent == sorted(set(sent))


def test_quota_exceeded_does_not_use_up_the_tries_of_a_message(weather):
    weather.outbox.put(1)
    weather.accept()
    for code in (UNSPECIFIED, UNSPECIFIED, QUOTA, QUOTA, 0):
        weather.arrive()
        weather.acknowledge(0, code)
        weather.wait(LIMITS.backoff_longest_ns)
    assert weather.outbox.rejected == []
    assert len(weather.outbox.acknowledged) == 1


@pytest.mark.parametrize("code", [TOO_LARGE, BAD_FORMAT])
def test_a_message_the_broker_refuses_is_set_aside_and_does_not_block_the_rest(weather, code):
    weather.outbox.put(5)
    weather.accept()
    weather.arrive()
    weather.acknowledge(0, code)
    weather.deliver_all()
    assert [(key.seq, f"{code:02x}" in reason) for key, reason in weather.outbox.rejected] == [(0, True)]
    assert weather.session.counts.rejected == 1
    assert [key.seq for key in weather.outbox.acknowledged] == [1, 2, 3, 4]


def test_a_refusal_without_a_clear_meaning_is_tried_three_times(weather):
    weather.outbox.put(2)
    weather.accept()
    for _ in range(3):
        assert weather.outbox.rejected == []
        weather.arrive(5)
        weather.acknowledge(0, UNSPECIFIED)
        weather.wait(LIMITS.backoff_longest_ns // 10)
    assert [key.seq for key, _ in weather.outbox.rejected] == [0]
    weather.deliver_all()
    assert [key.seq for key in weather.outbox.acknowledged] == [1]


@pytest.mark.parametrize("code", [NOT_AUTHORISED, TOPIC_INVALID])
def test_a_refusal_of_the_sender_ends_the_connection_and_loses_nothing(weather, code):
    weather.outbox.put(5)
    weather.accept()
    weather.arrive()
    weather.acknowledge(0, code)
    assert weather.drops == 1
    assert not weather.session.connected
    assert "refuses f/g/data" in weather.session.last_error
    assert weather.session.deadline_ns() > weather.now
    weather.wait_until_connecting()
    weather.accept()
    weather.deliver_all()
    assert [key.seq for key in weather.outbox.acknowledged] == list(range(5))
    assert weather.outbox.rejected == []


def test_a_message_larger_than_the_broker_takes_is_set_aside_unsent(weather):
    weather.outbox.put(1, size=500)
    weather.outbox.put(1, size=50)
    weather.accept(Terms(maximum_packet_bytes=400))
    assert weather.data(weather.way_there) == [1]
    assert [key.seq for key, _ in weather.outbox.rejected] == [0]


@pytest.mark.parametrize("schemas", [0, 15], ids=["few", "schemas open the window"])
def test_the_message_a_broker_hangs_up_over_is_found_and_set_aside(outbox, schemas):
    weather = Weather(outbox, {bytes(8 * [number]): b"schema" for number in range(schemas)})
    weather.outbox.put(12)
    poison = 7
    for _ in range(20):
        weather.wait_until_connecting()
        weather.accept()
        while weather.session.connected and (weather.way_there or weather.way_back):
            weather.arrive()
            if weather.data([weather.way_back[-1]]) == [poison]:
                weather.cut(TOO_LARGE)
            else:
                weather.acknowledge()
        if weather.outbox.empty:
            break
    assert [key.seq for key, _ in weather.outbox.rejected] == [poison]
    assert sorted(key.seq for key in weather.outbox.acknowledged) == [n for n in range(12) if n != poison]
