from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

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
    ctypedef struct ft_server:
        ft_framing framing
        ft_counter *counts
        ft_counter *faults_applied
    ctypedef struct ft_stream:
        size_t garbage
    ctypedef struct ft_request:
        pass
    ctypedef struct ft_answer:
        int64_t late_ns
        size_t bytes
        uint8_t adu[1]
    int ft_server_init(ft_server *server, ft_framing framing, const uint8_t *units, const ft_signal *signals, size_t count,
                       const ft_faults *faults, uint64_t seed)
    size_t ft_stream_feed(ft_stream *stream, ft_framing framing, int64_t now_ns, const uint8_t *bytes, size_t n)
    int ft_stream_next(ft_stream *stream, ft_framing framing, ft_request *request)
    void ft_server_answer(ft_server *server, const ft_request *request, int64_t wall_ns, ft_answer *answer)

cdef extern from "core/simloop.h" nogil:
    const int FT_BUS_COUNTS
    ctypedef struct ft_simbus:
        ft_server server
        ft_stream *streams
        ft_counter *counts
    ctypedef struct ft_simloop:
        pass
    void ft_simbus_init(ft_simbus *bus, int fd, int slave_fd, int64_t char_ns, int64_t gap_ns)
    int ft_simloop_init(ft_simloop *loop, ft_simbus **buses, uint32_t count)
    void ft_simloop_free(ft_simloop *loop)
    int ft_simloop_run(ft_simloop *loop)
    void ft_simloop_stop(ft_simloop *loop)

cdef class SimulatedBus:
    cdef ft_simbus *bus
    cdef ft_signal *signals     # what bus.server looks into

cdef class SimulatorLoop:
    cdef ft_simloop loop
    cdef ft_simbus **buses
    cdef tuple owners           # keeps the buses alive
    cdef bint ready
