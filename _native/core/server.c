#include "server.h"

#include <string.h>

#include "sample.h"

#define LAST_UNIT 247

static int has_unit(const uint8_t units[FT_UNITS / 8], uint8_t unit)
{
    return units[unit / 8] >> (unit % 8) & 1;
}

int ft_server_init(ft_server *server, enum ft_framing framing, const uint8_t units[FT_UNITS / 8],
                   const ft_signal *signals, size_t count, const ft_faults *faults, uint64_t seed)
{
    memset(server, 0, sizeof *server);
    if (ft_bank_init(&server->bank, signals, count) != 0)
        return -1;
    server->framing = framing;
    memcpy(server->units, units, sizeof server->units);
    server->faults = *faults;
    server->random = seed;
    return 0;
}

/* One request being carried out for one unit. */
typedef struct job {
    ft_server *server;
    const uint8_t *pdu;
    size_t n;
    int64_t tick;
    uint8_t *out; /* room for FT_MAX_PDU bytes */
    size_t out_bytes;
    uint8_t unit;
} job;

enum { ILLEGAL_FUNCTION = 1, ILLEGAL_ADDRESS = 2, ILLEGAL_VALUE = 3, DEVICE_FAILURE = 4, NO_PATH = 0x0B };

static int write_value(const job *j, uint8_t table, uint16_t address, uint16_t value)
{
    if (ft_bank_write(&j->server->bank, j->unit, table, address, value) != 0)
        return DEVICE_FAILURE;
    ft_count(&j->server->counts[FT_COUNT_WRITTEN], 1);
    return 0;
}

static void fill_registers(const job *j, uint8_t table, uint16_t address, uint16_t quantity, uint8_t *out)
{
    ft_range range = {.unit = j->unit, .table = table, .address = address, .quantity = quantity};
    ft_bank_registers(&j->server->bank, &range, j->tick, out);
}

static int bit_at(const job *j, uint8_t table, uint16_t address)
{
    return ft_bank_bit(&j->server->bank, j->unit, table, address, j->tick);
}

/* ---- one function code each: 0, or the exception ------------------------------------------------------------- */

static int outside(uint16_t address, uint16_t quantity)
{
    return (uint32_t)address + quantity > 0x10000;
}

static int read_bits(job *j)
{
    uint8_t table = j->pdu[0] == FT_READ_COILS ? FT_COIL : FT_DISCRETE;
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (outside(address, quantity))
        return ILLEGAL_ADDRESS;
    j->out[1] = (uint8_t)((quantity + 7) / 8);
    memset(j->out + 2, 0, j->out[1]);
    for (uint16_t i = 0; i < quantity; i++)
        j->out[2 + i / 8] |= (uint8_t)(bit_at(j, table, (uint16_t)(address + i)) << (i % 8));
    j->out_bytes = 2 + (size_t)j->out[1];
    ft_count(&j->server->counts[FT_COUNT_VALUES], quantity);
    return 0;
}

static int answer_registers(job *j, uint8_t table, uint16_t address, uint16_t quantity)
{
    j->out[1] = (uint8_t)(2 * quantity);
    fill_registers(j, table, address, quantity, j->out + 2);
    j->out_bytes = 2 + 2 * (size_t)quantity;
    ft_count(&j->server->counts[FT_COUNT_VALUES], quantity);
    return 0;
}

static int read_registers(job *j)
{
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (outside(address, quantity))
        return ILLEGAL_ADDRESS;
    return answer_registers(j, j->pdu[0] == FT_READ_HOLDING ? FT_HOLDING : FT_INPUT, address, quantity);
}

/* The answer to a write begins as the request did. */
static int echo(job *j, size_t n)
{
    memcpy(j->out, j->pdu, n);
    j->out_bytes = n;
    return 0;
}

static int write_coil(job *j)
{
    uint16_t value = ft_u16(j->pdu + 3);
    if (value != 0x0000 && value != 0xFF00)
        return ILLEGAL_VALUE;
    int code = write_value(j, FT_COIL, ft_u16(j->pdu + 1), value != 0);
    return code ? code : echo(j, 5);
}

