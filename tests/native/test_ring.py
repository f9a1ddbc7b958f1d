"""The sample ring: order, drops, the wake-up rule, and two real threads on it."""

import os
import select

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import RECORD, records
from programs import THREAD_SANITIZER, build, complaints

from agent._native.ring import Ring
from agent._native.samples import Samples


def samples(first, count):
    """`count` samples whose values count up from `first`."""
    return Samples(b"".join(RECORD.pack(0, first + i, 0, 0, 1, 0, 0, 0) for i in range(count)))


def values(popped):
    return [sample.value for sample in records(popped)]


def popped_from(ring, at_most=1000):
    into = Samples()
    assert ring.pop(into, at_most) == len(into)
    return values(into)


def is_readable(event_fd):
    return bool(select.select([event_fd], [], [], 0)[0])


@pytest.fixture
def event_fd():
    descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield descriptor
    os.close(descriptor)


# ---- order and room ----


def test_samples_come_out_whole_and_in_order():
    ring = Ring(3)
    record = RECORD.pack(-5, 2**64 - 1, 2, 3, 4, 5, 6, 7)
    assert ring.push(Samples(record))
    into = Samples()
    ring.pop(into, 8)
    assert bytes(into) == record


def test_pop_takes_no_more_than_it_is_allowed():
    ring = Ring(3)
    ring.push(samples(0, 5))
    assert popped_from(ring, 2) == [0, 1]
    assert popped_from(ring, 0) == []
    assert popped_from(ring) == [2, 3, 4]
    assert popped_from(ring) == []


def test_a_push_that_does_not_fit_is_dropped_whole_and_counted():
    ring = Ring(2)
    assert ring.push(samples(0, 3))
    assert not ring.push(samples(3, 2))
    assert (len(ring), ring.dropped) == (3, 2)
    assert ring.push(samples(5, 1))
    assert not ring.push(samples(6, 1))
    assert (popped_from(ring), ring.dropped) == ([0, 1, 2, 5], 3)


def test_a_dropped_text_counts_as_one_sample_however_many_records_it_takes():
    text = [RECORD.pack(0, 0, 0, 0, 11, 0, 8, piece) for piece in (0, 1, 2 | 1 << 31)]
    ring = Ring(1)
    assert not ring.push(Samples(b"".join(text)))
    assert ring.dropped == 1


def test_a_push_of_nothing_fits_a_full_ring():
    ring = Ring(0)
    assert ring.push(samples(0, 1))
    assert ring.push(Samples())
    assert ring.dropped == 0


def test_more_than_the_whole_ring_never_fits():
    ring = Ring(2)
    assert not ring.push(samples(0, 5))
    assert (len(ring), ring.dropped) == (0, 5)


def test_a_ring_beyond_its_bound_is_refused():
    with pytest.raises(MemoryError, match=r"2\*\*25"):
        Ring(25)


def test_a_negative_number_of_samples_is_refused():
    with pytest.raises(ValueError, match="-1"):
        Ring(2).pop(Samples(), -1)


@given(st.integers(0, 4), st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=80))
def test_behaves_like_a_bounded_queue(bits, steps):
    ring, queue, dropped, pushed = Ring(bits), [], 0, 0
    for is_push, count in steps:
        if not is_push:
            assert popped_from(ring, count) == queue[:count]
            queue = queue[count:]
        elif count <= 2**bits - len(queue):
            assert ring.push(samples(pushed, count))
            queue += range(pushed, pushed + count)
        else:
            assert not ring.push(samples(pushed, count))
            dropped += count
        pushed += count
        assert (len(ring), ring.dropped) == (len(queue), dropped)


# ---- waking ----


def test_nobody_is_woken_who_does_not_sleep(event_fd):
    ring = Ring(4, event_fd, watermark=1)
    ring.push(samples(0, 5))
    assert not ring.notify()
    assert not ring.notify(urgent=True)
    assert not is_readable(event_fd)


def test_the_sleeper_is_woken_at_the_watermark_and_once(event_fd):
    ring = Ring(4, event_fd, watermark=3)
    assert ring.arm()
    ring.push(samples(0, 2))
    assert not ring.notify()
    ring.push(samples(2, 1))
    assert ring.notify()
    ring.push(samples(3, 1))
    assert not ring.notify()
    assert os.eventfd_read(event_fd) == 1


def test_urgency_wakes_below_the_watermark_and_without_a_sample(event_fd):
    ring = Ring(4, event_fd, watermark=10)
    assert ring.arm()
    assert ring.notify(urgent=True)
    assert is_readable(event_fd)


def test_arming_is_refused_while_the_watermark_is_reached(event_fd):
    ring = Ring(4, event_fd, watermark=2)
    ring.push(samples(0, 2))
    assert not ring.arm()
    ring.push(samples(2, 1))
    assert not ring.notify(), "a refused arm leaves the ring disarmed"
    popped_from(ring)
    assert ring.arm()


def test_what_became_urgent_while_the_consumer_was_awake_is_not_slept_over(event_fd):
    ring = Ring(4, event_fd, watermark=10)
    ring.push(samples(0, 1))
    ring.notify(urgent=True)
    assert not ring.arm()
    assert popped_from(ring) == [0]
    assert ring.arm()


def test_urgency_outlasts_a_drain_that_leaves_samples_behind(event_fd):
    ring = Ring(4, event_fd, watermark=10)
    ring.push(samples(0, 3))
    ring.notify(urgent=True)
    assert popped_from(ring, 2) == [0, 1]
    assert not ring.arm()
    assert popped_from(ring) == [2]
    assert ring.arm()


def test_rings_may_share_an_eventfd(event_fd):
    rings = [Ring(2, event_fd), Ring(2, event_fd)]
    assert all(ring.arm() for ring in rings)
    for ring in rings:
        ring.push(samples(0, 1))
        assert ring.notify()
    assert os.eventfd_read(event_fd) == 2


# ---- two threads ----

STRESS = {"plain": ["-O2"], "thread sanitizer": THREAD_SANITIZER}


@pytest.mark.parametrize("flags", STRESS.values(), ids=STRESS)
def test_two_threads_lose_repeat_and_sleep_over_nothing(tmp_path, flags):
    assert complaints(build("ring_stress", tmp_path, flags, ["ring"])) == ""
