/* Counters and events of one unit. */
#include "diary.h"

#include "modbus.h"

enum { RESTARTED = 0x00, BEGAN_TO_LISTEN = 0x04, LISTENS = 0x20, SENT = 0x40, BROADCAST = 0x40, RECEIVED = 0x80 };
enum { LAST_READ_EXCEPTION = 3, FAILURE = 4, ACKNOWLEDGE = 5, BUSY = 6, REFUSAL = 7, DIAGNOSTIC_BITS = 16 };

static void note(ft_diary *diary, uint8_t event)
{
    diary->newest = (uint8_t)((diary->newest + 1) % FT_DIARY_EVENTS);
    diary->events[diary->newest] = event;
    if (diary->events_count < FT_DIARY_EVENTS)
        diary->events_count++;
}

static uint8_t listening_bit(const ft_diary *diary)
{
    return diary->only_listens ? LISTENS : 0;
}

/* What the event of an answer tells of its exception. */
static uint8_t exception_bit(uint8_t exception)
{
    if (exception == 0)
        return 0;
    if (exception <= LAST_READ_EXCEPTION)
        return 0x01;
    if (exception == FAILURE)
        return 0x02;
    if (exception == ACKNOWLEDGE || exception == BUSY)
        return 0x04;
    return exception == REFUSAL ? 0x08 : 0;
}

void ft_diary_received(ft_diary *diary, int is_broadcast)
{
    diary->messages++;
    note(diary, (uint8_t)(RECEIVED | (is_broadcast ? BROADCAST : 0) | listening_bit(diary)));
}

void ft_diary_answered(ft_diary *diary, uint8_t function, uint8_t exception)
{
    if (exception != 0)
        diary->exceptions++;
    else if (function != FT_EVENT_COUNTER && function != FT_EVENT_LOG)
        diary->completed++;
    if (exception == REFUSAL)
        diary->refusals++;
    if (exception == BUSY)
        diary->busy++;
    if (exception > 0 && exception < DIAGNOSTIC_BITS)
        diary->diagnostic |= (uint16_t)(1u << exception);
    note(diary, (uint8_t)(SENT | exception_bit(exception) | listening_bit(diary)));
}

void ft_diary_kept_silent(ft_diary *diary)
{
    diary->silent++;
}

void ft_diary_restart(ft_diary *diary, const ft_line_diary *line, int clears_log)
{
    ft_diary_clear(diary, line);
    diary->only_listens = 0;
    if (clears_log)
        diary->events_count = 0;
    note(diary, RESTARTED);
}

void ft_diary_listen(ft_diary *diary)
{
    diary->only_listens = 1;
    note(diary, BEGAN_TO_LISTEN);
}

void ft_diary_clear(ft_diary *diary, const ft_line_diary *line)
{
    diary->since = *line;
    diary->messages = diary->silent = diary->exceptions = diary->refusals = diary->busy = 0;
    diary->diagnostic = diary->completed = 0;
}

int ft_diary_counter(const ft_diary *diary, const ft_line_diary *line, uint16_t sub_function, uint16_t *value)
{
    switch (sub_function) {
    case FT_DIAGNOSTIC_REGISTER: *value = diary->diagnostic; return 1;
    case FT_BUS_MESSAGES: *value = (uint16_t)(line->messages - diary->since.messages); return 1;
    case FT_BUS_ERRORS: *value = (uint16_t)(line->errors - diary->since.errors); return 1;
    case FT_UNIT_EXCEPTIONS: *value = diary->exceptions; return 1;
    case FT_UNIT_MESSAGES: *value = diary->messages; return 1;
    case FT_UNIT_SILENT: *value = diary->silent; return 1;
    case FT_UNIT_REFUSALS: *value = diary->refusals; return 1;
    case FT_UNIT_BUSY: *value = diary->busy; return 1;
    case FT_BUS_OVERRUNS: *value = 0; return 1; /* nothing overruns here */
    default: return 0;
    }
}

size_t ft_diary_log(const ft_diary *diary, uint8_t *out)
{
    for (unsigned i = 0; i < diary->events_count; i++)
        out[i] = diary->events[(diary->newest + FT_DIARY_EVENTS - i) % FT_DIARY_EVENTS];
    return diary->events_count;
}