static int write_register(job *j)
{
    int code = write_value(j, FT_HOLDING, ft_u16(j->pdu + 1), ft_u16(j->pdu + 3));
    return code ? code : echo(j, 5);
}

static int write_coils(job *j)
{
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (outside(address, quantity))
        return ILLEGAL_ADDRESS;
    for (uint16_t i = 0; i < quantity; i++) {
        int code = write_value(j, FT_COIL, (uint16_t)(address + i), j->pdu[6 + i / 8] >> (i % 8) & 1);
        if (code)
            return code;
    }
    return echo(j, 5);
}

static int store_registers(job *j, uint16_t address, uint16_t quantity, const uint8_t *values)
{
    for (uint16_t i = 0; i < quantity; i++) {
        int code = write_value(j, FT_HOLDING, (uint16_t)(address + i), ft_u16(values + 2 * i));
        if (code)
            return code;
    }
    return 0;
}

static int write_registers(job *j)
{
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (outside(address, quantity))
        return ILLEGAL_ADDRESS;
    int code = store_registers(j, address, quantity, j->pdu + 6);
    return code ? code : echo(j, 5);
}

static int mask_register(job *j)
{
    uint8_t now[2];
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t and_mask = ft_u16(j->pdu + 3);
    uint16_t or_mask = ft_u16(j->pdu + 5);
    fill_registers(j, FT_HOLDING, address, 1, now);
    uint16_t masked = (uint16_t)((ft_u16(now) & and_mask) | (or_mask & (uint16_t)~and_mask));
    int code = write_value(j, FT_HOLDING, address, masked);
    return code ? code : echo(j, 7);
}

static int write_and_read(job *j)
{
    uint16_t from = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    uint16_t to = ft_u16(j->pdu + 5);
    uint16_t written = ft_u16(j->pdu + 7);
    if (outside(from, quantity) || outside(to, written))
        return ILLEGAL_ADDRESS;
    int code = store_registers(j, to, written, j->pdu + 10);
    return code ? code : answer_registers(j, FT_HOLDING, from, quantity);
}

/* The eight coils from 0 stand for the device's exception status. */
static int exception_status(job *j)
{
    j->out[1] = 0;
    for (uint16_t i = 0; i < 8; i++)
        j->out[1] |= (uint8_t)(bit_at(j, FT_COIL, i) << i);
    j->out_bytes = 2;
    return 0;
}

static int diagnostics(job *j)
{
    return ft_u16(j->pdu + 1) == 0 ? echo(j, j->n) : ILLEGAL_FUNCTION;
}

static int event_counter(job *j)
{
    ft_put_u16(j->out + 1, 0);
    ft_put_u16(j->out + 3, (uint16_t)atomic_load_explicit(&j->server->counts[FT_COUNT_ANSWERED], memory_order_relaxed));
    j->out_bytes = 5;
    return 0;
}

static const char *const IDENTITY[] = {"fieldtap", "simulator", "1"}; /* vendor, product code, revision */
enum { IDENTITY_OBJECTS = 3, RUNNING = 0xFF, CONFORMITY = 0x81 /* basic, stream and single access */ };

static size_t put_text(uint8_t *out, const char *text)
{
    size_t n = strlen(text);
    memcpy(out, text, n);
    return n;
}

static int server_id(job *j)
{
    size_t n = put_text(j->out + 2, IDENTITY[0]);
    j->out[2 + n] = RUNNING;
    j->out[1] = (uint8_t)(n + 1);
    j->out_bytes = 3 + n;
    return 0;
}

