"""Plans and ports in, samples and counters out: the door to the loop that serves all buses without the GIL."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from agent._native.samples cimport Samples

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

# What a tuple of counters means, in the order of enum ft_bus_count.
COUNTERS = (
    "transactions", "ok", "timeouts", "crc_errors", "exceptions", "stale_discarded", "ambiguous", "overruns", "busy_ns",
    "barriers", "probes", "noise_bytes", "collisions", "bytes_sent", "bytes_heard",
)
# Up to how many microseconds each class of a histogram reaches.
HISTOGRAM_LIMITS_US = tuple([ft_histogram_limit_us(i) for i in range(<int> FT_HISTOGRAM_CLASSES)])
BLOCK_BYTES = sizeof(ft_block)
POINT_BYTES = sizeof(ft_point)
# How an errand ends, in the order of enum ft_errand_end.
ENDS = (
    "answered", "refused", "timed-out", "damaged", "ambiguous", "lost", "broadcast", "no-port", "too-late",
)
ERRANDS = FT_ERRANDS
ERRANDS_IN_ROW = FT_ERRANDS_IN_ROW
cdef enum:
    SHORTEST_RTU = 4  # unit, function, CRC
    SHORTEST_TCP = 8  # header, function
    CACHE_LINE = 64  # the ring in an ft_bus is aligned to it


cdef ft_plan *new_plan(object blocks, object points, uint32_t devices) except NULL:
    """The native plan of packed ft_block and ft_point records. Raises ValueError for one that must not run."""
    cdef Py_buffer block_view
    cdef Py_buffer point_view
    cdef ft_plan *plan
    cdef int64_t bad = -1
    PyObject_GetBuffer(blocks, &block_view, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(points, &point_view, PyBUF_SIMPLE)
        try:
            if block_view.len % <Py_ssize_t> sizeof(ft_block) or point_view.len % <Py_ssize_t> sizeof(ft_point):
                raise ValueError(f"{block_view.len} and {point_view.len} bytes are not whole blocks and points")
            plan = ft_plan_new(
                <const ft_block *> block_view.buf, <uint32_t> (block_view.len // <Py_ssize_t> sizeof(ft_block)),
                <const ft_point *> point_view.buf, <uint32_t> (point_view.len // <Py_ssize_t> sizeof(ft_point)),
                devices, &bad)
        finally:
            PyBuffer_Release(&point_view)
    finally:
        PyBuffer_Release(&block_view)
    if bad >= 0:
        raise ValueError(f"block {bad} of the plan is out of bounds")
    if plan == NULL:
        raise MemoryError("no memory for the plan")
    return plan


cdef ft_wire new_wire(int framing, int64_t char_ns, int64_t quiet_ns, int64_t switch_ns, int64_t least_ns) noexcept:
    cdef ft_wire wire
    wire.framing = <ft_framing> framing
    wire.char_ns = char_ns
    wire.quiet_ns = quiet_ns
    wire.switch_ns = switch_ns
    wire.least_ns = least_ns
    return wire


cdef tuple read_counts(const ft_counts *counts):
    cdef uint64_t out[FT_N_COUNT]
    cdef int i
    ft_counts_read(counts, out)
    read = []
    for i in range(<int> FT_N_COUNT):
        read.append(out[i])
    return tuple(read)


cdef list device_counts(ft_plan *plan):
    """Counters of each device of a plan, which may be NULL: nothing frees it while the GIL is held."""
    cdef uint32_t i
    read = []
    if plan != NULL:
        for i in range(plan.device_count):
            read.append(read_counts(&plan.devices[i].counts))
    return read


cdef list device_suspects(ft_plan *plan):
    """Of each device whether it has been silent for so long that it is only probed."""
    cdef uint32_t i
    read = []
    if plan != NULL:
        for i in range(plan.device_count):
            read.append(bool(plan.devices[i].is_suspect))
    return read


cdef list device_silences(ft_bus *bus):
    """Of each device how long the line is silent before a request to it, and the silence that it refused, 0: none."""
    cdef uint32_t i
    cdef ft_gap *gap
    read = []
    if bus.shown_plan != NULL:
        for i in range(bus.shown_plan.device_count):
            gap = &bus.shown_plan.devices[i].gap
            read.append((ft_gap_silence(gap, bus.wire.quiet_ns), ft_gap_refusal(gap)))
    return read


cdef tuple bus_counts(ft_bus *bus):
    """Counters of the bus, of each of its devices, and the samples its full ring dropped."""
    return read_counts(&bus.counts), device_counts(bus.shown_plan), ft_ring_dropped(&bus.ring)


cdef tuple read_histogram(const ft_histogram *histogram):
    cdef uint64_t out[FT_HISTOGRAM_CLASSES]
    cdef int i
    ft_histogram_read(histogram, out)
    read = []
    for i in range(<int> FT_HISTOGRAM_CLASSES):
        read.append(out[i])
    return tuple(read)


cdef tuple read_mishap(const ft_mishap *mishap):
    """Time, kind, detail, bytes, and what was asked for: unit, function, address, quantity; kind 0: none."""
    cdef ft_mishap_seen seen
    ft_mishap_read(mishap, &seen)
    asked = seen.asked.unit, seen.asked.function, seen.asked.address, seen.asked.quantity
    return seen.time_ns, seen.kind, seen.detail, (<const char *> seen.bytes)[:seen.n], asked


cdef list device_statistics(ft_plan *plan):
    """Histograms of the round trips and turnarounds of each device of a plan, which may be NULL, and its last mishap."""
    cdef uint32_t i
    cdef ft_device *device
    read = []
    if plan != NULL:
        for i in range(plan.device_count):
            device = &plan.devices[i]
            times = read_histogram(&device.round_trips), read_histogram(&device.turnarounds)
            read.append((*times, read_mishap(&device.mishap)))
    return read


cdef tuple bus_statistics(ft_bus *bus):
    """Histogram of the polls' lateness; of each device those of its round trips and turnarounds, and its last mishap."""
    return read_histogram(&bus.lateness), device_statistics(bus.shown_plan)


