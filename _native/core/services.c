/* Files, queues, status, diagnostics, the event log; and which handler serves what is no register or coil. */
#include "job.h"

#include <string.h>

#include "nameplate.h"

#define STATUS_COILS 8
#define RECORD_REFERENCE 6 /* the only reference type there is */
#define REFERENCE_BYTES 7  /* reference type, file, record, number of registers */
#define FILE_ANSWER_MOST 245 /* bytes behind the byte count */
#define FIFO_MOST 31       /* registers that one answer carries */
#define ONE_OBJECT 4       /* a code of function 43/14; the others are levels */
#define CLEAR_LOG 0xFF00   /* the only datum but 0 of a restart */

static ft_diary *diary_of(const ft_job *j)
{
    return &j->server->diaries[j->unit];
}

/* The eight coils from 0 stand for the device's exception status. */
static int exception_status(ft_job *j)
{
    j->out[1] = 0;
    for (uint16_t i = 0; i < STATUS_COILS; i++)
        j->out[1] |= (uint8_t)(ft_job_bit(j, FT_COIL, i) << i);
    j->out_bytes = 2;
    return 0;
}

/* ---- diagnostics --------------------------------------------------------------------------------------------- */

static int restart(ft_job *j, uint16_t datum)
{
    if (datum != 0 && datum != CLEAR_LOG)
        return FT_ILLEGAL_VALUE;
    j->keeps_silent = diary_of(j)->only_listens;
    ft_diary_restart(diary_of(j), &j->server->line, datum == CLEAR_LOG);
    return ft_job_echo(j, j->n);
}

static int listen_only(ft_job *j)
{
    ft_diary_listen(diary_of(j));
    j->keeps_silent = 1;
    return 0;
}

static int clear(ft_job *j)
{
    ft_diary_clear(diary_of(j), &j->server->line);
    return ft_job_echo(j, j->n);
}

static int tell_counter(ft_job *j, uint16_t sub_function)
{
    uint16_t value;
    if (!ft_diary_counter(diary_of(j), &j->server->line, sub_function, &value))
        return FT_ILLEGAL_FUNCTION;
    (void)ft_job_echo(j, j->n);
    ft_put_u16(j->out + 3, value);
    return 0;
}

static int diagnostics(ft_job *j)
{
    uint16_t sub_function = ft_u16(j->pdu + 1);
    uint16_t datum = ft_u16(j->pdu + 3);
    if (sub_function == FT_LOOP_BACK)
        return ft_job_echo(j, j->n);
    if (j->n != 5)
        return FT_ILLEGAL_VALUE;
    if (sub_function == FT_RESTART)
        return restart(j, datum);
    if (sub_function == FT_DELIMITER) /* of ASCII, a character and 0; the line does not speak it */
        return datum & 0xFF ? FT_ILLEGAL_VALUE : ft_job_echo(j, j->n);
    if (datum != 0)
        return FT_ILLEGAL_VALUE;
    switch (sub_function) {
    case FT_LISTEN_ONLY: return listen_only(j);
    case FT_CLEAR_COUNTERS: return clear(j);
    case FT_CLEAR_OVERRUN: return ft_job_echo(j, j->n);
    default: return tell_counter(j, sub_function);
    }
}

static int event_counter(ft_job *j)
{
    ft_put_u16(j->out + 1, 0); /* no command is under way */
    ft_put_u16(j->out + 3, diary_of(j)->completed);
    j->out_bytes = 5;
    return 0;
}