static int device_identification(job *j)
{
    uint8_t access = j->pdu[2]; /* 1 basic, 2 regular, 3 extended: all from one object on; 4: one object */
    uint8_t first = j->pdu[3];
    if (first >= IDENTITY_OBJECTS) {
        if (access == 4)
            return ILLEGAL_ADDRESS;
        first = 0; /* the specification restarts streams at the beginning */
    }
    uint8_t end = access == 4 ? (uint8_t)(first + 1) : IDENTITY_OBJECTS;
    const uint8_t head[7] = {FT_READ_DEVICE, 14, access, CONFORMITY, 0, 0, (uint8_t)(end - first)};
    memcpy(j->out, head, sizeof head);
    j->out_bytes = sizeof head;
    for (uint8_t object = first; object < end; object++) {
        size_t n = put_text(j->out + j->out_bytes + 2, IDENTITY[object]);
        j->out[j->out_bytes] = object;
        j->out[j->out_bytes + 1] = (uint8_t)n;
        j->out_bytes += 2 + n;
    }
    return 0;
}

typedef int (*handler)(job *);

static handler handler_of(uint8_t function)
{
    switch (function) {
    case FT_READ_COILS:
    case FT_READ_DISCRETES: return read_bits;
    case FT_READ_HOLDING:
    case FT_READ_INPUT: return read_registers;
    case FT_WRITE_COIL: return write_coil;
    case FT_WRITE_REGISTER: return write_register;
    case FT_READ_EXCEPTION_STATUS: return exception_status;
    case FT_DIAGNOSTICS: return diagnostics;
    case FT_EVENT_COUNTER: return event_counter;
    case FT_WRITE_COILS: return write_coils;
    case FT_WRITE_REGISTERS: return write_registers;
    case FT_REPORT_SERVER_ID: return server_id;
    case FT_MASK_WRITE: return mask_register;
    case FT_READ_WRITE: return write_and_read;
    case FT_READ_DEVICE: return device_identification;
    default: return NULL;
    }
}

static void deny(job *j, uint8_t code)
{
    j->out[0] = j->pdu[0] | FT_EXCEPTION_BIT;
    j->out[1] = code;
    j->out_bytes = 2;
}

/* What the table of lengths says of the request: 0, or the exception. It has checked quantities and byte counts too.
 * Loop-back data may be longer than it can tell. */
static int refusal(const job *j)
{
    int length = ft_request_length(j->pdu, j->n);
    if (length == FT_NO_SUCH_FUNCTION)
        return ILLEGAL_FUNCTION;
    if (length == (int)j->n || (length > 0 && length < (int)j->n && j->pdu[0] == FT_DIAGNOSTICS))
        return 0;
    return ILLEGAL_VALUE;
}

static void execute(job *j)
{
    handler handle = handler_of(j->pdu[0]);
    int code = handle == NULL ? ILLEGAL_FUNCTION : refusal(j);
    j->out[0] = j->pdu[0];
    if (code == 0)
        code = handle(j);
    if (code != 0) {
        deny(j, (uint8_t)code);
        ft_count(&j->server->counts[FT_COUNT_EXCEPTIONS], 1);
    }
}

/* ---- answers, and what can happen to them -------------------------------------------------------------------- */

static uint32_t draw(ft_server *server)
{
    return (uint32_t)(ft_mix(server->random++) >> 32);
}

static int strikes(ft_server *server, enum ft_fault fault)
{
    uint64_t chance = server->faults.chance[fault];
    if (chance == 0 || draw(server) >= chance)
        return 0;
    ft_count(&server->faults_applied[fault], 1);
    return 1;
}

static int stays_silent(ft_server *server, uint8_t unit)
{
    if (has_unit(server->faults.dead, unit)) {
        ft_count(&server->faults_applied[FT_FAULT_DEAD], 1);
        return 1;
    }
    return strikes(server, FT_FAULT_DROP);
}

int ft_server_echoes(ft_server *server)
{
    return server->framing != FT_TCP && strikes(server, FT_FAULT_ECHO);
}

size_t ft_server_babble(ft_server *server, uint8_t *out, int64_t *after_ns)
{
    if (server->framing == FT_TCP || !strikes(server, FT_FAULT_BABBLE))
        return 0;
    size_t n = 1 + draw(server) % FT_BABBLE_BYTES;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)draw(server);
    *after_ns = draw(server) % FT_BABBLE_WITHIN_NS;
    return n;
}

