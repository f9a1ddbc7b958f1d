"""The session under random weather, in virtual time: what must hold whatever happens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weather import LIMITS, SCHEMAS, Weather

from agent.model import NS_PER_S
from agent.uplink.events import Terms

OPERATIONS = st.one_of(
    st.tuples(st.just("live"), st.integers(1, 8)),
    st.tuples(st.just("backlog"), st.integers(1, 8)),
    st.tuples(st.just("wait"), st.sampled_from([1, 10**6, 10**8, NS_PER_S, 20 * NS_PER_S, 61 * NS_PER_S])),
    st.tuples(st.just("arrive"), st.integers(1, 12)),
    st.tuples(st.just("acknowledge"), st.integers(0, 11)),
    st.tuples(st.just("cut"), st.just(0)),
    st.tuples(st.just("accept"), st.sampled_from([1, 3, 10, 65_535])),
    st.tuples(st.just("refuse"), st.just(0)),
)


class Judge:
    """Runs operations and watches what must hold after each."""

    def __init__(self, outbox, limits):
        self.weather = Weather(outbox, dict(SCHEMAS), limits)
        self.outbox = outbox
        self.limits = limits
        self.receive_maximum = 65_535
        self.possible_duplicates = 0
        self.began = self.weather.now

    def do(self, name, value):
        weather = self.weather
        in_flight = weather.session.in_flight
        drops = weather.drops
        if name in ("live", "backlog"):
            self.outbox.put(value, backlog=name == "backlog")
            weather.step()
        elif name == "accept" and weather.connecting:
            self.receive_maximum = value
            weather.accept(Terms(receive_maximum=value))
        elif name == "refuse" and weather.connecting:
            weather.refuse()
        elif name == "cut" and weather.session.connected:
            weather.cut()
            self.possible_duplicates += in_flight
        elif name == "acknowledge" and weather.way_back:
            weather.acknowledge(value % len(weather.way_back))
        elif name in ("wait", "arrive"):
            getattr(weather, name)(value)
        if weather.drops > drops:
            self.possible_duplicates += in_flight
        self.check()

    def check(self):
        session = self.weather.session
        assert (session.deadline_ns() or self.weather.now + 1) > self.weather.now or self.weather.connecting
        assert session.in_flight <= min(self.limits.window, self.receive_maximum)
        assert len(self.outbox.taken) <= session.in_flight
        assert sum(message.historical for message in self.outbox.taken.values()) <= self.limits.backlog_window
        if self.weather.sent_on:
            kinds = ["schema" in publish.topic for publish in self.weather.sent_on[-1]]
            assert kinds == sorted(kinds, reverse=True), "data before a schema"

    def good_weather(self):
        for _ in range(10_000):
            if self.outbox.empty and self.weather.session.connected:
                return
            if self.weather.connecting:
                self.weather.accept()
            self.weather.deliver_all()
            wake = self.weather.session.deadline_ns()
            if wake is not None:
                self.weather.wait(max(0, wake - self.weather.now))
            self.check()
        pytest.fail("not everything was sent in good weather")


@settings(max_examples=300)
@given(operations=st.lists(OPERATIONS, max_size=80), window=st.integers(1, 12))
def test_in_any_weather_nothing_is_lost_first_deliveries_keep_their_order_and_duplicates_are_bounded(
    new_outbox, operations, window
):
    limits = LIMITS._replace(window=window, backlog_window=(window + 1) // 2)
    judge = Judge(new_outbox(), limits)
    for operation in operations:
        judge.do(*operation)
    judge.good_weather()
    delivered = judge.weather.data()
    put = len(judge.outbox.acknowledged)
    assert set(delivered) == set(range(put)), "lost"
    assert len(judge.outbox.acknowledged) == len(set(judge.outbox.acknowledged))
    first = list(dict.fromkeys(delivered))
    historical = judge.outbox.historical_seqs
    for lane in ([seq for seq in first if seq in historical], [seq for seq in first if seq not in historical]):
        assert lane == sorted(lane), "order"
    assert len(delivered) - len(first) <= judge.possible_duplicates
    elapsed_s = (judge.weather.now - judge.began) / NS_PER_S
    backlog_sent = sum(seq in historical for on in judge.weather.sent_on for seq in judge.weather.data(on))
    assert backlog_sent <= limits.backlog_per_s * (elapsed_s + 1)
    assert judge.outbox.rejected == []
