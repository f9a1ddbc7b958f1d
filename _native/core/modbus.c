/* PDU bytes to their length, to whether they answer a request, and to frames. */
#include "modbus.h"

#include "crc.h"

#include <string.h>

/* What the byte count counts, as far as another field of the PDU tells. */
enum counted { NOTHING, BITS, REGISTERS, REGISTERS_AND_COUNT };

/* A 16-bit field with limits; at = 0: none. */
typedef struct field {
    uint8_t at;
    uint8_t counted;
    uint16_t min;
    uint16_t max;
} field;

/* How long the PDUs of one function are: `head` bytes, and as many more as the byte count says, if there is one. */
typedef struct shape {
    uint8_t head;      /* 0: no such function */
    uint8_t count_at;  /* 0: no byte count */
    uint8_t count_min;
    uint8_t count_max;
    uint8_t step;      /* the byte count is count_min plus a multiple of this */
    uint8_t wide;      /* 1: the byte count has 16 bits */
    field fields[2];
} shape;

#define FUNCTIONS 25 /* public codes with a fixed layout; 43 is walked object by object */

static const shape requests[FUNCTIONS] = {
    [FT_READ_COILS] = {.head = 5, .fields = {{3, NOTHING, 1, 2000}}},
    [FT_READ_DISCRETES] = {.head = 5, .fields = {{3, NOTHING, 1, 2000}}},
    [FT_READ_HOLDING] = {.head = 5, .fields = {{3, NOTHING, 1, 125}}},
    [FT_READ_INPUT] = {.head = 5, .fields = {{3, NOTHING, 1, 125}}},
    [FT_WRITE_COIL] = {.head = 5},
    [FT_WRITE_REGISTER] = {.head = 5},
    [FT_READ_EXCEPTION_STATUS] = {.head = 1},
    [FT_DIAGNOSTICS] = {.head = 5},
    [FT_EVENT_COUNTER] = {.head = 1},
    [FT_EVENT_LOG] = {.head = 1},
    [FT_WRITE_COILS] = {6, 5, 1, 246, 1, 0, {{3, BITS, 1, 1968}}},
    [FT_WRITE_REGISTERS] = {6, 5, 2, 246, 2, 0, {{3, REGISTERS, 1, 123}}},
    [FT_REPORT_SERVER_ID] = {.head = 1},
    [FT_READ_FILE] = {2, 1, 7, 245, 7, 0, {{0}}},
    [FT_WRITE_FILE] = {2, 1, 9, 251, 1, 0, {{0}}},
    [FT_MASK_WRITE] = {.head = 7},
    [FT_READ_WRITE] = {10, 9, 2, 242, 2, 0, {{3, NOTHING, 1, 125}, {7, REGISTERS, 1, 121}}},
    [FT_READ_FIFO] = {.head = 3},
};

static const shape responses[FUNCTIONS] = {
    [FT_READ_COILS] = {2, 1, 1, 250, 1, 0, {{0}}},
    [FT_READ_DISCRETES] = {2, 1, 1, 250, 1, 0, {{0}}},
    [FT_READ_HOLDING] = {2, 1, 2, 250, 2, 0, {{0}}},
    [FT_READ_INPUT] = {2, 1, 2, 250, 2, 0, {{0}}},
    [FT_WRITE_COIL] = {.head = 5},
    [FT_WRITE_REGISTER] = {.head = 5},
    [FT_READ_EXCEPTION_STATUS] = {.head = 2},
    [FT_DIAGNOSTICS] = {.head = 5},
    [FT_EVENT_COUNTER] = {.head = 5},
    [FT_EVENT_LOG] = {2, 1, 6, 70, 1, 0, {{0}}}, /* status, two counters, up to 64 events */
    [FT_WRITE_COILS] = {.head = 5, .fields = {{3, NOTHING, 1, 1968}}},
    [FT_WRITE_REGISTERS] = {.head = 5, .fields = {{3, NOTHING, 1, 123}}},
    [FT_REPORT_SERVER_ID] = {2, 1, 1, 251, 1, 0, {{0}}},
    [FT_READ_FILE] = {2, 1, 4, 244, 2, 0, {{0}}}, /* each record: length, type, registers */
    [FT_WRITE_FILE] = {2, 1, 9, 251, 1, 0, {{0}}},
    [FT_MASK_WRITE] = {.head = 7},
    [FT_READ_WRITE] = {2, 1, 2, 250, 2, 0, {{0}}},
    [FT_READ_FIFO] = {3, 1, 2, 64, 2, 1, {{3, REGISTERS_AND_COUNT, 0, 31}}},
};

