from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from agent._native.samples cimport ft_sample

cdef extern from "core/plan.h" nogil:
    ctypedef struct ft_block:
        pass
    ctypedef struct ft_point:
        pass

cdef extern from "core/ring.h" nogil:
    ctypedef struct ft_ring:
        pass
    size_t ft_ring_pop(ft_ring *ring, ft_sample *out, size_t max)
    size_t ft_ring_fill(ft_ring *ring)
    uint64_t ft_ring_dropped(ft_ring *ring)

cdef extern from "core/histogram.h" nogil:
    enum:
        FT_HISTOGRAM_CLASSES
    ctypedef struct ft_histogram:
        pass
    void ft_histogram_add(ft_histogram *histogram, int64_t span_ns)
    void ft_histogram_read(const ft_histogram *histogram, uint64_t *out)
    int64_t ft_histogram_limit_us(int i)

cdef extern from "core/mishap.h" nogil:
    ctypedef struct ft_mishap:
        pass
    ctypedef struct ft_mishap_asked:
        uint8_t unit
        uint8_t function
        uint16_t address
        uint16_t quantity
    ctypedef struct ft_mishap_seen:
        int64_t time_ns
        int kind
        ft_mishap_asked asked
        uint8_t detail
        uint8_t n
        const uint8_t bytes[32]
    void ft_mishap_read(const ft_mishap *mishap, ft_mishap_seen *out)

cdef extern from "core/errand.h" nogil:
    enum:
        FT_ERRANDS
        FT_ERRANDS_IN_ROW
        FT_ERRAND_ENDS
        FT_MAX_RTU
        FT_MAX_TCP
    cdef enum ft_errand_end:
        pass
    ctypedef struct ft_errand:
        ft_errand_end end
        int64_t sent_ns
        int64_t done_ns
        uint16_t pdu_bytes
        uint8_t *pdu
    ctypedef struct ft_errands:
        pass
    int ft_errand_offer(ft_errands *errands, const uint8_t *request, size_t n, size_t answer_bytes, int64_t timeout_ns,
                        int64_t deadline_ns)
    int ft_errand_take(ft_errands *errands, uint32_t slot, ft_errand *out)

cdef extern from "core/bus.h" nogil:
    enum:
        FT_N_COUNT
    cdef enum ft_framing:
        FT_RTU
        FT_TCP
        FT_ASCII
    cdef enum ft_what:
        FT_WAIT
        FT_LOOK
        FT_SEND
    ctypedef struct ft_counts:
        pass
    ctypedef struct ft_gap:
        pass
    int64_t ft_gap_silence(const ft_gap *gap, int64_t quiet_ns)
    int64_t ft_gap_refusal(const ft_gap *gap)
    ctypedef struct ft_device:
        ft_gap gap
        ft_counts counts
        ft_histogram round_trips
        ft_histogram turnarounds
        ft_mishap mishap
        uint8_t is_suspect
    ctypedef struct ft_plan:
        uint32_t device_count
        ft_device *devices
    ctypedef struct ft_wire:
        ft_framing framing
        int64_t char_ns
        int64_t quiet_ns
        int64_t switch_ns
        int64_t least_ns
    ctypedef struct ft_guard:
        uint8_t repeats
    ctypedef struct ft_bus:
        ft_wire wire
        ft_guard guard
        ft_ring ring
        ft_plan *shown_plan
        ft_counts counts
        ft_histogram lateness
        ft_errands errands
    ctypedef struct ft_action:
        ft_what what
        int watch
        int64_t slack_ns
        int64_t send_ns
        int patient
        const uint8_t *bytes
        size_t n
    ft_plan *ft_plan_new(const ft_block *blocks, uint32_t block_count, const ft_point *points, uint32_t point_count,
                         uint32_t device_count, int64_t *bad)
    void ft_plan_free(ft_plan *plan)
    int ft_bus_init(ft_bus *bus, const ft_wire *wire, uint32_t ring_bits)
    void ft_bus_free(ft_bus *bus)
    void ft_bus_adopt(ft_bus *bus, ft_plan *plan, int64_t now)
    ft_plan *ft_bus_take_retired(ft_bus *bus)
    void ft_bus_attach(ft_bus *bus, int64_t now)
    void ft_bus_detach(ft_bus *bus, int64_t now)
    void ft_bus_nudge(ft_bus *bus, int64_t now)
    int64_t ft_bus_step(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n, ft_action *out)
    void ft_counts_read(const ft_counts *counts, uint64_t *out)

