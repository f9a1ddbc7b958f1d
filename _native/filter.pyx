"""Samples in, the same samples without what the receiver already knows out; the rules are one packed array."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memcpy

from agent._native.filter cimport ft_filter, ft_kept, ft_rule
from agent._native.samples cimport Samples


cdef class Filter:
    """Dead bands and heartbeats of all tags (rule: _native/core/filter.h); remembers what it kept last."""

    def __cinit__(self, rules):
        cdef Py_buffer view
        self.rules = NULL
        self.kept = NULL
        PyObject_GetBuffer(rules, &view, PyBUF_SIMPLE)
        try:
            if view.len % <Py_ssize_t> sizeof(ft_rule):
                raise ValueError(f"{view.len} bytes are not whole {sizeof(ft_rule)}-byte rules")
            self.tags = <uint32_t> (view.len // <Py_ssize_t> sizeof(ft_rule))
            self.rules = <ft_rule *> PyMem_Calloc(self.tags + 1, sizeof(ft_rule))
            self.kept = <ft_kept *> PyMem_Calloc(self.tags + 1, sizeof(ft_kept))
            if self.rules == NULL or self.kept == NULL:
                raise MemoryError(f"no memory for the rules of {self.tags} tags")
            if view.len:
                memcpy(self.rules, view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)

    def __init__(self, rules):
        """Take `rules`, one packed ft_rule a tag in the order of the tag table. Raises ValueError on a torn one."""

    def __dealloc__(self):
        PyMem_Free(self.rules)
        PyMem_Free(self.kept)

    def apply(self, Samples samples not None):
        """Remove from `samples`, in place, what is no news; return how many are left. Raises ValueError on a tag
        that has no rule, and leaves the samples as they were."""
        cdef ptrdiff_t left
        if samples.exports:
            raise BufferError("samples cannot shrink while a buffer looks at them")
        with nogil:
            left = ft_filter(self.rules, self.kept, self.tags, samples.data, <size_t> samples.count)
        if left < 0:
            raise ValueError(f"a sample's tag is not among the {self.tags} that have rules")
        samples.count = left
        return left