static unsigned counted_bytes(const field *f, unsigned quantity)
{
    switch (f->counted) {
    case BITS:
        return (quantity + 7) / 8;
    case REGISTERS:
        return 2 * quantity;
    default:
        return 2 + 2 * quantity;
    }
}

/* 1 when the field is within its limits and agrees with the byte count, or is not there to tell. */
static int field_fits(const field *f, const uint8_t *pdu, size_t n, int count)
{
    if (f->at == 0 || n < (size_t)f->at + 2) {
        return 1;
    }
    unsigned quantity = ft_u16(pdu + f->at);
    if (quantity < f->min || quantity > f->max) {
        return 0;
    }
    return f->counted == NOTHING || count < 0 || (unsigned)count == counted_bytes(f, quantity);
}

/* The byte count, -1 when it is not there yet. */
static int byte_count(const shape *s, const uint8_t *pdu, size_t n)
{
    if (s->count_at == 0 || n < (size_t)s->count_at + 1 + s->wide) {
        return -1;
    }
    return s->wide ? ft_u16(pdu + s->count_at) : pdu[s->count_at];
}

static int shaped_length(const shape *s, const uint8_t *pdu, size_t n)
{
    int count = byte_count(s, pdu, n);
    if (s->head == 0) {
        return FT_NO_SUCH_FUNCTION;
    }
    if (!field_fits(&s->fields[0], pdu, n, count) || !field_fits(&s->fields[1], pdu, n, count)) {
        return FT_OUT_OF_LIMITS;
    }
    if (s->count_at == 0) {
        return s->head;
    }
    if (count < 0) {
        return 0;
    }
    int fits = count >= s->count_min && count <= s->count_max && (count - s->count_min) % s->step == 0;
    return fits ? s->head + count : FT_OUT_OF_LIMITS;
}

#define MEI_DEVICE 14          /* the only encapsulated interface with a public layout for RTU */
#define DEVICE_CODES 4         /* basic, regular, extended, one object */
#define DEVICE_REQUEST_BYTES 4
#define DEVICE_HEAD_BYTES 7    /* function, MEI, code, conformity, more follows, next object, number of objects */

/* What the first three bytes of function 43 allow: 1, or a reason below 0. */
static int device_head(const uint8_t *pdu, size_t n)
{
    if (n > 1 && pdu[1] != MEI_DEVICE) {
        return FT_NO_SUCH_FUNCTION;
    }
    return n > 2 && (pdu[2] < 1 || pdu[2] > DEVICE_CODES) ? FT_OUT_OF_LIMITS : 1;
}

/* Objects are (id, length, value); the length is known with the last object's own. */
static int device_response_length(const uint8_t *pdu, size_t n)
{
    size_t end = DEVICE_HEAD_BYTES;
    int head = device_head(pdu, n);
    if (head < 0) {
        return head;
    }
    if (n < DEVICE_HEAD_BYTES) {
        return 0;
    }
    for (unsigned objects = pdu[DEVICE_HEAD_BYTES - 1]; objects > 0; objects--) {
        if (end + 2 > FT_MAX_PDU) {
            return FT_OUT_OF_LIMITS;
        }
        if (n < end + 2) {
            return 0;
        }
        end += 2u + pdu[end + 1];
    }
    return end > FT_MAX_PDU ? FT_OUT_OF_LIMITS : (int)end;
}

