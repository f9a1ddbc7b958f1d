"""Plans and connections in, samples and counters out: the door to the loop that serves all Modbus TCP links without the GIL."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free
from libc.string cimport memset

from agent._native.busloop cimport FT_TCP, ft_errand_offer, ft_plan_free, ft_ring_dropped, ft_ring_fill, ft_ring_pop
from agent._native.busloop cimport device_counts, device_statistics, device_suspects, new_plan, read_counts, read_histogram
from agent._native.busloop cimport require_errand, take_errand
from agent._native.busloop cimport trace_records
from agent._native.samples cimport Samples

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

MOST_IN_FLIGHT = <int> FT_FLIGHTS_MOST
cdef enum:
    CACHE_LINE = 64  # the ring in an ft_link is aligned to it


cdef uint32_t checked_width(object width) except 0:
    if not 1 <= width <= <int> FT_FLIGHTS_MOST:
        raise ValueError(f"{width} requests in flight; 1 to {<int> FT_FLIGHTS_MOST} can be")
    return <uint32_t> width


cdef tuple link_counts(ft_link *link):
    """Counters of the link, of each of its devices, and the samples its full ring dropped."""
    return read_counts(&link.counts), device_counts(link.shown_plan), ft_ring_dropped(&link.ring)


cdef tuple link_statistics(ft_link *link):
    """Histogram of the polls' lateness; of each device those of its round trips and turnarounds, and its last mishap."""
    return read_histogram(&link.lateness), device_statistics(link.shown_plan)


