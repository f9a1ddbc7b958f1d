/* Requests that stayed without their answer, and all that is heard, in; which answers must not be asked for, and which
 * late ones came, out.
 *
 * An RTU frame carries no number: the late answer to one request fits the next one to that unit if it has the same
 * function and length. So an answer is owed from the moment its request has failed, and while it is, nothing of the same
 * shape is asked of that unit. It is owed until
 *   - it is heard: thrown away and counted, or
 *   - its window is over, and the unit has answered something that was asked later, or
 *   - a barrier was answered, and the unit has shown often enough that it answers in order: nothing older is under way, or
 *   - FT_OWED_FORGET_NS after its window, whatever happened.
 *
 * Where datagrams carry the frames (`repeats`), what has come may come again: an answer is as good as owed for a window
 * after it came, too, and hearing it ends nothing.
 */
#ifndef FT_GUARD_H
#define FT_GUARD_H

#include <stddef.h>
#include <stdint.h>

#include "ascii.h"
#include "modbus.h"

#define FT_OWED_MAX 128                         /* 31 units of one bus, four each, is more than ever */
#define FT_OWED_PER_UNIT 8                      /* so many different requests of one unit may be open */
#define FT_OWED_FORGET_NS INT64_C(60000000000)  /* no device answers a minute late */

/* What tells one answer from another. */
typedef struct ft_shape {
    uint8_t unit;
    uint8_t function;
    uint16_t bytes; /* the normal answer's ADU; 0: not known beforehand */
} ft_shape;

typedef struct ft_owed {
    ft_shape shape;
    uint8_t passed;  /* the unit has answered something that was asked later: it comes out of order, if it comes */
    uint8_t is_copy; /* it has come already: this very kind, an answer or an exception, may come once more */
    uint8_t drained; /* ... and is trusted not to come: it is only listened for, to see whether that was right */
    int64_t sent_ns;
    int64_t until_ns; /* end of its window */
} ft_owed;

typedef struct ft_guard {
    uint32_t count;
    uint32_t used;              /* heard[0 .. used) may hold late answers */
    uint8_t repeats;            /* what has come may come again */
    uint8_t owing[256 / 8];     /* bit per unit */
    const ft_ascii *ascii;      /* as ft_master's */
    ft_owed owed[FT_OWED_MAX];
    uint8_t heard[2 * FT_MAX_RTU];
} ft_guard;

/* The request of this shape, sent at `sent_ns`, has failed at `now`. All that its unit owes stays owed for `window_ns` from
 * now on. Returns until when the whole line must rest, because there was no room to remember an answer; else 0. */
int64_t ft_guard_owe(ft_guard *guard, ft_shape shape, int64_t sent_ns, int64_t now, int64_t window_ns);
/* An answer of this shape, or an exception in its place, has come. For `window_ns` from now on it may come again, and so may
 * an answer in the place of an exception: a request that has doubled is carried out twice. Returns as ft_guard_owe(). */
int64_t ft_guard_repeat(ft_guard *guard, ft_shape shape, int is_exception, int64_t sent_ns, int64_t now, int64_t window_ns);
/* The unit has answered the latest request. */
void ft_guard_answered(ft_guard *guard, uint8_t unit);
/* Forget what cannot come any more. */
void ft_guard_tidy(ft_guard *guard, int64_t now);
/* The unit has answered a barrier, and answers in order. */
void ft_guard_drain(ft_guard *guard, uint8_t unit);
/* The unit owes nothing. */
void ft_guard_clear(ft_guard *guard, uint8_t unit);
/* An answer of this shape is asked for all the same: it is not late when it comes. */
void ft_guard_forgive(ft_guard *guard, ft_shape shape);

static inline int ft_guard_owes(const ft_guard *guard, uint8_t unit)
{
    return guard->owing[unit / 8] >> (unit % 8) & 1;
}

/* Whether an answer of this shape may still come unasked. */
int ft_guard_avoids(const ft_guard *guard, ft_shape shape);
/* Whether the unit may answer what was asked before its last answer. */
int ft_guard_is_behind(const ft_guard *guard, uint8_t unit);
/* Whether an exception of this unit and function may be a late one. */
int ft_guard_doubts(const ft_guard *guard, uint8_t unit, uint8_t function);
/* End of the last window of the unit. */
int64_t ft_guard_until(const ft_guard *guard, uint8_t unit);

/* All bytes off the line pass through here. 1: an answer that was owed has come, it is *late, call again; 0: all bytes
 * are taken in. `asked`: what is waited for just now, whose exceptions are left alone; function 0: nothing. */
int ft_guard_hear(ft_guard *guard, ft_shape asked, const uint8_t **bytes, size_t *n, ft_owed *late);

#endif