int ft_request_length(const uint8_t *pdu, size_t n)
{
    if (n == 0) {
        return 0;
    }
    if (pdu[0] == FT_READ_DEVICE) {
        int head = device_head(pdu, n);
        return head < 0 ? head : DEVICE_REQUEST_BYTES;
    }
    return pdu[0] < FUNCTIONS ? shaped_length(&requests[pdu[0]], pdu, n) : FT_NO_SUCH_FUNCTION;
}

int ft_response_length(const uint8_t *pdu, size_t n)
{
    if (n == 0) {
        return 0;
    }
    if (pdu[0] > FT_EXCEPTION_BIT) {
        return FT_EXCEPTION_PDU;
    }
    if (pdu[0] == FT_READ_DEVICE) {
        return device_response_length(pdu, n);
    }
    return pdu[0] < FUNCTIONS ? shaped_length(&responses[pdu[0]], pdu, n) : FT_NO_SUCH_FUNCTION;
}

#define FILE_REFERENCE_BYTES 7 /* reference type, file, record, number of registers */
#define FILE_REFERENCE 6       /* the only reference type there is */

static int file_answer_length(const uint8_t *request, size_t request_n)
{
    int length = 2;
    for (size_t at = 2; at + FILE_REFERENCE_BYTES <= request_n; at += FILE_REFERENCE_BYTES)
        length += 2 + 2 * ft_u16(request + at + FILE_REFERENCE_BYTES - 2);
    return length;
}

/* 1 when the groups of a file's records are those asked for, as far as they are there: (length, reference type,
 * registers) for each reference of the request. */
static int file_groups_fit(const uint8_t *request, size_t request_n, const uint8_t *response, size_t n)
{
    size_t group = 2;
    for (size_t at = 2; at + FILE_REFERENCE_BYTES <= request_n; at += FILE_REFERENCE_BYTES) {
        unsigned bytes = 1 + 2u * ft_u16(request + at + FILE_REFERENCE_BYTES - 2);
        if ((n > group && response[group] != bytes) || (n > group + 1 && response[group + 1] != FILE_REFERENCE))
            return 0;
        group += 1 + bytes;
    }
    return 1;
}

#define ONE_OBJECT 4 /* the code of function 43/14 that asks for a single object */

/* 1 when the objects begin where the request wants them to, as far as they are there. A device that does not have the
 * object from which to go on begins with its first. */
static int objects_fit(const uint8_t *request, const uint8_t *response, size_t n)
{
    int is_single = request[2] == ONE_OBJECT;
    unsigned objects = n >= DEVICE_HEAD_BYTES ? response[DEVICE_HEAD_BYTES - 1] : 1;
    unsigned first = n > DEVICE_HEAD_BYTES ? response[DEVICE_HEAD_BYTES] : request[3];
    if (is_single && objects != 1)
        return 0;
    return objects == 0 || first == request[3] || (first == 0 && !is_single);
}

/* What the header does not tell of an answer. */
static int inside_fits(const uint8_t *request, size_t request_n, const uint8_t *response, size_t n)
{
    switch (request[0]) {
    case FT_READ_FILE:
        return file_groups_fit(request, request_n, response, n);
    case FT_READ_DEVICE:
        return request_n < DEVICE_REQUEST_BYTES || objects_fit(request, response, n);
    default:
        return 1;
    }
}

int ft_normal_length(const uint8_t *request, size_t request_n)
{
    unsigned quantity = request_n >= 5 ? ft_u16(request + 3) : 0;
    if (request_n == 0)
        return 0;
    switch (request[0]) {
    case FT_READ_COILS:
    case FT_READ_DISCRETES:
        return (int)(2 + (quantity + 7) / 8);
    case FT_READ_HOLDING:
    case FT_READ_INPUT:
    case FT_READ_WRITE:
        return (int)(2 + 2 * quantity);
    case FT_DIAGNOSTICS:
    case FT_WRITE_FILE:
        return (int)request_n;
    case FT_READ_FILE:
        return file_answer_length(request, request_n);
    default:
        return request[0] < FUNCTIONS && responses[request[0]].count_at == 0 ? responses[request[0]].head : 0;
    }
}

