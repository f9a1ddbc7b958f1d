"""The session's rules, one by one, in virtual time against a model of link and broker."""

import pytest
from weather import LIMITS, NOT_AUTHORISED, SCHEMAS, Weather

from agent.model import NS_PER_S
from agent.uplink.events import Acknowledged, Terms


def test_connects_at_once_and_sends_nothing_before_it_is_accepted(weather):
    weather.outbox.put(3)
    weather.step()
    assert weather.connecting
    assert not weather.outbox.taken
    weather.accept()
    assert weather.data(weather.way_there) == [0]


def test_schemas_go_out_retained_before_any_data_on_every_connection(outbox):
    weather = Weather(outbox, SCHEMAS)
    outbox.put(2)
    for _ in range(2):
        weather.wait_until_connecting()
        weather.accept()
        weather.arrive()
        weather.acknowledge()
        weather.arrive(2)
        topics = [(publish.topic, publish.payload, publish.retain) for publish in weather.sent_on[-1]]
        assert topics[:2] == [
            (f"f/g/schema/{schema_hash.hex()}", payload, True) for schema_hash, payload in SCHEMAS.items()
        ]
        assert topics[2][0] == "f/g/data"
        assert topics[2][2] is False
        weather.cut()


def test_a_new_schema_overtakes_the_data_that_waits(outbox):
    weather = Weather(outbox, {})
    outbox.put(1)
    weather.accept()
    outbox.put(1)
    weather.schemas = SCHEMAS
    weather.deliver_all()
    assert [publish.topic for publish in weather.delivered] == [
        "f/g/data",
        *(f"f/g/schema/{schema_hash.hex()}" for schema_hash in SCHEMAS),
        "f/g/data",
    ]


def test_a_broker_without_retain_gets_schemas_that_are_not_retained(outbox):
    weather = Weather(outbox, SCHEMAS)
    weather.accept(Terms(retain=False))
    assert not weather.way_there[0].retain


@pytest.mark.parametrize(("receive_maximum", "window"), [(65_535, LIMITS.window), (4, 4), (1, 1)])
def test_the_window_grows_with_success_up_to_what_both_sides_allow(weather, receive_maximum, window):
    weather.outbox.put(100)
    weather.accept(Terms(receive_maximum=receive_maximum))
    most = weather.session.in_flight
    assert most == 1
    for _ in range(30):
        weather.arrive(1)
        weather.acknowledge()
        most = max(most, weather.session.in_flight)
    assert most == window


def test_only_a_puback_lets_the_outbox_forget(weather):
    weather.outbox.put(1)
    weather.accept()
    weather.arrive()
    assert weather.outbox.acknowledged == []
    weather.acknowledge()
    assert len(weather.outbox.acknowledged) == 1
    assert weather.session.counts.acknowledged == 1


def test_a_cut_gives_everything_back_and_it_is_sent_again_in_order(weather):
    weather.outbox.put(30)
    weather.accept()
    for _ in range(10):
        weather.arrive()
        weather.acknowledge()
    weather.arrive(4)
    weather.cut()
    assert not weather.outbox.taken
    weather.wait_until_connecting()
    weather.accept()
    weather.deliver_all()
    assert weather.data() == [*range(14), *range(10, 30)]


def test_a_puback_that_never_comes_makes_it_connect_anew(weather):
    weather.outbox.put(1)
    weather.accept()
    weather.arrive()
    assert weather.session.deadline_ns() == weather.now + LIMITS.ack_timeout_ns
    weather.wait(LIMITS.ack_timeout_ns - 1)
    assert weather.drops == 0
    weather.wait(1)
    assert weather.drops == 1
    assert "acknowledged nothing for 60 s" in weather.session.last_error
    weather.wait_until_connecting()
    weather.accept()
    weather.deliver_all()
    assert [key.seq for key in weather.outbox.acknowledged] == [0]


def test_a_slow_link_that_still_acknowledges_is_not_stalled(weather):
    weather.outbox.put(100)
    weather.accept()
    for _ in range(20):
        weather.wait(LIMITS.ack_timeout_ns - 1)
        weather.arrive(2)
        weather.acknowledge()
    assert weather.drops == 0