cdef int require_errand(Py_ssize_t n, object answer_bytes, ft_framing framing) except -1:
    """Whether request and answer can be frames; those of ASCII are the RTU frames that say the same."""
    cdef int least = SHORTEST_TCP if framing == FT_TCP else SHORTEST_RTU
    cdef int most = FT_MAX_TCP if framing == FT_TCP else FT_MAX_RTU
    if not least <= n <= most:
        raise ValueError(f"{n} bytes are not a frame")
    if not 0 <= answer_bytes <= most:
        raise ValueError(f"no answer has {answer_bytes} bytes")
    return 0


cdef tuple take_errand(ft_errands *errands, object slot):
    """How the errand of this slot ended: number in ENDS, answer's PDU, when it was sent (0: it was not), when it was done.
    None: it is not done.
    """
    cdef ft_errand done
    if not 0 <= slot < FT_ERRANDS:
        raise IndexError(f"slot {slot} of {<int> FT_ERRANDS}")
    if not ft_errand_take(errands, <uint32_t> slot, &done):
        return None
    return <int> done.end, bytes(done.pdu[:done.pdu_bytes]), done.sent_ns, done.done_ns


cdef class VirtualBus:
    """One bus without a port and without a clock: the same state machine, stepped by hand. For tests and dry runs."""

    def __cinit__(
        self, *, int framing=FT_RTU, int64_t char_ns=0, int64_t quiet_ns=0, int64_t switch_ns=0, int64_t least_ns=0,
        uint32_t ring_bits=10, bint datagrams=False,
    ):
        cdef ft_wire wire = new_wire(framing, char_ns, quiet_ns, switch_ns, least_ns)
        self.bus = <ft_bus *> aligned_alloc(CACHE_LINE, (sizeof(ft_bus) + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)
        if self.bus == NULL:
            raise MemoryError("no memory for a bus")
        memset(self.bus, 0, sizeof(ft_bus))
        if ft_bus_init(self.bus, &wire, ring_bits) < 0:
            raise MemoryError(f"no memory for a ring of 2**{ring_bits} samples")
        self.bus.guard.repeats = datagrams

    def __dealloc__(self):
        if self.bus != NULL:
            ft_bus_free(self.bus)
            free(self.bus)

    def adopt(self, blocks, points, uint32_t devices, int64_t now):
        """Run this plan (packed ft_block and ft_point records) from `now` on, or from the end of the transaction under way."""
        ft_bus_adopt(self.bus, new_plan(blocks, points, devices), now)
        ft_plan_free(ft_bus_take_retired(self.bus))

    def attach(self, int64_t now):
        """The port is there."""
        ft_bus_attach(self.bus, now)

    def detach(self, int64_t now):
        """The port is gone."""
        ft_bus_detach(self.bus, now)

    def step(self, int64_t now, received=None):
        """What to do (`wait`, `look`, `send`), the request, when to step again, whether bytes matter until then."""
        cdef ft_action *action = &self.action
        cdef Py_buffer view
        cdef int64_t wake
        if received is None:
            wake = ft_bus_step(self.bus, now, NULL, 0, action)
        else:
            PyObject_GetBuffer(received, &view, PyBUF_SIMPLE)
            try:
                wake = ft_bus_step(self.bus, now, <const uint8_t *> view.buf, <size_t> view.len, action)
            finally:
                PyBuffer_Release(&view)
        request = bytes(action.bytes[:action.n]) if action.what == FT_SEND else b""
        return ("wait", "look", "send")[<int> action.what], request, wake, bool(action.watch)

    def wish(self):
        """What the last step said for Wishes.make(), beside when to step again: slack, send, patient."""
        return self.action.slack_ns, self.action.send_ns, bool(self.action.patient)

    def offer(self, bytes request not None, answer_bytes, int64_t timeout_ns, int64_t deadline_ns, int64_t now):
        """Carry out `request`, a whole frame, once, before `deadline_ns` or not at all; `answer_bytes`: of the normal
        answer's frame, 0 where that is not known. Returns the number of its slot, or None: all are taken.
        """
        cdef const uint8_t *frame = <const uint8_t *> <const char *> request
        cdef int slot
        require_errand(len(request), answer_bytes, self.bus.wire.framing)
        slot = ft_errand_offer(&self.bus.errands, frame, <size_t> len(request), <size_t> answer_bytes, timeout_ns, deadline_ns)
        ft_bus_nudge(self.bus, now)
        return None if slot < 0 else slot

    def take(self, slot):
        """How the errand of this slot ended: number in ENDS, answer's PDU, when it was sent (0: it was not), when it was done.
        None: it is not done.
        """
        return take_errand(&self.bus.errands, slot)

    def drain(self, Samples into):
        """Append all samples; returns how many."""
        cdef size_t waiting = ft_ring_fill(&self.bus.ring)
        into.reserve(<Py_ssize_t> waiting)
        waiting = ft_ring_pop(&self.bus.ring, into.tail(), waiting)
        into.count += <Py_ssize_t> waiting
        return waiting

    def counters(self):
        """Counters of the bus, of each device, and how many samples the ring dropped."""
        return bus_counts(self.bus)

    def statistics(self):
        """Histogram of the polls' lateness; of each device those of its round trips and turnarounds, and its last mishap."""
        return bus_statistics(self.bus)

    def suspects(self):
        """Of each device whether it is only probed, because it has been silent."""
        return device_suspects(self.bus.shown_plan)

    def silences(self):
        """Of each device how long the line is silent before a request to it, and the silence that it refused, 0: none."""
        return device_silences(self.bus)


cdef bytes trace_records(ft_trace *trace):
    """The records of a trace, packed, oldest first."""
    cdef uint64_t *copy = <uint64_t *> malloc(FT_TRACE_WORDS * sizeof(uint64_t))
    cdef size_t words
    if copy == NULL:
        raise MemoryError("no memory for a copy of the trace")
    try:
        words = ft_trace_copy(trace, copy)
        return (<const char *> copy)[:words * sizeof(uint64_t)]
    finally:
        free(copy)


cdef class BusLoop:
    """All buses of an agent, served by the one thread that calls run()."""

    def __cinit__(self, wires):
        cdef ft_wire wire
        self.loop = ft_loop_new(<uint32_t> len(wires))
        if self.loop == NULL:
            raise MemoryError("no memory or file descriptors for the bus loop")
        for line, (framing, char_ns, quiet_ns, switch_ns, least_ns, ring_bits) in enumerate(wires):
            wire = new_wire(framing, char_ns, quiet_ns, switch_ns, least_ns)
            if ft_loop_line(self.loop, <uint32_t> line, &wire, <uint32_t> ring_bits) < 0:
                raise MemoryError(f"no memory for a ring of 2**{ring_bits} samples")

    def __init__(self, wires):
        """One line for each (framing, char_ns, quiet_ns, switch_ns, least_ns, ring_bits)."""

    def __dealloc__(self):
        ft_loop_free(self.loop)

    cdef uint32_t line(self, object number) except? 0xFFFFFFFF:
        if not 0 <= number < self.loop.line_count:
            raise IndexError(f"line {number} of {self.loop.line_count}")
        return <uint32_t> number

    def adopt(self, line, blocks, points, uint32_t devices):
        """Run this plan (packed ft_block and ft_point records) on the line, from the end of the transaction under way on."""
        ft_loop_adopt(self.loop, self.line(line), new_plan(blocks, points, devices))

    def attach(self, line, int fd):
        """Serve the line through this port: non-blocking, raw, and the caller's again once it is lost or after run()."""
        ft_loop_attach(self.loop, self.line(line), fd)

    def fail(self, line):
        """There is no port for this line: its tags say so."""
        ft_loop_fail(self.loop, self.line(line))

    def mark(self, line, bint on):
        """Whether the line's terminal marks damaged characters from now on."""
        ft_loop_mark(self.loop, self.line(line), on)

    def marks(self, line):
        """Characters heard on the line while marking, those marked, and those of them that may have been breaks."""
        cdef uint64_t out[3]
        ft_loop_marks(self.loop, self.line(line), out)
        return out[0], out[1], out[2]

    def take_lost(self, line):
        """The port that the line has lost and the errno of it (0: end of file), or None."""
        cdef int why = 0
        cdef int fd = ft_loop_take_lost(self.loop, self.line(line), &why)
        return None if fd == FT_NO_PORT else (fd, why)

    def offer(self, line, bytes request not None, answer_bytes, int64_t timeout_ns, int64_t deadline_ns):
        """Carry out `request`, a whole frame, once, before `deadline_ns` or not at all; `answer_bytes`: of the normal
        answer's frame, 0 where that is not known. Returns the number of its slot, or None: all are taken.
        """
        cdef const uint8_t *frame = <const uint8_t *> <const char *> request
        cdef uint32_t number = self.line(line)
        cdef int slot
        require_errand(len(request), answer_bytes, self.loop.lines[number].bus.wire.framing)
        slot = ft_loop_offer(self.loop, number, frame, <size_t> len(request), <size_t> answer_bytes, timeout_ns, deadline_ns)
        return None if slot < 0 else slot

    def take(self, line, slot):
        """How the errand of this slot ended: number in ENDS, answer's PDU, when it was sent (0: it was not), when it was done.
        None: it is not done.
        """
        return take_errand(&self.loop.lines[self.line(line)].bus.errands, slot)

    def errand_fileno(self):
        """An eventfd, readable when errands are done; who reads it then takes them."""
        return self.loop.errand_fd

    def run(self):
        """Serve all lines until stop(), without the GIL, all signals blocked. For a thread of its own."""
        with nogil:
            ft_loop_run(self.loop)

    def stop(self):
        """Make run() return, now or when it is called."""
        ft_loop_stop(self.loop)

    def fileno(self):
        """Readable when a ring is half full or something urgent is in one; drain() makes it quiet again."""
        return self.loop.consumer_fd

    def supervisor_fileno(self):
        """An eventfd, readable when a port was lost."""
        return self.loop.supervisor_fd

    def drain(self, Samples into):
        """Append the samples of all lines; returns how many."""
        cdef size_t waiting = ft_loop_waiting(self.loop)
        into.reserve(<Py_ssize_t> waiting)
        with nogil:
            waiting = ft_loop_drain(self.loop, into.tail(), waiting)
        into.count += <Py_ssize_t> waiting
        return waiting

    def counters(self, line):
        """Counters of the line, of each of its devices, and how many samples its full ring dropped."""
        return bus_counts(&self.loop.lines[self.line(line)].bus)

    def statistics(self, line):
        """Histogram of the polls' lateness; of each device those of its round trips and turnarounds, and its last mishap."""
        return bus_statistics(&self.loop.lines[self.line(line)].bus)

    def suspects(self, line):
        """Of each device of the line whether it is only probed, because it has been silent."""
        return device_suspects(self.loop.lines[self.line(line)].bus.shown_plan)

    def silences(self, line):
        """Of each device of the line how long it is silent before a request to it, and the silence that it refused, 0: none."""
        return device_silences(&self.loop.lines[self.line(line)].bus)

    def trace(self, line):
        """The last bytes that went over the line, as packed records: see Trace.records()."""
        return trace_records(&self.loop.lines[self.line(line)].trace)

    def calls(self):
        """System calls of the loop so far: ppoll, read, write."""
        cdef uint64_t out[FT_CALL_COUNT]
        ft_loop_calls(self.loop, out)
        return out[0], out[1], out[2]