cdef class VirtualLink:
    """One link without a connection and without a clock: the same state machine, stepped by hand. For tests."""

    def __cinit__(self, *, in_flight=1, int64_t quiet_ns=0, uint32_t ring_bits=10, bint datagrams=False):
        cdef uint32_t width = checked_width(in_flight)
        self.link = <ft_link *> aligned_alloc(CACHE_LINE, (sizeof(ft_link) + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)
        if self.link == NULL:
            raise MemoryError("no memory for a link")
        memset(self.link, 0, sizeof(ft_link))
        if ft_link_init(self.link, width, quiet_ns, ring_bits) < 0:
            raise MemoryError(f"no memory for a ring of 2**{ring_bits} samples")
        self.link.is_datagrams = datagrams

    def __dealloc__(self):
        if self.link != NULL:
            ft_link_free(self.link)
            free(self.link)

    def adopt(self, blocks, points, uint32_t devices, int64_t now):
        """Run this plan (packed ft_block and ft_point records) from `now` on."""
        ft_link_adopt(self.link, new_plan(blocks, points, devices), now)
        ft_plan_free(ft_link_take_retired(self.link))

    def attach(self, int64_t now):
        """There is a new connection."""
        ft_link_attach(self.link, now)

    def detach(self, int64_t now):
        """The connection is gone."""
        ft_link_detach(self.link, now)

    def step(self, int64_t now, received=b""):
        """The requests to send, when to step again at the latest, whether the connection has stalled."""
        cdef ft_link_action action
        cdef Py_buffer view
        cdef int64_t wake
        PyObject_GetBuffer(received, &view, PyBUF_SIMPLE)
        try:
            wake = ft_link_step(self.link, now, <const uint8_t *> view.buf, <size_t> view.len, &action)
        finally:
            PyBuffer_Release(&view)
        requests = bytes(action.bytes[:action.n]) if action.n else b""
        return requests, wake, bool(action.is_stalled)

    def offer(self, bytes request not None, answer_bytes, int64_t timeout_ns, int64_t deadline_ns):
        """Carry out `request`, a whole frame, with the next step, once, before `deadline_ns` or not at all. Returns the number
        of its slot, or None: all are taken.
        """
        cdef const uint8_t *frame = <const uint8_t *> <const char *> request
        cdef int slot
        require_errand(len(request), answer_bytes, FT_TCP)
        slot = ft_errand_offer(&self.link.errands, frame, <size_t> len(request), <size_t> answer_bytes, timeout_ns, deadline_ns)
        return None if slot < 0 else slot

    def take(self, slot):
        """How the errand of this slot ended: number in ENDS, answer's PDU, when it was sent (0: it was not), when it was done.
        None: it is not done.
        """
        return take_errand(&self.link.errands, slot)

    def drain(self, Samples into):
        """Append all samples; returns how many."""
        cdef size_t waiting = ft_ring_fill(&self.link.ring)
        into.reserve(<Py_ssize_t> waiting)
        waiting = ft_ring_pop(&self.link.ring, into.tail(), waiting)
        into.count += <Py_ssize_t> waiting
        return waiting

    def counters(self):
        """Counters of the link, of each device, and how many samples the ring dropped."""
        return link_counts(self.link)

    def statistics(self):
        """Histogram of the polls' lateness; of each device those of its round trips and turnarounds, and its last mishap."""
        return link_statistics(self.link)

    def suspects(self):
        """Of each device whether it is only probed, because it has been silent."""
        return device_suspects(self.link.shown_plan)

    def under_way(self):
        """Requests that wait for their answers."""
        return self.link.flights.count

    def width(self):
        """How many may."""
        return self.link.shown_width

    def quirks(self):
        """What came besides answers: late ones, frames nobody asked for, misfits, odd lengths; bytes of no answer."""
        counts = &self.link.flights.counts
        return counts.late, counts.foreign, counts.misfits, counts.odd_lengths, counts.noise_bytes


cdef class LinkLoop:
    """All Modbus TCP links of an agent, served by the one thread that calls run()."""

    def __cinit__(self, links, int consumer, int supervisor, int errand):
        cdef uint32_t width
        self.loop = ft_linkloop_new(<uint32_t> len(links), consumer, supervisor, errand)
        if self.loop == NULL:
            raise MemoryError("no memory or file descriptors for the loop of the TCP links")
        for number, (in_flight, quiet_ns, ring_bits) in enumerate(links):
            width = checked_width(in_flight)
            if ft_linkloop_link(self.loop, <uint32_t> number, width, quiet_ns, <uint32_t> ring_bits) < 0:
                raise MemoryError(f"no memory for a ring of 2**{ring_bits} samples")

    def __init__(self, links, consumer, supervisor, errand):
        """One link for each (in_flight, quiet_ns, ring_bits); eventfds to ring: samples wait, a connection is lost, errands are
        done.
        """

    def __dealloc__(self):
        ft_linkloop_free(self.loop)

    cdef uint32_t link(self, object number) except? 0xFFFFFFFF:
        if not 0 <= number < self.loop.link_count:
            raise IndexError(f"link {number} of {self.loop.link_count}")
        return <uint32_t> number

    def adopt(self, link, blocks, points, uint32_t devices):
        """Run this plan (packed ft_block and ft_point records) on the link, from the next wake-up on."""
        ft_linkloop_adopt(self.loop, self.link(link), new_plan(blocks, points, devices))

    def attach(self, link, int fd):
        """Serve the link through this connection: non-blocking, and the caller's again once it is lost or after run()."""
        ft_linkloop_attach(self.loop, self.link(link), fd)

    def fail(self, link):
        """There is no connection for this link: its tags say so."""
        ft_linkloop_fail(self.loop, self.link(link))

    def take_lost(self, link):
        """The connection that the link has lost and the errno of it (0: closed by the other side), or None."""
        cdef int why = 0
        cdef int fd = ft_slots_take_lost(&self.loop.links[self.link(link)].slots, &why)
        return None if fd == FT_NO_PORT else (fd, why)

    def offer(self, link, bytes request not None, answer_bytes, int64_t timeout_ns, int64_t deadline_ns):
        """Carry out `request`, a whole frame, once, before `deadline_ns` or not at all. Its own bytes tell how long the answer is,
        so `answer_bytes` only has to be one that can be. Returns the number of its slot, or None: all are taken.
        """
        cdef const uint8_t *frame = <const uint8_t *> <const char *> request
        cdef uint32_t number = self.link(link)
        cdef int slot
        require_errand(len(request), answer_bytes, FT_TCP)
        slot = ft_linkloop_offer(self.loop, number, frame, <size_t> len(request), <size_t> answer_bytes, timeout_ns, deadline_ns)
        return None if slot < 0 else slot

    def take(self, link, slot):
        """How the errand of this slot ended: number in ENDS, answer's PDU, when it was sent (0: it was not), when it was done.
        None: it is not done.
        """
        return take_errand(&self.loop.links[self.link(link)].link.errands, slot)

    def run(self):
        """Serve all links until stop(), without the GIL, all signals blocked. For a thread of its own. Raises OSError."""
        cdef int failed
        with nogil:
            failed = ft_linkloop_run(self.loop)
        if failed < 0:
            raise OSError(-failed, "the loop of the TCP links cannot wait")

    def stop(self):
        """Make run() return, now or when it is called."""
        ft_linkloop_stop(self.loop)

    def drain(self, Samples into):
        """Append the samples of all links; returns how many. What rang is to be quieted before."""
        cdef size_t waiting = ft_linkloop_waiting(self.loop)
        into.reserve(<Py_ssize_t> waiting)
        with nogil:
            waiting = ft_linkloop_drain(self.loop, into.tail(), waiting)
        into.count += <Py_ssize_t> waiting
        return waiting

    def counters(self, link):
        """Counters of the link, of each of its devices, and how many samples its full ring dropped."""
        return link_counts(&self.loop.links[self.link(link)].link)

    def statistics(self, link):
        """Histogram of the polls' lateness; of each device those of its round trips and turnarounds, and its last mishap."""
        return link_statistics(&self.loop.links[self.link(link)].link)

    def suspects(self, link):
        """Of each device of the link whether it is only probed, because it has been silent."""
        return device_suspects(self.loop.links[self.link(link)].link.shown_plan)

    def width(self, link):
        """How many requests the link may have under way at once, as far as its device has shown."""
        return self.loop.links[self.link(link)].link.shown_width

    def trace(self, link):
        """The last bytes that went over the link, as packed records: see busloop.Trace.records()."""
        return trace_records(&self.loop.links[self.link(link)].trace)

    def calls(self):
        """System calls of the loop so far: epoll_wait, read, write."""
        cdef uint64_t out[FT_LINK_CALL_COUNT]
        ft_linkloop_calls(self.loop, out)
        return out[0], out[1], out[2]
