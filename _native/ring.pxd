from libc.stdint cimport uint32_t, uint64_t

from agent._native.samples cimport ft_sample


cdef extern from "core/ring.h":
    enum:
        FT_CACHE_LINE

    ctypedef struct ft_ring:
        pass

    int ft_ring_init(ft_ring *ring, uint32_t bits) noexcept nogil
    void ft_ring_free(ft_ring *ring) noexcept nogil
    void ft_ring_watch(ft_ring *ring, int event_fd, uint32_t watermark) noexcept nogil
    int ft_ring_push(ft_ring *ring, const ft_sample *samples, size_t n) noexcept nogil
    int ft_ring_notify(ft_ring *ring, int urgent) noexcept nogil
    size_t ft_ring_pop(ft_ring *ring, ft_sample *out, size_t max) noexcept nogil
    int ft_ring_arm(ft_ring *ring) noexcept nogil
    size_t ft_ring_fill(ft_ring *ring) noexcept nogil
    uint64_t ft_ring_dropped(ft_ring *ring) noexcept nogil


cdef class Ring:
    cdef ft_ring *ring
