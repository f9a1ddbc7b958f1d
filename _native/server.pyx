"""Packed signals and faults in, simulated buses that answer bytes, or ptys and sockets, out."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport INT64_MAX
from libc.string cimport memcpy

import os

from agent._native.server cimport (
    FT_BUS_COUNTS, FT_FAULT_COUNT, FT_SERVER_COUNTS, FT_SIM_OUT_BYTES, FT_UNITS, ft_bank_write, ft_faults,
    ft_framing, ft_server_init, ft_server_name, ft_signal, ft_simbus_due, ft_simbus_feed, ft_simbus_init,
    ft_simbus_next, ft_simbus_release, ft_simloop_free, ft_simloop_init, ft_simloop_run, ft_simloop_stop,
    ft_simport, ft_simport_init,
)

# In the order of enum ft_fault, ft_server_count, ft_bus_count.
FAULTS = ("drop", "crc", "truncate", "late", "glitch", "echo", "wrong-unit", "exception", "dead", "babble", "deaf")
cdef tuple SERVER_COUNTS = ("requests", "answered", "exceptions", "values", "written", "foreign")
cdef tuple BUS_COUNTS = ("gap_violations", "unsent", "connections", "garbage_bytes")


cdef class SimulatedBus:
    """Every unit of one bus: bytes in, answers out at their time; by itself, or attached to a port of a loop."""

    def __cinit__(self, int framing, units, signals, faults, uint64_t seed=0, int64_t char_ns=0, int64_t gap_ns=0):
        cdef bytes unit_bits = bytes(units)
        cdef bytes packed_faults = bytes(faults)
        cdef bytes packed_signals = bytes(signals)
        cdef size_t count = <size_t> len(packed_signals) // sizeof(ft_signal)
        self.port = <ft_simport *> PyMem_Calloc(1, sizeof(ft_simport))
        self.signals = <ft_signal *> PyMem_Calloc(count + 1, sizeof(ft_signal))
        if self.port == NULL or self.signals == NULL:
            raise MemoryError(f"no memory for a simulated bus with {count} signals")
        if len(unit_bits) != FT_UNITS // 8 or len(packed_faults) != sizeof(ft_faults):
            raise ValueError(f"units are {FT_UNITS // 8} bytes and faults {sizeof(ft_faults)}")
        memcpy(self.signals, <char *> packed_signals, count * sizeof(ft_signal))
        if ft_server_init(
            &self.port.bus.server, <ft_framing> framing, <const uint8_t *> <char *> unit_bits, self.signals, count,
            <ft_faults *> <char *> packed_faults, seed,
        ) < 0:
            raise ValueError("signals are not in order, overlap, or do not fit their table")
        ft_simbus_init(&self.port.bus, char_ns, gap_ns)
        ft_simport_init(self.port, -1, -1)

    def __init__(self, framing, units, signals, faults, seed=0, char_ns=0, gap_ns=0):
        """Play `units` (a bit each, 32 bytes) with `signals` and `faults` (packed ft_signal[], ft_faults); paced by the
        time of one character and of t3.5."""

    def __dealloc__(self):
        PyMem_Free(self.port)
        PyMem_Free(self.signals)

    def name(self, bytes plates not None):
        """Let the units say this of themselves, packed as core/nameplate.h has it."""
        if ft_server_name(&self.port.bus.server, <const uint8_t *> <char *> plates, <size_t> len(plates)) < 0:
            raise ValueError("what the units say of themselves is not in order")
        self.plates = plates

    def preset(self, uint8_t unit, uint8_t table, uint16_t address, uint16_t value):
        """Let a register (table 0 holding, 1 input) hold this until something else is written."""
        if ft_bank_write(&self.port.bus.server.bank, unit, table, address, value) < 0:
            raise ValueError(f"unit {unit}: no more registers can be preset")

    def attach(self, int fd, int slave_fd):
        """The port for a loop: a pty's master side `fd` with its `slave_fd`, or a listening socket `fd` with -1."""
        ft_simport_init(self.port, fd, slave_fd)

    def feed(self, data, int64_t now_ns, int64_t wall_ns):
        """Take bytes that arrived at `now_ns`, when the wall showed `wall_ns`. Raises ValueError on a stream that is no
        Modbus TCP."""
        cdef Py_buffer view
        cdef int found = 1
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        ft_simbus_feed(&self.port.bus, 0, now_ns, <const uint8_t *> view.buf, <size_t> view.len)
        PyBuffer_Release(&view)
        while found > 0:
            found = ft_simbus_next(&self.port.bus, 0, now_ns, wall_ns)
        if found < 0:
            raise ValueError("the stream is no Modbus TCP")

    def release(self, int64_t now_ns):
        """The bytes that are due by `now_ns` and have not been released yet."""
        cdef uint32_t stream
        cdef bytes out = bytes(FT_SIM_OUT_BYTES)
        cdef size_t n = ft_simbus_release(&self.port.bus, now_ns, &stream, <uint8_t *> <char *> out)
        return out[:n]

    def due_ns(self):
        """When the next bytes are due; None when none are to come."""
        cdef int64_t due = ft_simbus_due(&self.port.bus)
        return None if due == INT64_MAX else due

    def counts(self):
        """How often what happened: requests, answered, values, gap_violations ..."""
        counted = {SERVER_COUNTS[i]: self.port.bus.server.counts[i] for i in range(FT_SERVER_COUNTS)}
        counted.update({BUS_COUNTS[i]: self.port.bus.counts[i] for i in range(FT_BUS_COUNTS)})
        return counted

    def faults_applied(self):
        """How often each kind of FAULTS struck."""
        return {FAULTS[i]: self.port.bus.server.faults_applied[i] for i in range(FT_FAULT_COUNT)}


cdef class SimulatorLoop:
    """One loop for all attached buses; run() blocks its thread, without the GIL, until stop()."""

    def __cinit__(self, buses):
        cdef SimulatedBus bus
        cdef int code
        self.ready = False
        self.owners = tuple(buses)
        self.ports = <ft_simport **> PyMem_Calloc(len(self.owners) + 1, sizeof(ft_simport *))
        if self.ports == NULL:
            raise MemoryError(f"no memory for {len(self.owners)} buses")
        for i, bus in enumerate(self.owners):
            self.ports[i] = bus.port
        code = ft_simloop_init(&self.loop, self.ports, <uint32_t> len(self.owners))
        if code < 0:
            raise OSError(-code, os.strerror(-code))
        self.ready = True

    def __init__(self, buses):
        """Serve `buses`, each a SimulatedBus that is attached."""

    def __dealloc__(self):
        if self.ready:
            ft_simloop_free(&self.loop)
        PyMem_Free(self.ports)

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

    def close(self):
        """Hang up on all connections; run() must have returned. The ports stay their owner's to close."""
        ft_simloop_free(&self.loop)
