#include "server.h"

#include <string.h>

#include "job.h"
#include "nameplate.h"

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

int ft_server_name(ft_server *server, const uint8_t *plates, size_t n)
{
    if (!ft_plates_fit(plates, n))
        return -1;
    server->plates = plates;
    server->plates_bytes = n;
    return 0;
}

void ft_server_heard_noise(ft_server *server)
{
    server->line.errors++;
}

/* ---- one request --------------------------------------------------------------------------------------------- */

static void deny(ft_job *j, uint8_t code)
{
    j->out[0] = j->pdu[0] | FT_EXCEPTION_BIT;
    j->out[1] = code;
    j->out_bytes = 2;
}

/* What the table of lengths says of the request: 0, or the exception. It has checked quantities and byte counts too.
 * Loop-back data may be longer than it can tell. */
static int refusal(const ft_job *j)
{
    int length = ft_request_length(j->pdu, j->n);
    if (length == FT_NO_SUCH_FUNCTION)
        return FT_ILLEGAL_FUNCTION;
    if (length == (int)j->n || (length > 0 && length < (int)j->n && j->pdu[0] == FT_DIAGNOSTICS))
        return 0;
    return FT_ILLEGAL_VALUE;
}

static ft_handler handler_of(uint8_t function)
{
    ft_handler handler = ft_data_handler(function);
    return handler ? handler : ft_service_handler(function);
}

static void execute(ft_job *j)
{
    ft_handler handle = handler_of(j->pdu[0]);
    int code = handle == NULL ? FT_ILLEGAL_FUNCTION : refusal(j);
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

static void compose(ft_server *server, const ft_request *request, const ft_job *j, ft_answer *answer)
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

static int is_restart(const ft_job *j)
{
    return j->pdu[0] == FT_DIAGNOSTICS && j->n == 5 && ft_u16(j->pdu + 1) == FT_RESTART;
}

/* What the unit makes of the request, and what it notes down of it. */
static void deal_with(ft_job *j, int is_broadcast)
{
    ft_diary *diary = &j->server->diaries[j->unit];
    ft_diary_received(diary, is_broadcast);
    if (diary->only_listens && !is_restart(j))
        j->keeps_silent = 1;
    else if (!is_broadcast && strikes(j->server, FT_FAULT_EXCEPTION))
        deny(j, j->server->faults.exception_code);
    else
        execute(j);
    if (is_broadcast || j->keeps_silent)
        ft_diary_kept_silent(diary);
    else
        ft_diary_answered(diary, j->pdu[0], j->out[0] & FT_EXCEPTION_BIT ? j->out[1] : 0);
}

/* A broadcast write is for every unit, and nobody answers it. */
static void broadcast(ft_job *j)
{
    if (!is_write(j->pdu[0]))
        return;
    for (int unit = 1; unit < FT_UNITS; unit++) {
        j->unit = (uint8_t)unit;
        if (has_unit(j->server->units, j->unit))
            deal_with(j, 1);
    }
}

static void answer_unit(ft_server *server, const ft_request *request, ft_job *j, ft_answer *answer)
{
    ft_count(&server->counts[FT_COUNT_REQUESTS], 1);
    if (stays_silent(server, request->unit))
        return;
    deal_with(j, 0);
    if (j->keeps_silent)
        return;
    compose(server, request, j, answer);
    ft_count(&server->counts[FT_COUNT_ANSWERED], 1);
}

void ft_server_answer(ft_server *server, const ft_request *request, int64_t wall_ns, ft_answer *answer)
{
    uint8_t out[FT_MAX_PDU];
    ft_job j = {server, request->pdu, request->pdu_bytes, wall_ns / FT_TICK_NS, out, 0, request->unit, 0};
    server->line.messages++;
    answer->bytes = 0;
    answer->late_ns = 0;
    if (has_unit(server->units, request->unit)) {
        answer_unit(server, request, &j, answer);
        return;
    }
    ft_count(&server->counts[FT_COUNT_FOREIGN], 1);
    if (server->framing == FT_TCP) {
        deny(&j, FT_NO_PATH);
        compose(server, request, &j, answer);
    } else if (request->unit == 0) {
        broadcast(&j);
    }
}
