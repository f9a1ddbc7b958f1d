from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from agent._native.busloop cimport ft_counts, ft_errands, ft_histogram, ft_plan, ft_ring, ft_trace
from agent._native.samples cimport ft_sample

cdef extern from "core/flights.h" nogil:
    enum:
        FT_FLIGHTS_MOST
    ctypedef struct ft_flight_counts:
        uint64_t late
        uint64_t foreign
        uint64_t misfits
        uint64_t odd_lengths
        uint64_t noise_bytes
    ctypedef struct ft_flights:
        uint32_t count
        ft_flight_counts counts

cdef extern from "core/link.h" nogil:
    ctypedef struct ft_link:
        ft_flights flights
        ft_errands errands
        ft_plan *shown_plan
        ft_ring ring
        ft_counts counts
        ft_histogram lateness
        uint32_t shown_width
        uint8_t is_datagrams
    ctypedef struct ft_link_action:
        const uint8_t *bytes
        size_t n
        int is_stalled
    int ft_link_init(ft_link *link, uint32_t width, int64_t quiet_ns, uint32_t ring_bits)
    void ft_link_free(ft_link *link)
    void ft_link_attach(ft_link *link, int64_t now)
    void ft_link_detach(ft_link *link, int64_t now)
    int64_t ft_link_step(ft_link *link, int64_t now, const uint8_t *bytes, size_t n, ft_link_action *out)

cdef extern from "core/linkplan.h" nogil:
    void ft_link_adopt(ft_link *link, ft_plan *plan, int64_t now)
    ft_plan *ft_link_take_retired(ft_link *link)

cdef extern from "core/linkloop.h" nogil:
    enum:
        FT_NO_PORT
        FT_LINK_CALL_COUNT
    ctypedef struct ft_slots:
        pass
    ctypedef struct ft_tcp:
        ft_link link
        ft_trace trace
        ft_slots slots
    ctypedef struct ft_linkloop:
        ft_tcp *links
        uint32_t link_count
    ft_linkloop *ft_linkloop_new(uint32_t link_count, int consumer_fd, int supervisor_fd, int errand_fd)
    int ft_linkloop_link(ft_linkloop *loop, uint32_t link, uint32_t width, int64_t quiet_ns, uint32_t ring_bits)
    void ft_linkloop_free(ft_linkloop *loop)
    int ft_linkloop_run(ft_linkloop *loop)
    void ft_linkloop_stop(ft_linkloop *loop)
    void ft_linkloop_attach(ft_linkloop *loop, uint32_t link, int fd)
    void ft_linkloop_fail(ft_linkloop *loop, uint32_t link)
    void ft_linkloop_adopt(ft_linkloop *loop, uint32_t link, ft_plan *plan)
    int ft_linkloop_offer(ft_linkloop *loop, uint32_t link, const uint8_t *request, size_t n, size_t answer_bytes,
                          int64_t timeout_ns, int64_t deadline_ns)
    int ft_slots_take_lost(ft_slots *slots, int *why)
    void ft_linkloop_calls(const ft_linkloop *loop, uint64_t *out)
    size_t ft_linkloop_waiting(ft_linkloop *loop)
    size_t ft_linkloop_drain(ft_linkloop *loop, ft_sample *out, size_t max)

cdef class VirtualLink:
    cdef ft_link *link

cdef class LinkLoop:
    cdef ft_linkloop *loop
    cdef uint32_t link(self, object number) except? 0xFFFFFFFF
