"""Parts of the loops, one by one and by hand: spans, bytes, wishes and marks in, what becomes of them out. For tests."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc

FLOOD_BYTES = FT_FLOOD_BYTES
FLOOD_LOOK_BYTES = FT_FLOOD_LOOK_BYTES
FLOOD_NS_PER_BYTE = FT_FLOOD_NS_PER_BYTE
FLOOD_REST_NS = FT_FLOOD_REST_NS

cdef class Histogram:
    """Spans of time by class, added by hand. For tests."""

    def add(self, int64_t span):
        """One span in ns."""
        ft_histogram_add(&self.histogram, span)

    def counts(self):
        """How many spans are in each class."""
        return read_histogram(&self.histogram)


cdef class Trace:
    """The trace of one line, filled by hand. For tests."""

    def __cinit__(self):
        if ft_trace_init(&self.trace) < 0:
            raise MemoryError("no memory for a trace")

    def __dealloc__(self):
        ft_trace_free(&self.trace)

    def add(self, int64_t now, bint sent, bytes data):
        """These bytes went over the line."""
        ft_trace_add(&self.trace, now, FT_TRACE_SENT if sent else FT_TRACE_HEARD, data, len(data))

    def records(self):
        """Packed records, oldest first: time in ns, length and (from bit 32 on) direction, bytes in whole words."""
        return trace_records(&self.trace)


cdef class Wishes:
    """When each of some buses wants to be stepped, in; the wake-ups they share, out. What the loop sleeps by, for tests."""

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.wishes = <ft_wish *> malloc(count * sizeof(ft_wish))
        if self.wishes == NULL:
            raise MemoryError(f"no memory for {count} wishes")
        self.count = count
        for i in range(count):
            ft_wish_init(&self.wishes[i])

    def __dealloc__(self):
        free(self.wishes)

    cdef ft_wish *wish(self, object bus) except NULL:
        if not 0 <= bus < self.count:
            raise IndexError(f"bus {bus} of {self.count}")
        return &self.wishes[<uint32_t> bus]

    def make(self, bus, int64_t wake, int64_t slack=0, int64_t send=FT_NEVER, bint patient=False):
        """Bus wants to be stepped at `wake` or `slack` later; its next request goes out at `send`, as far as it knows."""
        ft_wish_make(self.wish(bus), wake, slack, send, patient)

    def sent(self, bus, int64_t now):
        """A request of the bus went out."""
        ft_wish_sent(self.wish(bus), now)

    def wake(self):
        """When to wake up."""
        return ft_wishes_wake(self.wishes, self.count)

    def due(self, bus, int64_t now):
        """Whether the bus is to be stepped now; if not, its wish may have become a later one."""
        self.wish(bus)
        return bool(ft_wishes_due(self.wishes, self.count, <uint32_t> bus, now))


cdef class Unmarker:
    """Chunks of a terminal's bytes with PARMRK's marks in, the bytes of the wire out. What the loop reads by, for tests."""

    def feed(self, data):
        """The bytes of the wire in this chunk."""
        cdef bytearray own = bytearray(data)
        cdef Py_buffer view
        cdef size_t left
        PyObject_GetBuffer(own, &view, PyBUF_SIMPLE)
        try:
            left = ft_unmark_bytes(&self.state, <uint8_t *> view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)
        return bytes(own[:left])

    def marks(self):
        """Characters so far, those that were marked, and those of them that may have been breaks."""
        return self.state.heard, self.state.damaged, self.state.breaks


cdef class Flood:
    """What a line over a socket brings, in; how long nobody listens to it, out. For tests."""

    def swells(self, size_t n, uint64_t answers, int64_t now):
        """So many bytes came, after so many answers: whether what else waits is to be thrown away."""
        return bool(ft_flood_swells(&self.flood, n, answers, now))

    def rest_until(self):
        """When it is listened to again."""
        return self.flood.rest_until_ns
