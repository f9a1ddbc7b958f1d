from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "core/modbus.h" nogil:
    enum ft_framing:
        pass

cdef extern from "core/signal.h" nogil:
    ctypedef struct ft_signal:
        pass

cdef extern from "core/server.h" nogil:
    const int FT_UNITS
    const int FT_SERVER_COUNTS
    const int FT_FAULT_COUNT
    ctypedef size_t ft_counter
    ctypedef struct ft_faults:
        pass
    ctypedef struct ft_bank:
        pass
    ctypedef struct ft_server:
        ft_bank bank
        ft_counter *counts
        ft_counter *faults_applied
    int ft_server_init(ft_server *server, ft_framing framing, const uint8_t *units, const ft_signal *signals, size_t count,
                       const ft_faults *faults, uint64_t seed)
    int ft_server_name(ft_server *server, const uint8_t *plates, size_t n)

cdef extern from "core/bank.h" nogil:
    int ft_bank_write(ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address, uint16_t value)

cdef extern from "core/simbus.h" nogil:
    const int FT_BUS_COUNTS
    const int FT_SIM_OUT_BYTES
    ctypedef struct ft_simbus:
        ft_server server
        ft_counter *counts
    void ft_simbus_init(ft_simbus *bus, int64_t char_ns, int64_t gap_ns)
    void ft_simbus_feed(ft_simbus *bus, uint32_t stream, int64_t now_ns, const uint8_t *bytes, size_t n)
    int ft_simbus_next(ft_simbus *bus, uint32_t stream, int64_t now_ns, int64_t wall_ns)
    size_t ft_simbus_release(ft_simbus *bus, int64_t now_ns, uint32_t *stream, uint8_t *out)
    int64_t ft_simbus_due(const ft_simbus *bus)

cdef extern from "core/simloop.h" nogil:
    ctypedef struct ft_simport:
        ft_simbus bus
    ctypedef struct ft_simloop:
        pass
    void ft_simport_init(ft_simport *port, int fd, int slave_fd)
    int ft_simloop_init(ft_simloop *loop, ft_simport **ports, uint32_t count)
    void ft_simloop_free(ft_simloop *loop)
    int ft_simloop_run(ft_simloop *loop)
    void ft_simloop_stop(ft_simloop *loop)

cdef class SimulatedBus:
    cdef ft_simport *port
    cdef ft_signal *signals     # what port.bus.server looks into
    cdef bytes plates           # and this

cdef class SimulatorLoop:
    cdef ft_simloop loop
    cdef ft_simport **ports
    cdef tuple owners           # keeps the ports alive
    cdef bint ready
