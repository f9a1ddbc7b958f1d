"""Packed signals and faults in, simulated buses that answer bytes, or ptys and sockets, out."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memcpy

import os

from agent._native.server cimport (
    FT_BUS_COUNTS, FT_FAULT_COUNT, FT_SERVER_COUNTS, FT_UNITS, ft_answer, ft_faults, ft_framing, ft_request, ft_server_answer,
    ft_server_init, ft_signal, ft_simbus, ft_simbus_init, ft_simloop_free, ft_simloop_init, ft_simloop_run, ft_simloop_stop,
    ft_stream_feed, ft_stream_next,
)

# In the order of enum ft_fault, ft_server_count, ft_bus_count.
FAULTS = ("drop", "crc", "truncate", "late", "glitch", "echo", "wrong-unit", "exception", "dead")
cdef tuple SERVER_COUNTS = ("requests", "answered", "exceptions", "values", "written", "foreign")
cdef tuple BUS_COUNTS = ("gap_violations", "unsent", "connections", "garbage_bytes")


cdef class SimulatedBus:
    """Every unit of one bus; answers bytes by itself (feed), or a line or socket through a SimulatorLoop (attach)."""

    def __cinit__(self, int framing, units, signals, faults, uint64_t seed):
        cdef bytes unit_bits = bytes(units)
        cdef bytes packed_faults = bytes(faults)
        cdef Py_buffer view
        cdef int code
        self.signals = NULL
        self.bus = <ft_simbus *> PyMem_Calloc(1, sizeof(ft_simbus))
        if self.bus == NULL:
            raise MemoryError("no memory for a simulated bus")
        if len(unit_bits) != FT_UNITS // 8 or len(packed_faults) != sizeof(ft_faults):
            raise ValueError(f"units are {FT_UNITS // 8} bytes and faults {sizeof(ft_faults)}")
        PyObject_GetBuffer(signals, &view, PyBUF_SIMPLE)
        try:
            self.signals = <ft_signal *> PyMem_Calloc(<size_t> view.len + 1, 1)
            if self.signals == NULL:
                raise MemoryError(f"no memory for {view.len} bytes of signals")
            memcpy(self.signals, view.buf, <size_t> view.len)
            code = ft_server_init(
                &self.bus.server, <ft_framing> framing, <const uint8_t *> <char *> unit_bits, self.signals,
                <size_t> view.len // sizeof(ft_signal), <ft_faults *> <char *> packed_faults, seed,
            )
        finally:
            PyBuffer_Release(&view)
        if code < 0:
            raise ValueError("signals are not in order, overlap, or do not fit their table")
        ft_simbus_init(self.bus, -1, -1, 0, 0)

    def __init__(self, framing, units, signals, faults, seed):
        """Play `units` (a bit each, 32 bytes) with `signals` and `faults` (packed ft_signal[], ft_faults)."""

    def __dealloc__(self):
        PyMem_Free(self.bus)
        PyMem_Free(self.signals)

    def attach(self, int fd, int slave_fd, int64_t char_ns, int64_t gap_ns):
        """Serve a pty's master side `fd` (`slave_fd` its other side) or a listening socket `fd` (-1); char_ns > 0 paces."""
        ft_simbus_init(self.bus, fd, slave_fd, char_ns, gap_ns)

    def feed(self, data, int64_t now_ns, int64_t wall_ns):
        """What the requests in `data` provoke: (delay in ns, bytes) each, no bytes for silence. Raises ValueError on a
        stream that is no Modbus TCP."""
        cdef bytes chunk = bytes(data)
        cdef ft_request request
        cdef ft_answer answer
        cdef list answers = []
        cdef int found
        ft_stream_feed(&self.bus.streams[0], self.bus.server.framing, now_ns, <const uint8_t *> <char *> chunk, <size_t> len(chunk))
        while True:
            found = ft_stream_next(&self.bus.streams[0], self.bus.server.framing, &request)
            if found < 0:
                raise ValueError("the stream is no Modbus TCP")
            if found == 0:
                return answers
            ft_server_answer(&self.bus.server, &request, wall_ns, &answer)
            answers.append((answer.late_ns, (<char *> answer.adu)[:answer.bytes]))

    def counts(self):
        """How often what happened: requests, answered, values, gap_violations ..."""
        counted = {SERVER_COUNTS[i]: self.bus.server.counts[i] for i in range(FT_SERVER_COUNTS)}
        counted.update({BUS_COUNTS[i]: self.bus.counts[i] for i in range(FT_BUS_COUNTS)})
        return counted

    def faults_applied(self):
        """How often each kind of FAULTS struck."""
        return {FAULTS[i]: self.bus.server.faults_applied[i] for i in range(FT_FAULT_COUNT)}


cdef class SimulatorLoop:
    """One loop for all attached buses; run() blocks its thread, without the GIL, until stop()."""

    def __cinit__(self, buses):
        cdef SimulatedBus bus
        cdef int code
        self.ready = False
        self.owners = tuple(buses)
        self.buses = <ft_simbus **> PyMem_Calloc(len(self.owners) + 1, sizeof(ft_simbus *))
        if self.buses == NULL:
            raise MemoryError(f"no memory for {len(self.owners)} buses")
        for i, bus in enumerate(self.owners):
            self.buses[i] = bus.bus
        code = ft_simloop_init(&self.loop, self.buses, <uint32_t> len(self.owners))
        if code < 0:
            raise OSError(-code, os.strerror(-code))
        self.ready = True

    def __init__(self, buses):
        """Serve `buses`, each a SimulatedBus that is attached."""

    def __dealloc__(self):
        if self.ready:
            ft_simloop_free(&self.loop)
        PyMem_Free(self.buses)

    def run(self):
        """Serve until stop(). Raises OSError when a line breaks."""
        cdef int code
        with nogil:
            code = ft_simloop_run(&self.loop)
        if code < 0:
            raise OSError(-code, os.strerror(-code))

    def stop(self):
        """Make run() return, from any thread; repeat until it has."""
        ft_simloop_stop(&self.loop)
