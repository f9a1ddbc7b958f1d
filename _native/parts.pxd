from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from agent._native.busloop cimport (
    FT_NEVER,
    FT_TRACE_HEARD,
    FT_TRACE_SENT,
    ft_histogram,
    ft_histogram_add,
    ft_trace,
    ft_trace_add,
    ft_trace_free,
    ft_trace_init,
    ft_unmark,
    ft_unmark_bytes,
    ft_wish,
    ft_wish_init,
    ft_wish_make,
    ft_wish_sent,
    ft_wishes_due,
    ft_wishes_wake,
    read_histogram,
    trace_records,
)

cdef class Histogram:
    cdef ft_histogram histogram

cdef class Trace:
    cdef ft_trace trace

cdef class Wishes:
    cdef ft_wish *wishes
    cdef uint32_t count
    cdef ft_wish *wish(self, object bus) except NULL

cdef class Unmarker:
    cdef ft_unmark state

cdef extern from "core/flood.h" nogil:
    enum:
        FT_FLOOD_BYTES
        FT_FLOOD_LOOK_BYTES
        FT_FLOOD_NS_PER_BYTE
        FT_FLOOD_REST_NS
    ctypedef struct ft_flood:
        int64_t rest_until_ns
    int ft_flood_swells(ft_flood *flood, size_t n, uint64_t answers, int64_t now)

cdef class Flood:
    cdef ft_flood flood
