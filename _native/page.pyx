"""Records in, sealed pages of the store out, and back; layout: _native/core/page.h."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcpy, memset

from agent._native.page cimport (
    FT_PAGE_GOOD, FT_PAGE_HEADER, FT_PAGE_MAX_SHIFT, FT_PAGE_MIN_SHIFT, FT_PAGE_TRAILER, FT_PIECE_HEADER, ft_crc32c,
    ft_crc32c_init, ft_crc32c_portable, ft_packer_add, ft_packer_begin, ft_packer_finish, ft_packer_room,
    ft_packer_wants, ft_page, ft_page_join, ft_page_pieces, ft_page_scan, ft_piece,
)

PAGE_HEADER = FT_PAGE_HEADER
PAGE_OVERHEAD = FT_PAGE_HEADER + FT_PIECE_HEADER + FT_PAGE_TRAILER
PAGE_SIZES = tuple(1 << shift for shift in range(FT_PAGE_MIN_SHIFT, FT_PAGE_MAX_SHIFT + 1))

ft_crc32c_init()


cdef class Packer:
    """One commit: a run of pages with consecutive sequence numbers, filled record by record."""

    def __cinit__(self):
        self.memory = NULL
        self.capacity = 0

    def __init__(self, Py_ssize_t page_bytes, int kind, bytes epoch, uint64_t sequence, uint64_t tail,
                 uint64_t samples_before, int64_t boot_ns, int64_t wall_ns):
        """Starts with page `sequence`; the other arguments are the fields of the page header."""
        cdef ft_page head
        cdef uint8_t shift = <uint8_t> _shift_of(page_bytes)
        if len(epoch) != sizeof(head.epoch):
            raise ValueError(f"an epoch is {sizeof(head.epoch)} bytes, not {len(epoch)}")
        memset(&head, 0, sizeof(head))
        memcpy(head.epoch, PyBytes_AsString(epoch), sizeof(head.epoch))
        head.kind = <uint8_t> kind
        head.sequence = sequence
        head.tail = tail
        head.samples_before = samples_before
        head.boot_ns = boot_ns
        head.wall_ns = wall_ns
        ft_packer_begin(&self.packer, &head, shift, self.memory, self.capacity)

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef int reserve(self, size_t wanted) except -1:
        cdef uint8_t *memory
        if wanted <= self.capacity:
            return 0
        memory = <uint8_t *> PyMem_Realloc(self.memory, 2 * wanted)
        if memory == NULL:
            raise MemoryError(f"no memory for {2 * wanted} bytes of pages")
        self.memory = memory
        self.capacity = 2 * wanted
        self.packer.bytes = memory
        self.packer.capacity = self.capacity
        return 0

    @property
    def room(self):
        """Bytes of a record that the open page still takes; 0 when none is open."""
        return ft_packer_room(&self.packer)

    def add(self, int kind, uint64_t seq, uint32_t samples, uint32_t fresh, payload):
        """Add one record; returns (sequence, at): the page where it begins, and its first piece's place there."""
        cdef Py_buffer view
        cdef ft_piece record
        cdef int code
        memset(&record, 0, sizeof(record))
        record.kind = <uint8_t> kind
        record.seq = seq
        record.samples = samples
        record.fresh = fresh
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            self.reserve(ft_packer_wants(&self.packer, <size_t> view.len))
            with nogil:
                code = ft_packer_add(&self.packer, &record, <const uint8_t *> view.buf, <size_t> view.len)
            if code < 0:
                raise ValueError(f"{view.len} bytes are too many for one record")
            return record.sequence, record.at
        finally:
            PyBuffer_Release(&view)

    def finish(self):
        """Seal the last page; returns (pages, next sequence, next samples_before)."""
        cdef size_t pages
        with nogil:
            pages = ft_packer_finish(&self.packer)
        sealed = PyBytes_FromStringAndSize(<char *> self.memory, <Py_ssize_t> (pages * self.packer.page_bytes))
        return sealed, self.packer.head.sequence, self.packer.head.samples_before


def scan(pages, Py_ssize_t page_bytes):
    """The ft_page of every page in a run of them, as an array of 64-byte structs."""
    cdef Py_buffer view
    cdef Py_ssize_t count
    cdef bytes heads
    cdef ft_page *to
    _shift_of(page_bytes)
    PyObject_GetBuffer(pages, &view, PyBUF_SIMPLE)
    try:
        count = view.len // page_bytes
        heads = PyBytes_FromStringAndSize(NULL, count * <Py_ssize_t> sizeof(ft_page))
        to = <ft_page *> PyBytes_AsString(heads)
        with nogil:
            ft_page_scan(to, <const uint8_t *> view.buf, <size_t> page_bytes, <size_t> count)
        return heads
    finally:
        PyBuffer_Release(&view)


def pieces(page):
    """The ft_piece of every piece on one page, as an array of 40-byte structs. Raises ValueError on a bad page."""
    cdef Py_buffer view
    cdef ft_piece *found
    cdef size_t most
    cdef int count
    PyObject_GetBuffer(page, &view, PyBUF_SIMPLE)
    most = <size_t> view.len // FT_PIECE_HEADER
    found = <ft_piece *> PyMem_Malloc(most * sizeof(ft_piece))
    try:
        _shift_of(view.len)
        if found == NULL:
            raise MemoryError(f"no memory for {most} pieces")
        with nogil:
            count = ft_page_pieces(found, most, <const uint8_t *> view.buf, <size_t> view.len)
        if count < 0:
            raise ValueError(f"not a good page: status {count}")
        return PyBytes_FromStringAndSize(<char *> found, count * <Py_ssize_t> sizeof(ft_piece))
    finally:
        PyMem_Free(found)
        PyBuffer_Release(&view)


def join(pages, Py_ssize_t page_bytes, size_t at, size_t total):
    """The record of `total` bytes that begins at `at` of the first page and runs to the last of them.

    Raises ValueError when a page is damaged or is not the one that must come next.
    """
    cdef Py_buffer view
    cdef bytes record
    cdef uint8_t *to
    cdef int code
    _shift_of(page_bytes)
    PyObject_GetBuffer(pages, &view, PyBUF_SIMPLE)
    try:
        if <Py_ssize_t> total > view.len:
            raise ValueError(f"{view.len} bytes of pages cannot hold a record of {total}")
        record = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> total)
        to = <uint8_t *> PyBytes_AsString(record)
        with nogil:
            code = ft_page_join(to, total, <const uint8_t *> view.buf, <size_t> page_bytes,
                                <size_t> (view.len // page_bytes), at)
        if code != FT_PAGE_GOOD:
            raise ValueError("the pages do not hold this record")
        return record
    finally:
        PyBuffer_Release(&view)


def crc32c(data):
    """The CRC-32C of any buffer, by the fastest way this machine has."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return ft_crc32c(<const uint8_t *> view.buf, <size_t> view.len)
    finally:
        PyBuffer_Release(&view)


def crc32c_portable(data):
    """The same by tables alone."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return ft_crc32c_portable(<const uint8_t *> view.buf, <size_t> view.len)
    finally:
        PyBuffer_Release(&view)


cdef int _shift_of(Py_ssize_t page_bytes) except -1:
    cdef int shift
    for shift in range(FT_PAGE_MIN_SHIFT, FT_PAGE_MAX_SHIFT + 1):
        if page_bytes == 1 << shift:
            return shift
    raise ValueError(f"a page has {', '.join(map(str, PAGE_SIZES))} bytes, not {page_bytes}")
