from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from agent._native.samples cimport ft_sample


cdef extern from "core/crc.h":
    uint16_t ft_crc16(const uint8_t *bytes, size_t n) noexcept nogil


cdef extern from "core/modbus.h":
    enum ft_framing:
        FT_RTU
        FT_TCP
        FT_ASCII
    enum:
        FT_MAX_PDU
        FT_MAX_RTU
        FT_MAX_TCP

    int ft_request_length(const uint8_t *pdu, size_t n) noexcept nogil
    int ft_response_length(const uint8_t *pdu, size_t n) noexcept nogil
    int ft_normal_length(const uint8_t *request, size_t request_n) noexcept nogil
    int ft_crc_fits(const uint8_t *adu, size_t n) noexcept nogil
    int ft_answers(const uint8_t *request, size_t request_n, const uint8_t *response, size_t n) noexcept nogil
    size_t ft_frame(ft_framing framing, uint16_t transaction, uint8_t unit, const uint8_t *pdu, size_t n,
                    uint8_t *out) noexcept nogil


cdef extern from "core/ascii.h":
    enum:
        FT_MAX_ASCII

    ctypedef struct ft_ascii:
        pass

    size_t ft_ascii_decode(ft_ascii *line, const uint8_t *characters, size_t n, uint8_t *out) noexcept nogil
    size_t ft_ascii_encode(const uint8_t *frame, size_t n, uint8_t *out) noexcept nogil


cdef extern from "core/master.h":
    enum ft_outcome:
        FT_PENDING
        FT_ANSWERED
        FT_EXCEPTION
        FT_TIMED_OUT

    ctypedef struct ft_master_counts:
        uint64_t crc_errors
        uint64_t truncated
        uint64_t foreign
        uint64_t echoes
        uint64_t garbage_bytes
        uint64_t stale_bytes
        uint64_t collisions

    ctypedef struct ft_master:
        ft_framing framing
        ft_outcome outcome
        ft_master_counts counts
        ft_ascii *ascii
        size_t heard
        int64_t first_ns

    void ft_master_init(ft_master *m, ft_framing framing, int64_t char_ns) noexcept nogil
    void ft_master_reset(ft_master *m) noexcept nogil
    void ft_master_begin(ft_master *m, int64_t now, const uint8_t *adu, size_t n, size_t response_bytes,
                         int64_t timeout_ns) noexcept nogil
    ft_outcome ft_master_feed(ft_master *m, int64_t now, const uint8_t *bytes, size_t n) noexcept nogil
    ft_outcome ft_master_expire(ft_master *m, int64_t now) noexcept nogil
    int64_t ft_master_deadline(const ft_master *m) noexcept nogil
    size_t ft_master_missing(const ft_master *m) noexcept nogil
    const uint8_t *ft_master_pdu(const ft_master *m, size_t *n) noexcept nogil


cdef extern from "core/plan.h":
    ctypedef struct ft_point:
        pass
    ctypedef struct ft_block:
        uint8_t function
        uint16_t quantity


cdef extern from "core/decode.h":
    int ft_block_fits(const ft_block *block, const ft_point *points, size_t point_total) noexcept nogil
    size_t ft_block_records(const ft_block *block, const ft_point *points) noexcept nogil
    size_t ft_decode(const ft_block *block, const ft_point *points, const uint8_t *data, int64_t time_ns,
                     ft_sample *out) noexcept nogil
    size_t ft_decode_failed(const ft_block *block, const ft_point *points, uint8_t quality, uint8_t detail,
                            int64_t time_ns, ft_sample *out) noexcept nogil


cdef extern from "core/encode.h":
    int ft_encode_value(uint8_t type, uint8_t order, uint64_t raw, uint8_t *registers_out) noexcept nogil
    int ft_encode_text(uint8_t order, const uint8_t *text, size_t n, uint8_t *registers_out) noexcept nogil


cdef class FromAscii:
    cdef ft_ascii line


cdef class Master:
    cdef ft_master m
    cdef FromAscii line  # m.ascii is its