static int event_log(ft_job *j)
{
    uint16_t messages;
    (void)ft_diary_counter(diary_of(j), &j->server->line, FT_BUS_MESSAGES, &messages);
    size_t events = ft_diary_log(diary_of(j), j->out + 8);
    j->out[1] = (uint8_t)(6 + events);
    ft_put_u16(j->out + 2, 0);
    ft_put_u16(j->out + 4, diary_of(j)->completed);
    ft_put_u16(j->out + 6, messages);
    j->out_bytes = 8 + events;
    return 0;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

typedef struct reference {
    uint8_t type;
    uint16_t file;
    uint16_t record;
    uint16_t registers;
} reference;

static reference reference_at(const uint8_t *bytes)
{
    return (reference){bytes[0], ft_u16(bytes + 1), ft_u16(bytes + 3), ft_u16(bytes + 5)};
}

static int is_there(const reference *r)
{
    return r->type == RECORD_REFERENCE && r->file >= 1 && r->file <= FT_FILES
        && (uint32_t)r->record + r->registers <= FT_FILE_RECORDS;
}

static int read_file(ft_job *j)
{
    size_t end = 2;
    for (size_t at = 2; at < j->n; at += REFERENCE_BYTES) {
        reference r = reference_at(j->pdu + at);
        if (!is_there(&r))
            return FT_ILLEGAL_ADDRESS;
        if (r.registers == 0 || end + 2 * (size_t)r.registers > FILE_ANSWER_MOST)
            return FT_ILLEGAL_VALUE;
        j->out[end] = (uint8_t)(1 + 2 * r.registers);
        j->out[end + 1] = RECORD_REFERENCE;
        for (uint16_t i = 0; i < r.registers; i++)
            ft_put_u16(j->out + end + 2 + 2 * i,
                       ft_bank_record(&j->server->bank, j->unit, r.file, (uint16_t)(r.record + i)));
        ft_count(&j->server->counts[FT_COUNT_VALUES], r.registers);
        end += 2 + 2 * (size_t)r.registers;
    }
    j->out[1] = (uint8_t)(end - 2);
    j->out_bytes = end;
    return 0;
}

/* Nothing is written unless all of it can be. */
static int groups_refused(const ft_job *j)
{
    for (size_t at = 2; at < j->n;) {
        if (at + REFERENCE_BYTES > j->n)
            return FT_ILLEGAL_VALUE;
        reference r = reference_at(j->pdu + at);
        if (!is_there(&r))
            return FT_ILLEGAL_ADDRESS;
        at += REFERENCE_BYTES + 2 * (size_t)r.registers;
        if (r.registers == 0 || at > j->n)
            return FT_ILLEGAL_VALUE;
    }
    return 0;
}

static int write_file(ft_job *j)
{
    int code = groups_refused(j);
    for (size_t at = 2; code == 0 && at < j->n;) {
        reference r = reference_at(j->pdu + at);
        at += REFERENCE_BYTES;
        for (uint16_t i = 0; code == 0 && i < r.registers; i++, at += 2)
            code = ft_job_write(j, ft_file_table(r.file), (uint16_t)(r.record + i), ft_u16(j->pdu + at));
    }
    return code ? code : ft_job_echo(j, j->n);
}

/* ---- queues -------------------------------------------------------------------------------------------------- */

/* Behind every holding register may stand a queue: the register says how many of those behind it are in it. What has not
 * been written says its address modulo 32. */
static int read_queue(ft_job *j)
{
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t queued = address % (FIFO_MOST + 1);
    (void)ft_bank_written(&j->server->bank, j->unit, FT_HOLDING, address, &queued);
    if (queued > FIFO_MOST)
        return FT_ILLEGAL_VALUE;
    if (ft_job_leaves(address, (uint16_t)(1 + queued)))
        return FT_ILLEGAL_ADDRESS;
    ft_put_u16(j->out + 1, (uint16_t)(2 + 2 * queued));
    ft_put_u16(j->out + 3, queued);
    if (queued > 0)
        ft_job_registers(j, FT_HOLDING, (uint16_t)(address + 1), queued, j->out + 5);
    j->out_bytes = 5 + 2 * (size_t)queued;
    ft_count(&j->server->counts[FT_COUNT_VALUES], queued);
    return 0;
}

/* ---- identification ------------------------------------------------------------------------------------------ */

static ft_plate plate_of(const ft_job *j)
{
    return ft_plate_of(j->server->plates, j->server->plates_bytes, j->unit);
}

static int server_id(ft_job *j)
{
    size_t n = ft_plate_server_id(plate_of(j), j->out + 2);
    j->out[1] = (uint8_t)n;
    j->out_bytes = 2 + n;
    return n > 0 ? 0 : FT_ILLEGAL_FUNCTION;
}

static int device_identification(ft_job *j)
{
    uint8_t code = j->pdu[2];
    j->out_bytes = ft_plate_identification(plate_of(j), code, j->pdu[3], j->out);
    if (j->out_bytes > 0)
        return 0;
    return code == ONE_OBJECT ? FT_ILLEGAL_ADDRESS : FT_ILLEGAL_FUNCTION;
}

ft_handler ft_service_handler(uint8_t function)
{
    switch (function) {
    case FT_READ_EXCEPTION_STATUS: return exception_status;
    case FT_DIAGNOSTICS: return diagnostics;
    case FT_EVENT_COUNTER: return event_counter;
    case FT_EVENT_LOG: return event_log;
    case FT_REPORT_SERVER_ID: return server_id;
    case FT_READ_FILE: return read_file;
    case FT_WRITE_FILE: return write_file;
    case FT_READ_FIFO: return read_queue;
    case FT_READ_DEVICE: return device_identification;
    default: return NULL;
    }
}
