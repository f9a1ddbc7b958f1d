"""Samples in one block of memory: filled by drains, thinned by filters, read by encoders and by NumPy."""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.buffer cimport PyBUF_SIMPLE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.string cimport memcpy, memmove

from agent._native.samples cimport ft_sample, ft_values

# Names and types of a record for the buffer protocol; NumPy turns it into a structured dtype.
cdef bytes FORMAT = b"T{q:time_ns:Q:value:I:tag:I:group:H:type:B:quality:B:detail:I:part:}"
cdef enum:
    FIRST_CAPACITY = 1024


cdef class Samples:
    """A growable array of 32-byte sample records (layout: _native/core/sample.h), oldest first."""

    def __cinit__(self, records=None):
        self.data = NULL
        self.count = 0
        self.capacity = 0
        self.exports = 0

    def __init__(self, records=None):
        """Empty, or a copy of `records`, any buffer of whole 32-byte records. Raises ValueError on a torn one."""
        if records is not None:
            self.extend(records)

    def __dealloc__(self):
        PyMem_Free(self.data)

    def __len__(self):
        return self.count

    def values(self, Py_ssize_t start=0, stop=None):
        """How many values records[start:stop] are: the pieces of a text are one."""
        cdef Py_ssize_t end = self.count if stop is None else stop
        cdef size_t count
        if not 0 <= start <= end <= self.count:
            raise ValueError(f"there are no records {start}:{end} of {self.count}")
        with nogil:
            count = ft_values(self.data + start, <size_t> (end - start))
        return count

    cdef int reserve(self, Py_ssize_t extra) except -1:
        cdef Py_ssize_t wanted = self.count + extra
        cdef Py_ssize_t capacity = self.capacity if self.capacity else FIRST_CAPACITY
        cdef ft_sample *data
        if self.exports:
            raise BufferError("samples cannot grow while a buffer looks at them")
        if wanted <= self.capacity:
            return 0
        while capacity < wanted:
            capacity *= 2
        data = <ft_sample *> PyMem_Realloc(self.data, <size_t> capacity * sizeof(ft_sample))
        if data == NULL:
            raise MemoryError(f"no memory for {capacity} samples")
        self.data = data
        self.capacity = capacity
        return 0

    cdef ft_sample *tail(self) noexcept nogil:
        return self.data + self.count

    def extend(self, records):
        """Append a copy of `records`, any buffer of whole 32-byte records. Raises ValueError on a torn one."""
        cdef Py_buffer view
        PyObject_GetBuffer(records, &view, PyBUF_SIMPLE)
        try:
            if view.len % <Py_ssize_t> sizeof(ft_sample):
                raise ValueError(f"{view.len} bytes are not whole {sizeof(ft_sample)}-byte samples")
            self.reserve(view.len // <Py_ssize_t> sizeof(ft_sample))
            if view.len:
                memcpy(self.tail(), view.buf, <size_t> view.len)
            self.count += view.len // <Py_ssize_t> sizeof(ft_sample)
        finally:
            PyBuffer_Release(&view)

    def take(self, Py_ssize_t count):
        """Remove the first `count` records and return them as new Samples."""
        cdef Samples taken = Samples()
        if count < 0 or count > self.count:
            raise ValueError(f"cannot take {count} of {self.count} samples")
        if self.exports:
            raise BufferError("samples cannot shrink while a buffer looks at them")
        taken.reserve(count)
        if count:
            memcpy(taken.data, self.data, <size_t> count * sizeof(ft_sample))
            memmove(self.data, self.data + count, <size_t> (self.count - count) * sizeof(ft_sample))
        taken.count = count
        self.count -= count
        return taken

    def clear(self):
        """Forget all records, keep the memory."""
        if self.exports:
            raise BufferError("samples cannot shrink while a buffer looks at them")
        self.count = 0

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if flags & PyBUF_WRITABLE == PyBUF_WRITABLE:
            raise BufferError("samples are read-only from outside")
        buffer.buf = self.data
        buffer.obj = self
        buffer.len = self.count * <Py_ssize_t> sizeof(ft_sample)
        buffer.readonly = 1
        buffer.itemsize = <Py_ssize_t> sizeof(ft_sample)
        buffer.format = <char *> FORMAT if flags & PyBUF_FORMAT else NULL
        buffer.ndim = 1
        buffer.shape = &self.count if flags & PyBUF_ND == PyBUF_ND else NULL
        buffer.strides = &buffer.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        buffer.suboffsets = NULL
        buffer.internal = NULL
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1
