"""The batch format's door: samples in, body bytes out (Layout.encode); message bytes in, samples out."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.stdint cimport uintptr_t

from agent._native.columns cimport *
from agent._native.samples cimport Samples, ft_sample
from agent.errors import FormatError

cdef enum:
    FIRST_ROOM = 16384  # bytes of body to begin with; a 10 s batch of 120 tags takes 3 KB


cdef object damage(const ft_fault *fault, str where="byte"):
    return FormatError(f"{where} {fault.at}: {(<bytes> fault.why).decode()}")


class TooMany(Exception):  # noqa: N818
    """More samples than one body may hold: split them."""


cdef class Layout:
    """What a gateway's batches look like: packed tables as _native/core/columns.h draws them, and scratch memory."""

    def __cinit__(self):
        self.scratch = NULL
        self.scratch_bytes = 0
        self.out = NULL
        self.out_bytes = 0

    def __init__(self, bytes tags, bytes types, bytes tables, bytes hashes, bytes schema_groups):
        """Raises ValueError when a table points out of another."""
        self.tags, self.types, self.tables = tags, types, tables
        self.hashes, self.schema_groups = hashes, schema_groups
        self.layout.tags = <const ft_column *> PyBytes_AsString(tags)
        self.layout.tag_count = len(tags) // sizeof(ft_column)
        self.layout.types = <const uint8_t *> PyBytes_AsString(types)
        self.layout.column_count = len(types)
        self.layout.tables = <const ft_table *> PyBytes_AsString(tables)
        self.layout.table_count = len(tables) // sizeof(ft_table)
        self.layout.hashes = <const uint8_t *> PyBytes_AsString(hashes)
        self.layout.schema_groups = <const uint32_t *> PyBytes_AsString(schema_groups)
        self.layout.schema_count = len(schema_groups) // sizeof(uint32_t)
        if <size_t> len(hashes) != self.layout.schema_count * FT_HASH_BYTES:
            raise ValueError("not one hash per schema")
        check_tables(&self.layout)

    def __dealloc__(self):
        PyMem_Free(self.scratch)
        PyMem_Free(self.out)

    cdef int grow(self, uint8_t **block, size_t *have, size_t want) except -1:
        if want <= have[0]:
            return 0
        cdef void *moved = PyMem_Realloc(block[0], want)
        if moved == NULL:
            raise MemoryError(f"no memory for {want} bytes of a batch")
        block[0] = <uint8_t *> moved
        have[0] = want
        return 0

    cdef int run(self, const ft_encode_job *job, ft_encoded *result) except? -1:
        cdef int code = FT_MORE_ROOM
        cdef size_t room = FIRST_ROOM
        self.grow(&self.scratch, &self.scratch_bytes, ft_encode_scratch(&self.layout, job.count))
        while code == FT_MORE_ROOM:
            self.grow(&self.out, &self.out_bytes, room)
            with nogil:
                code = ft_encode(&self.layout, job, self.scratch, self.out, self.out_bytes, result)
            room = 2 * self.out_bytes
        return code

    def encode(self, samples, Py_ssize_t start, Py_ssize_t stop, int64_t offset_ns, bint plain, bytes extra):
        """The body of samples[start:stop]: noise that need not be compressed, the rest, and whether that is all numbers.

        Raises ValueError on a sample that is not of this layout, TooMany when they do not fit one body.
        """
        cdef Py_buffer view
        cdef ft_encode_job job
        cdef ft_encoded result
        cdef int code
        PyObject_GetBuffer(samples, &view, PyBUF_SIMPLE)
        try:
            check_range(&view, start, stop)
            job.samples = <const ft_sample *> view.buf + start
            job.count = <size_t> (stop - start)
            job.offset_ns = offset_ns
            job.plain = plain
            job.extra = <const uint8_t *> PyBytes_AsString(extra)
            job.extra_bytes = <size_t> len(extra)
            code = self.run(&job, &result)
            if code != FT_ENCODED:
                raise refusal(code, job.samples + result.culprit)
        finally:
            PyBuffer_Release(&view)
        return (PyBytes_FromStringAndSize(<const char *> self.out, <Py_ssize_t> result.noise),
                PyBytes_FromStringAndSize(<const char *> self.out + result.noise,
                                          <Py_ssize_t> (result.bytes - result.noise)),
                bool(result.numeric))