/* Sub-functions of diagnostics whose answer is the request: they tell nothing, they do something. The others answer data
 * of their own. */
static int is_returned(unsigned sub_function)
{
    switch (sub_function) {
    case FT_LOOP_BACK:
    case FT_RESTART:
    case FT_DELIMITER:
    case FT_CLEAR_COUNTERS:
    case FT_CLEAR_OVERRUN:
        return 1;
    default:
        return 0;
    }
}

/* How many of the request's first bytes the answer repeats. */
static size_t repeated_bytes(const uint8_t *request, size_t request_n)
{
    switch (request[0]) {
    case FT_WRITE_COIL:
    case FT_WRITE_REGISTER:
    case FT_WRITE_FILE:
    case FT_MASK_WRITE:
        return request_n;
    case FT_DIAGNOSTICS:
        return request_n >= 3 && !is_returned(ft_u16(request + 1)) ? 3 : request_n;
    case FT_WRITE_COILS:
    case FT_WRITE_REGISTERS:
        return 5;
    case FT_READ_DEVICE:
        return 3;
    default:
        return 1;
    }
}

int ft_answer_length(const uint8_t *request, size_t request_n, const uint8_t *response, size_t n)
{
    if (n == 0) {
        return 0;
    }
    if (request_n == 0) {
        return FT_NOT_THE_ANSWER;
    }
    if (response[0] == (request[0] | FT_EXCEPTION_BIT)) {
        return FT_EXCEPTION_PDU;
    }
    size_t repeated = repeated_bytes(request, request_n);
    size_t compared = repeated < n ? repeated : n;
    if (compared > request_n || memcmp(request, response, compared) != 0
        || !inside_fits(request, request_n, response, n)) {
        return FT_NOT_THE_ANSWER;
    }
    int wanted = ft_normal_length(request, request_n);
    int length = request[0] == FT_DIAGNOSTICS ? wanted : ft_response_length(response, n);
    return wanted > 0 && length > 0 && length != wanted ? FT_NOT_THE_ANSWER : length;
}

int ft_answers(const uint8_t *request, size_t request_n, const uint8_t *response, size_t n)
{
    return n > 0 && ft_answer_length(request, request_n, response, n) == (int)n;
}

int ft_is_mirrored(uint8_t function)
{
    switch (function) {
    case FT_WRITE_COIL:
    case FT_WRITE_REGISTER:
    case FT_READ_EXCEPTION_STATUS: /* one of its 256 answers begins with the request, CRC and all */
    case FT_DIAGNOSTICS:
    case FT_WRITE_FILE:
    case FT_MASK_WRITE:
        return 1;
    default:
        return 0;
    }
}

int ft_crc_fits(const uint8_t *adu, size_t n)
{
    if (n <= FT_CRC_BYTES) {
        return 0;
    }
    uint16_t crc = ft_crc16(adu, n - FT_CRC_BYTES);
    return adu[n - 2] == (crc & 0xFF) && adu[n - 1] == crc >> 8;
}

size_t ft_frame(enum ft_framing framing, uint16_t transaction, uint8_t unit, const uint8_t *pdu, size_t n,
                uint8_t *out)
{
    if (framing == FT_TCP) {
        ft_put_u16(out, transaction);
        ft_put_u16(out + 2, 0);
        ft_put_u16(out + 4, (uint16_t)(n + 1));
        out[6] = unit;
        memcpy(out + FT_MBAP_BYTES, pdu, n);
        return FT_MBAP_BYTES + n;
    }
    out[0] = unit;
    memcpy(out + 1, pdu, n);
    uint16_t crc = ft_crc16(out, n + 1);
    out[n + 1] = (uint8_t)(crc & 0xFF);
    out[n + 2] = (uint8_t)(crc >> 8);
    return n + 3;
}
