/* Modbus PDUs: how long they are, which answers which, and how they are framed. One table serves master, simulator
 * and listener. Sources of the limits: Modbus Application Protocol V1.1b3, Modbus over Serial Line V1.02. */
#ifndef FT_MODBUS_H
#define FT_MODBUS_H

#include <stddef.h>
#include <stdint.h>

/* ASCII is a line's notation of RTU frames (ascii.h): between the line's edges there are RTU and TCP. */
enum ft_framing { FT_RTU = 0, FT_TCP, FT_ASCII };

#define FT_MAX_PDU 253      /* function code and data */
#define FT_MAX_RTU 256      /* unit, PDU, CRC */
#define FT_MAX_TCP 260      /* MBAP header, PDU */
#define FT_MBAP_BYTES 7     /* transaction, protocol, length, unit */
#define FT_UNIT_AT 6        /* in a TCP frame */
#define FT_CRC_BYTES 2
#define FT_EXCEPTION_BIT 0x80u
#define FT_EXCEPTION_PDU 2  /* function with the exception bit, code */

enum ft_function {
    FT_READ_COILS = 1, FT_READ_DISCRETES = 2, FT_READ_HOLDING = 3, FT_READ_INPUT = 4,
    FT_WRITE_COIL = 5, FT_WRITE_REGISTER = 6, FT_READ_EXCEPTION_STATUS = 7, FT_DIAGNOSTICS = 8,
    FT_EVENT_COUNTER = 11, FT_EVENT_LOG = 12, FT_WRITE_COILS = 15, FT_WRITE_REGISTERS = 16, FT_REPORT_SERVER_ID = 17,
    FT_READ_FILE = 20, FT_WRITE_FILE = 21, FT_MASK_WRITE = 22, FT_READ_WRITE = 23, FT_READ_FIFO = 24,
    FT_READ_DEVICE = 43
};

enum ft_diagnostic { /* sub-functions of FT_DIAGNOSTICS; 11 to 18 are counters */
    FT_LOOP_BACK = 0, FT_RESTART = 1, FT_DIAGNOSTIC_REGISTER = 2, FT_DELIMITER = 3, FT_LISTEN_ONLY = 4,
    FT_CLEAR_COUNTERS = 10, FT_BUS_MESSAGES = 11, FT_BUS_ERRORS = 12, FT_UNIT_EXCEPTIONS = 13, FT_UNIT_MESSAGES = 14,
    FT_UNIT_SILENT = 15, FT_UNIT_REFUSALS = 16, FT_UNIT_BUSY = 17, FT_BUS_OVERRUNS = 18, FT_CLEAR_OVERRUN = 20
};

/* Why bytes cannot be the beginning of a PDU, or of the answer. A server replies to the first with exception 1 and to
 * the second with exception 3. */
enum { FT_NO_SUCH_FUNCTION = -1, FT_OUT_OF_LIMITS = -2, FT_NOT_THE_ANSWER = -3 };

/* Length of the PDU that begins with these n bytes: > 0 the length (it may be more than n), 0 more bytes are needed to
 * know, < 0 one of the reasons above. Every limit is checked as soon as its bytes are there, so a result > 0 may still
 * turn into < 0 with more bytes. Diagnostics (8) count as 5 bytes: the bytes do not tell of longer loop-back data. */
int ft_request_length(const uint8_t *pdu, size_t n);
int ft_response_length(const uint8_t *pdu, size_t n);

/* Length of the normal answer's PDU as far as the request fixes it, else 0. */
int ft_normal_length(const uint8_t *request, size_t request_n);

/* As ft_response_length, for the answer to this very request: < 0 also where function, byte count, an echoed field, the
 * records of a file or the first object of an identification differ from what the request asks for. Exceptions (2 bytes) of the request's function are answers too. */
int ft_answer_length(const uint8_t *request, size_t request_n, const uint8_t *response, size_t n);

/* 1 when this whole response PDU answers this request PDU, else 0. The unit is the framer's to check. */
int ft_answers(const uint8_t *request, size_t request_n, const uint8_t *response, size_t n);

/* 1 for functions whose normal answer is a copy of the request, or may begin with one: an echo cannot be told from it. */
int ft_is_mirrored(uint8_t function);

/* Build an ADU around a PDU of n <= FT_MAX_PDU bytes: RTU adds unit and CRC (transaction is not used), TCP the MBAP
 * header. `out` holds FT_MAX_TCP bytes. Returns the ADU's length. */
size_t ft_frame(enum ft_framing framing, uint16_t transaction, uint8_t unit, const uint8_t *pdu, size_t n,
                uint8_t *out);

/* 1 when the last two of n bytes are the CRC of those before; 0 too when there are no more than two. */
int ft_crc_fits(const uint8_t *adu, size_t n);

static inline uint16_t ft_u16(const uint8_t *bytes) /* a 16-bit field as Modbus sends it: high byte first */
{
    return (uint16_t)((bytes[0] << 8) | bytes[1]);
}

static inline void ft_put_u16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

#endif