cdef extern from "core/unmark.h" nogil:
    ctypedef struct ft_unmark:
        uint64_t heard
        uint64_t damaged
        uint64_t breaks
    size_t ft_unmark_bytes(ft_unmark *state, uint8_t *bytes, size_t n)

cdef extern from "core/wishes.h" nogil:
    const int64_t FT_NEVER
    ctypedef struct ft_wish:
        pass
    void ft_wish_init(ft_wish *wish)
    void ft_wish_make(ft_wish *wish, int64_t wake_ns, int64_t slack_ns, int64_t send_ns, int patient)
    void ft_wish_sent(ft_wish *wish, int64_t now)
    int64_t ft_wishes_wake(const ft_wish *wishes, uint32_t n)
    int ft_wishes_due(ft_wish *wishes, uint32_t n, uint32_t i, int64_t now)

cdef extern from "core/trace.h" nogil:
    enum:
        FT_TRACE_WORDS
        FT_TRACE_SENT
        FT_TRACE_HEARD
    ctypedef struct ft_trace:
        pass
    int ft_trace_init(ft_trace *trace)
    void ft_trace_free(ft_trace *trace)
    void ft_trace_add(ft_trace *trace, int64_t now, int way, const uint8_t *bytes, size_t n)
    size_t ft_trace_copy(ft_trace *trace, uint64_t *out)

cdef extern from "core/slots.h" nogil:
    enum:
        FT_NO_PORT

cdef extern from "core/busloop.h" nogil:
    enum:
        FT_CALL_COUNT
    ctypedef struct ft_line:
        ft_bus bus
        ft_trace trace
    ctypedef struct ft_loop:
        ft_line *lines
        uint32_t line_count
        int consumer_fd
        int supervisor_fd
        int errand_fd
    ft_loop *ft_loop_new(uint32_t line_count)
    int ft_loop_line(ft_loop *loop, uint32_t line, const ft_wire *wire, uint32_t ring_bits)
    void ft_loop_free(ft_loop *loop)
    void ft_loop_run(ft_loop *loop)
    void ft_loop_stop(ft_loop *loop)
    void ft_loop_attach(ft_loop *loop, uint32_t line, int fd)
    void ft_loop_fail(ft_loop *loop, uint32_t line)
    void ft_loop_adopt(ft_loop *loop, uint32_t line, ft_plan *plan)
    void ft_loop_mark(ft_loop *loop, uint32_t line, int on)
    void ft_loop_marks(const ft_loop *loop, uint32_t line, uint64_t *out)
    int ft_loop_take_lost(ft_loop *loop, uint32_t line, int *why)
    int ft_loop_offer(ft_loop *loop, uint32_t line, const uint8_t *request, size_t n, size_t answer_bytes,
                      int64_t timeout_ns, int64_t deadline_ns)
    void ft_loop_calls(const ft_loop *loop, uint64_t *out)
    size_t ft_loop_waiting(ft_loop *loop)
    size_t ft_loop_drain(ft_loop *loop, ft_sample *out, size_t max)

cdef class VirtualBus:
    cdef ft_bus *bus
    cdef ft_action action

cdef class BusLoop:
    cdef ft_loop *loop
    cdef uint32_t line(self, object number) except? 0xFFFFFFFF

# For the doors of the TCP links and of the parts.
cdef ft_plan *new_plan(object blocks, object points, uint32_t devices) except NULL
cdef tuple read_counts(const ft_counts *counts)
cdef bytes trace_records(ft_trace *trace)
cdef tuple read_histogram(const ft_histogram *histogram)
cdef list device_counts(ft_plan *plan)
cdef list device_suspects(ft_plan *plan)
cdef list device_statistics(ft_plan *plan)
cdef int require_errand(Py_ssize_t n, object answer_bytes, ft_framing framing) except -1
cdef tuple take_errand(ft_errands *errands, object slot)
