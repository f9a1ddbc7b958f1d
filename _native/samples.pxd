from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "core/sample.h" nogil:
    ctypedef struct ft_sample:
        int64_t time_ns
        uint64_t value
        uint32_t tag
        uint32_t group
        uint16_t type
        uint8_t quality
        uint8_t detail
        uint32_t part

    size_t ft_values(const ft_sample *records, size_t n)

cdef class Samples:
    cdef ft_sample *data
    cdef Py_ssize_t count       # records in use
    cdef Py_ssize_t capacity    # records allocated
    cdef Py_ssize_t exports     # buffers that look at `data` now; it must not move
    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef ft_sample *tail(self) noexcept nogil
