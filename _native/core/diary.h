/* What one unit of a simulated bus hears and answers in, its counters (function 8), event counter (11) and event log (12)
 * out. What they count: Modbus over Serial Line V1.02 and Modbus Application Protocol V1.1b3, 6.8 to 6.10. */
#ifndef FT_DIARY_H
#define FT_DIARY_H

#include <stddef.h>
#include <stdint.h>

#define FT_DIARY_EVENTS 64 /* as many as an answer of function 12 carries */

/* What all units of a line hear. */
typedef struct ft_line_diary {
    uint16_t messages; /* intact requests, to whomever */
    uint16_t errors;   /* times that bytes came which were none */
} ft_line_diary;

typedef struct ft_diary {
    ft_line_diary since;  /* the line's counts when the unit's were cleared */
    uint16_t messages;    /* to this unit */
    uint16_t silent;      /* of these, those that it did not answer: broadcasts, and while it only listened */
    uint16_t exceptions;
    uint16_t refusals;    /* exceptions 7 */
    uint16_t busy;        /* exceptions 6 */
    uint16_t diagnostic;  /* bit n: exception n was answered; a device's own facts in a real one */
    uint16_t completed;   /* normal answers but those of functions 11 and 12 */
    uint8_t only_listens;
    uint8_t newest;       /* place of the newest event */
    uint8_t events_count;
    uint8_t events[FT_DIARY_EVENTS];
} ft_diary;

void ft_diary_received(ft_diary *diary, int is_broadcast);
/* The request is dealt with; `exception`: 0 for a normal answer. */
void ft_diary_answered(ft_diary *diary, uint8_t function, uint8_t exception);
/* The request is dealt with, without an answer. */
void ft_diary_kept_silent(ft_diary *diary);

/* Sub-functions of function 8. */
void ft_diary_restart(ft_diary *diary, const ft_line_diary *line, int clears_log);
void ft_diary_listen(ft_diary *diary);
void ft_diary_clear(ft_diary *diary, const ft_line_diary *line);
/* 1 and *value: this sub-function reads a counter, or the diagnostic register. */
int ft_diary_counter(const ft_diary *diary, const ft_line_diary *line, uint16_t sub_function, uint16_t *value);

/* Newest first, FT_DIARY_EVENTS bytes at most; returns how many. */
size_t ft_diary_log(const ft_diary *diary, uint8_t *out);

#endif