static void add(ft_answer *answer, const uint8_t *bytes, size_t n)
{
    memcpy(answer->adu + answer->bytes, bytes, n);
    answer->bytes += n;
}

static void add_noise(ft_server *server, ft_answer *answer)
{
    static const uint8_t NOISE[] = {0x00, 0xFF, 0xFE, 0x80};
    size_t n = 1 + draw(server) % FT_GLITCH_BYTES;
    for (size_t i = 0; i < n; i++)
        add(answer, &NOISE[draw(server) % sizeof NOISE], 1);
}

static size_t damage(ft_server *server, uint8_t *adu, size_t n)
{
    if (strikes(server, FT_FAULT_CRC))
        adu[draw(server) % n] ^= (uint8_t)(1 << draw(server) % 8);
    if (strikes(server, FT_FAULT_TRUNCATE))
        n = 1 + draw(server) % (n - 1);
    return n;
}

/* One that is not played here: an answer in another's name may come when that one is asked. */
static uint8_t other_unit(const ft_server *server, uint8_t unit)
{
    uint8_t other = unit;
    do
        other = (uint8_t)(other % LAST_UNIT + 1);
    while (other != unit && has_unit(server->units, other));
    return other != unit ? other : (uint8_t)(unit % LAST_UNIT + 1);
}

static void compose(ft_server *server, const ft_request *request, const job *j, ft_answer *answer)
{
    uint8_t adu[FT_MAX_ASCII];
    uint8_t unit = strikes(server, FT_FAULT_WRONG_UNIT) ? other_unit(server, request->unit) : request->unit;
    size_t n = ft_frame_any(server->framing, request->transaction, unit, j->out, j->out_bytes, adu);
    answer->late_ns = strikes(server, FT_FAULT_LATE) ? server->faults.late_ns : 0;
    if (server->framing != FT_TCP) {
        if (strikes(server, FT_FAULT_GLITCH))
            add_noise(server, answer);
        n = damage(server, adu, n);
    }
    add(answer, adu, n);
}

static int is_write(uint8_t function)
{
    return function == FT_WRITE_COIL || function == FT_WRITE_REGISTER || function == FT_WRITE_COILS ||
           function == FT_WRITE_REGISTERS || function == FT_MASK_WRITE;
}

/* A broadcast write is for every unit, and nobody answers it. */
static void broadcast(job *j)
{
    if (!is_write(j->pdu[0]))
        return;
    for (int unit = 1; unit < FT_UNITS; unit++) {
        j->unit = (uint8_t)unit;
        if (has_unit(j->server->units, j->unit))
            execute(j);
    }
}

static void answer_unit(ft_server *server, const ft_request *request, job *j, ft_answer *answer)
{
    ft_count(&server->counts[FT_COUNT_REQUESTS], 1);
    if (stays_silent(server, request->unit))
        return;
    if (strikes(server, FT_FAULT_EXCEPTION))
        deny(j, server->faults.exception_code);
    else
        execute(j);
    compose(server, request, j, answer);
    ft_count(&server->counts[FT_COUNT_ANSWERED], 1);
}

void ft_server_answer(ft_server *server, const ft_request *request, int64_t wall_ns, ft_answer *answer)
{
    uint8_t out[FT_MAX_PDU];
    job j = {server, request->pdu, request->pdu_bytes, wall_ns / FT_TICK_NS, out, 0, request->unit};
    answer->bytes = 0;
    answer->late_ns = 0;
    if (has_unit(server->units, request->unit)) {
        answer_unit(server, request, &j, answer);
        return;
    }
    ft_count(&server->counts[FT_COUNT_FOREIGN], 1);
    if (server->framing == FT_TCP) {
        deny(&j, NO_PATH);
        compose(server, request, &j, answer);
    } else if (request->unit == 0) {
        broadcast(&j);
    }
}