cdef int check_tables(const ft_layout *layout) except -1:
    cdef size_t i
    cdef const ft_table *table
    for i in range(layout.table_count):
        table = &layout.tables[i]
        if (<uint64_t> table.first + table.columns > layout.column_count or
                <uint64_t> table.twin + table.columns > layout.column_count or table.schema >= layout.schema_count):
            raise ValueError(f"table {i} points out of the layout")
    for i in range(layout.tag_count):
        if layout.tags[i].group >= layout.table_count:
            raise ValueError(f"tag {i} has no table in the layout")
        table = &layout.tables[layout.tags[i].group]
        if layout.tags[i].place < table.first or layout.tags[i].place - table.first >= table.columns:
            raise ValueError(f"tag {i} has no column in its table")
    for i in range(layout.column_count):
        if layout.types[i] >= FT_TYPE_COUNT:
            raise ValueError(f"column {i} is of an unknown type")
    return 0


cdef int check_range(const Py_buffer *view, Py_ssize_t start, Py_ssize_t stop) except -1:
    if view.len % <Py_ssize_t> sizeof(ft_sample):
        raise ValueError(f"{view.len} bytes are not whole samples")
    if <uintptr_t> view.buf % sizeof(int64_t):
        raise ValueError("samples do not begin at a multiple of 8 bytes of memory")
    if not 0 <= start <= stop <= view.len // <Py_ssize_t> sizeof(ft_sample):
        raise ValueError(f"samples {start} to {stop} are not there")
    return 0


cdef object refusal(int code, const ft_sample *culprit):
    if code == FT_TOO_MANY:
        return TooMany("more samples than one batch may hold")
    if code == FT_UNKNOWN_TAG:
        return ValueError(f"a sample of tag {culprit.tag}, which is not in the tag table")
    return ValueError(f"a sample of tag {culprit.tag} is of type {culprit.type}, which its tag is not")


def split(samples, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t near):
    """Where to cut samples[start:stop] near `near` without tearing a row; `start` when there is no such place."""
    cdef Py_buffer view
    PyObject_GetBuffer(samples, &view, PyBUF_SIMPLE)
    try:
        check_range(&view, start, stop)
        if not start <= near <= stop:
            raise ValueError(f"{near} is not between {start} and {stop}")
        return start + <Py_ssize_t> ft_split(<const ft_sample *> view.buf + start, <size_t> (stop - start),
                                             <size_t> (near - start))
    finally:
        PyBuffer_Release(&view)


def read_envelope(message, Py_ssize_t start=0):
    """(gateway, epoch, seq, flags, flags_at, source, error_ms, codec, body_at, body_bytes, end) of the message that
    begins at `start`; offsets count from the beginning of `message`. Raises FormatError."""
    cdef Py_buffer view
    cdef ft_envelope e
    cdef ft_fault fault
    cdef const uint8_t *bytes
    PyObject_GetBuffer(message, &view, PyBUF_SIMPLE)
    try:
        if not 0 <= start <= view.len:
            raise ValueError(f"{start} is not in the message")
        bytes = <const uint8_t *> view.buf + start
        if ft_read_envelope(bytes, <size_t> (view.len - start), &e, &fault):
            fault.at += <size_t> start
            raise damage(&fault)
        return (PyBytes_FromStringAndSize(<const char *> e.gateway, <Py_ssize_t> e.gateway_bytes),
                PyBytes_FromStringAndSize(<const char *> e.epoch, FT_EPOCH_BYTES), e.seq, e.flags,
                start + <Py_ssize_t> e.flags_at, e.source, e.error_ms, e.codec,
                start + <Py_ssize_t> (e.body - bytes), <Py_ssize_t> e.body_bytes, start + <Py_ssize_t> e.bytes)
    finally:
        PyBuffer_Release(&view)


