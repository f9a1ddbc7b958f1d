from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport uint32_t

from agent._native.samples cimport ft_sample

cdef extern from "core/filter.h" nogil:
    ctypedef struct ft_rule:
        pass
    ctypedef struct ft_kept:
        pass
    ptrdiff_t ft_filter(const ft_rule *rules, ft_kept *kept, uint32_t tags, ft_sample *samples, size_t count)

cdef class Filter:
    cdef ft_rule *rules
    cdef ft_kept *kept
    cdef uint32_t tags
