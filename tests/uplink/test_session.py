"""The session's rules, one by one and under random weather, in virtual time against a model of link and broker."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import NS_PER_S
from agent.uplink.events import Acknowledged, Connect, Connected, Disconnected, Drop, Terms
from agent.uplink.session import Limits, Session
from agent.uplink.topics import Topics

LIMITS = Limits()
QUOTA, NOT_AUTHORISED, TOPIC_INVALID, TOO_LARGE, BAD_FORMAT, UNSPECIFIED = 0x97, 0x87, 0x90, 0x95, 0x99, 0x80
SCHEMAS = {b"schema-a": b"A", b"schema-b": b"B"}


class Weather:
    """A link and a broker in virtual time: bytes arrive in order or, after a cut, not at all."""

    def __init__(self, outbox, schemas=None, limits=LIMITS, random=lambda: 0.5):
        self.outbox = outbox
        self.schemas = {} if schemas is None else schemas
        self.session = Session(outbox, lambda: self.schemas, Topics("f/{gateway}/{kind}", "g"), random, limits)
        self.limits = limits
        self.now = 1_000 * NS_PER_S
        self.connecting = False
        self.way_there = deque()  # publishes that have not reached the broker
        self.way_back = []  # publishes that the broker has and has not acknowledged
        self.delivered = []  # every publish that reached the broker
        self.sent_on = []  # per connection: every publish
        self.drops = 0
        self.step()

    def step(self):
        for action in self.session.step(self.now):
            if isinstance(action, Connect):
                assert not self.connecting
                self.connecting = True
            elif isinstance(action, Drop):
                self.drops += 1
                self._lose()
            else:
                self.way_there.append(action)
                self.sent_on[-1].append(action)

    def report(self, event):
        self.session.handle(event, self.now)
        self.step()

    def wait(self, ns):
        self.now += ns
        self.step()

    def wait_until_connecting(self):
        while not self.connecting:
            self.now = max(self.now, self.session.deadline_ns())
            self.step()

    def accept(self, terms=Terms()):  # noqa: B008
        self.connecting = False
        self.sent_on.append([])
        self.report(Connected(terms))

    def refuse(self):
        self.connecting = False
        self.report(Disconnected("refused"))

    def cut(self, code=0):
        self._lose()
        self.report(Disconnected("cut", code))

    def arrive(self, count=1):
        for _ in range(min(count, len(self.way_there))):
            self.delivered.append(self.way_there.popleft())
            self.way_back.append(self.delivered[-1])

    def acknowledge(self, index=0, code=0):
        self.report(Acknowledged(self.way_back.pop(index).token, code))

    def deliver_all(self):
        """Good weather until nothing is left to send."""
        while self.way_there or self.way_back:
            self.arrive(len(self.way_there))
            self.acknowledge()

    def data(self, publishes=None):
        publishes = self.delivered if publishes is None else publishes
        return [int.from_bytes(publish.payload[:8]) for publish in publishes if "/data" in publish.topic]

    def _lose(self):
        self.way_there.clear()
        self.way_back.clear()


@pytest.fixture
def weather(outbox):
    return Weather(outbox)


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


def test_live_overtakes_a_backlog_that_waits(weather):
    weather.outbox.put(5, backlog=True)
    weather.outbox.put(1)
    weather.accept()
    assert weather.data(weather.way_there) == [5]


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


@settings(max_examples=300, deadline=None)
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