def message_end(messages, Py_ssize_t start=0):
    """Where the msgpack item that begins at `start` ends. Raises FormatError."""
    cdef Py_buffer view
    cdef ft_reader reader
    cdef ft_fault fault
    PyObject_GetBuffer(messages, &view, PyBUF_SIMPLE)
    try:
        if not 0 <= start <= view.len:
            raise ValueError(f"{start} is not in the message")
        reader.at = <const uint8_t *> view.buf + start
        reader.end = <const uint8_t *> view.buf + view.len
        reader.why = NULL
        ft_skip(&reader)
        fault.why = reader.why
        fault.at = <size_t> (reader.at - <const uint8_t *> view.buf)
        if fault.why != NULL:
            raise damage(&fault)
        return <Py_ssize_t> fault.at
    finally:
        PyBuffer_Release(&view)


def read_head(bytes body):
    """(hashes of the schemas it needs, [gaps, schemas] as msgpack, plain) of a body. Raises FormatError."""
    cdef ft_body b
    cdef ft_fault fault
    cdef const uint8_t *start = <const uint8_t *> PyBytes_AsString(body)
    if ft_read_body(start, <size_t> len(body), &b, &fault):
        raise damage(&fault, "body byte")
    hashes = [PyBytes_FromStringAndSize(<const char *> b.hashes + i * FT_HASH_BYTES, FT_HASH_BYTES)
              for i in range(b.hash_count)]
    extra = PyBytes_FromStringAndSize(<const char *> start + b.extra_at, <Py_ssize_t> b.extra_bytes)
    return hashes, bytes([0x90 | b.extra_items]) + extra, bool(b.plain)


def read_samples(bytes body, Layout layout, Samples into):
    """Append a body's samples, times in wall-clock nanoseconds, `tag` the column's place in the layout.

    The layout's tables are the groups of the body's schemas in the body's order. Raises FormatError.
    """
    cdef ft_body b
    cdef ft_fault fault
    cdef ft_first *firsts
    cdef const uint8_t *start = <const uint8_t *> PyBytes_AsString(body)
    if ft_read_body(start, <size_t> len(body), &b, &fault):
        raise damage(&fault, "body byte")
    firsts = <ft_first *> PyMem_Calloc(layout.layout.column_count + 1, sizeof(ft_first))
    if firsts == NULL:
        raise MemoryError("no memory for a batch's columns")
    try:
        while b.groups_left:
            read_table(start, &b, &layout.layout, firsts, into)
    finally:
        PyMem_Free(firsts)


cdef int read_table(const uint8_t *start, ft_body *b, const ft_layout *layout, ft_first *firsts,
                    Samples into) except -1:
    cdef ft_group group
    cdef ft_fault fault
    cdef ft_sample *cells
    cdef int code
    cdef size_t count
    if ft_read_group(b, layout.tables, layout.table_count, &group, &fault):
        raise damage(&fault, "body byte")
    cells = <ft_sample *> PyMem_Calloc(group.cells + 1, sizeof(ft_sample))
    if cells == NULL:
        raise MemoryError(f"no memory for {group.cells} cells")
    try:
        with nogil:
            code = ft_read_cells(b, &layout.tables[group.table], layout.types, &group, firsts, cells, &fault)
        if code:
            raise damage(&fault, "body byte")
        count = ft_count_samples(cells, group.cells)
        into.reserve(<Py_ssize_t> count)
        ft_write_samples(start, cells, group.cells, into.tail())
        into.count += <Py_ssize_t> count
    finally:
        PyMem_Free(cells)
    return 0