def test_silence_on_an_idle_connection_is_no_stall(weather):
    weather.accept()
    weather.wait(10 * LIMITS.ack_timeout_ns)
    weather.outbox.put(1)
    weather.step()
    weather.wait(1)
    assert weather.drops == 0
    assert weather.session.connected


def test_an_idle_connection_asks_for_no_timer(weather):
    weather.outbox.put(3)
    weather.accept()
    weather.deliver_all()
    assert weather.session.deadline_ns() is None


def test_backoff_doubles_from_one_second_to_sixty_with_full_jitter(outbox):
    rolls = iter([1.0] * 8 + [0.25, 0.0])
    weather = Weather(outbox, random=lambda: next(rolls))
    waits = []
    for _ in range(10):
        before = weather.now
        weather.refuse()
        weather.wait_until_connecting()
        waits.append((weather.now - before) / NS_PER_S)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 15, 0]


def test_backoff_starts_anew_only_after_a_stable_connection(outbox):
    weather = Weather(outbox, random=lambda: 1.0)
    waits = []
    for lived_ns in [0, 0, LIMITS.stable_ns - 1, LIMITS.stable_ns, 0]:
        weather.wait_until_connecting()
        weather.accept()
        weather.wait(lived_ns)
        weather.cut()
        waits.append((weather.session.deadline_ns() - weather.now) // NS_PER_S)
    assert waits == [1, 2, 4, 1, 2]


def test_live_overtakes_a_backlog_that_waits(weather):
    weather.outbox.put(5, backlog=True)
    weather.outbox.put(1)
    weather.accept()
    assert weather.data(weather.way_there) == [5]


def test_live_goes_before_backlog_and_backlog_is_paced(weather):
    weather.outbox.put(100, backlog=True)
    weather.accept()
    began = weather.now
    sent_by_second = []
    for _ in range(5):
        weather.deliver_all()
        weather.outbox.put(1)
        weather.step()
        assert weather.data([weather.way_there[0]])[0] >= 100, "live waits behind backlog"
        weather.deliver_all()
        sent_by_second.append(sum(seq < 100 for seq in weather.data()))
        while weather.now < began + len(sent_by_second) * NS_PER_S:
            weather.now = weather.session.deadline_ns()
            weather.step()
            weather.deliver_all()
    assert sent_by_second == [10, 20, 30, 40, 50]
    assert [seq for seq in weather.data() if seq < 100] == sorted(seq for seq in weather.data() if seq < 100)


def test_backlog_leaves_room_in_the_window_for_live(weather):
    weather.outbox.put(20)
    weather.accept()
    weather.deliver_all()
    weather.outbox.put(50, backlog=True)
    weather.step()
    assert weather.session.in_flight == LIMITS.backlog_window
    weather.outbox.put(1)
    weather.step()
    assert weather.session.in_flight == LIMITS.backlog_window + 1


def test_closing_sends_what_is_live_leaves_the_backlog_and_does_not_connect_again(weather):
    weather.outbox.put(20)
    weather.accept()
    assert weather.session.close() is False
    weather.outbox.put(20, backlog=True)
    weather.deliver_all()
    assert weather.session.deadline_ns() is None, "asks to be called for a backlog that it will not send"
    assert weather.session.drained
    assert len(weather.outbox.acknowledged) == 20
    weather.cut()
    weather.wait(1000 * NS_PER_S)
    assert not weather.connecting
    assert weather.session.deadline_ns() is None


def test_closing_without_a_connection_is_over_at_once(weather):
    weather.outbox.put(1)
    assert weather.session.close() is True
    weather.wait(1000 * NS_PER_S)
    assert weather.session.deadline_ns() is None


def test_reports_about_unknown_messages_change_nothing(weather):
    weather.outbox.put(1)
    weather.accept()
    weather.report(Acknowledged(999))
    weather.report(Acknowledged(999, NOT_AUTHORISED))
    assert weather.session.connected
    assert weather.session.in_flight == 1
