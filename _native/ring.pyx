"""Samples in at one end, out at the other, with the wake-up rule between them: the SPSC ring for tests."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free

from agent._native.ring cimport (
    FT_CACHE_LINE,
    ft_ring,
    ft_ring_arm,
    ft_ring_dropped,
    ft_ring_fill,
    ft_ring_free,
    ft_ring_init,
    ft_ring_notify,
    ft_ring_pop,
    ft_ring_push,
    ft_ring_watch,
)
from agent._native.samples cimport Samples


cdef extern from "<stdlib.h>":
    int posix_memalign(void **memory, size_t alignment, size_t size) noexcept nogil


cdef class Ring:
    """Room for 2**bits samples. One thread pushes and notifies, one pops and arms."""

    def __cinit__(self, uint32_t bits, int event_fd=-1, uint32_t watermark=1):
        cdef void *memory = NULL
        if posix_memalign(&memory, FT_CACHE_LINE, sizeof(ft_ring)):
            raise MemoryError("no memory for a ring")
        self.ring = <ft_ring *> memory
        if ft_ring_init(self.ring, bits) < 0:
            raise MemoryError(f"no ring of 2**{bits} samples")
        ft_ring_watch(self.ring, event_fd, watermark)

    def __dealloc__(self):
        if self.ring != NULL:
            ft_ring_free(self.ring)
        free(self.ring)

    def __len__(self):
        return ft_ring_fill(self.ring)

    def push(self, Samples samples not None):
        """Append all of `samples`; False: not one of them, because they do not fit; they count as dropped."""
        cdef int code
        with nogil:
            code = ft_ring_push(self.ring, samples.data, <size_t> samples.count)
        return code == 0

    def notify(self, bint urgent=False):
        """Wake the consumer if it sleeps and has reason to wake; True when the eventfd was written."""
        return bool(ft_ring_notify(self.ring, urgent))

    def pop(self, Samples into not None, Py_ssize_t at_most):
        """Move up to `at_most` samples, oldest first, to the end of `into`; returns how many."""
        cdef size_t count
        if at_most < 0:
            raise ValueError(f"cannot pop {at_most} samples")
        into.reserve(at_most)
        with nogil:
            count = ft_ring_pop(self.ring, into.tail(), <size_t> at_most)
        into.count += <Py_ssize_t> count
        return count

    def arm(self):
        """Ask to be woken; False: there is already something to drain, do not sleep."""
        return ft_ring_arm(self.ring) == 0

    @property
    def dropped(self):
        """Samples that did not fit."""
        return ft_ring_dropped(self.ring)
