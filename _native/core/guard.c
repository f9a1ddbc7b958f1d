/* Which answers units owe, and finding them in what is heard. */
#include "guard.h"

#include <string.h>

#include "ns.h"

#define EXCEPTION_BYTES 5 /* unit, function, code, CRC */
#define RTU_OVERHEAD 3    /* unit, CRC */
#define READ_OVERHEAD 5   /* unit, function, byte count, CRC */

static int same_shape(ft_shape a, ft_shape b)
{
    return a.unit == b.unit && a.function == b.function && a.bytes == b.bytes;
}

/* Its place, or `count`. */
static uint32_t find(const ft_guard *guard, ft_shape shape)
{
    uint32_t i = 0;
    while (i < guard->count && !same_shape(guard->owed[i].shape, shape))
        i++;
    return i;
}

static void mark(ft_guard *guard, uint8_t unit)
{
    guard->owing[unit / 8] &= (uint8_t)~(1 << unit % 8);
    for (uint32_t i = 0; i < guard->count; i++)
        if (guard->owed[i].shape.unit == unit)
            guard->owing[unit / 8] |= (uint8_t)(1 << unit % 8);
    if (guard->count == 0)
        guard->used = 0;
}

static void strike(ft_guard *guard, ft_owed *owed)
{
    uint8_t unit = owed->shape.unit;
    *owed = guard->owed[--guard->count];
    mark(guard, unit);
}

static int64_t end_of(const ft_owed *owed)
{
    return owed->passed ? owed->until_ns : owed->until_ns + FT_OWED_FORGET_NS;
}

/* Make room: first of what cannot come any more, else of what can for the shortest time. Returns until when that is. */
static int64_t make_room(ft_guard *guard, int64_t now)
{
    ft_owed *first = guard->owed;
    int64_t rest_until;
    for (uint32_t i = 0; i < guard->count; i++)
        if (guard->owed[i].until_ns < first->until_ns)
            first = &guard->owed[i];
    rest_until = first->until_ns;
    strike(guard, first);
    return rest_until > now ? rest_until : 0;
}

/* Returns until when the line must rest, because there was no room for it. */
static int64_t enter(ft_guard *guard, const ft_owed *owed, int64_t now)
{
    uint32_t at = find(guard, owed->shape);
    int64_t rest_until = at == FT_OWED_MAX ? make_room(guard, now) : 0;
    if (at >= guard->count)
        at = guard->count++;
    guard->owed[at] = *owed;
    mark(guard, owed->shape.unit);
    return rest_until;
}

int64_t ft_guard_owe(ft_guard *guard, ft_shape shape, int64_t sent_ns, int64_t now, int64_t window_ns)
{
    ft_owed owed = {.shape = shape, .sent_ns = sent_ns};
    int64_t rest_until = enter(guard, &owed, now);
    for (uint32_t i = 0; i < guard->count; i++) /* what was passed may come within its own window alone */
        if (guard->owed[i].shape.unit == shape.unit && !guard->owed[i].passed)
            guard->owed[i].until_ns = now + window_ns;
    return rest_until;
}

int64_t ft_guard_repeat(ft_guard *guard, ft_shape shape, int is_exception, int64_t sent_ns, int64_t now, int64_t window_ns)
{
    ft_owed copy = {.shape = shape, .passed = 1, .is_copy = 1, .sent_ns = sent_ns, .until_ns = now + window_ns};
    int64_t rest_until = enter(guard, &copy, now);
    copy.shape.bytes = EXCEPTION_BYTES;
    return is_exception ? ft_most(rest_until, enter(guard, &copy, now)) : rest_until;
}

void ft_guard_answered(ft_guard *guard, uint8_t unit)
{
    for (uint32_t i = 0; i < guard->count; i++)
        guard->owed[i].passed |= guard->owed[i].shape.unit == unit;
}

void ft_guard_drain(ft_guard *guard, uint8_t unit)
{
    for (uint32_t i = 0; i < guard->count; i++)
        guard->owed[i].drained |= guard->owed[i].shape.unit == unit;
}

void ft_guard_tidy(ft_guard *guard, int64_t now)
{
    for (uint32_t i = guard->count; i-- > 0;)
        if (end_of(&guard->owed[i]) <= now)
            strike(guard, &guard->owed[i]);
}

void ft_guard_clear(ft_guard *guard, uint8_t unit)
{
    for (uint32_t i = guard->count; i-- > 0;)
        if (guard->owed[i].shape.unit == unit)
            strike(guard, &guard->owed[i]);
}

void ft_guard_forgive(ft_guard *guard, ft_shape shape)
{
    uint32_t at = find(guard, shape);
    if (at < guard->count)
        strike(guard, &guard->owed[at]);
}

/* A second answer may come, but no exception in its place. */
static int is_plain_copy(const ft_owed *owed)
{
    return owed->is_copy && owed->shape.bytes != EXCEPTION_BYTES;
}

/* How many answers the unit owes that may be exceptions, to one function or to all (0). */
static uint32_t open_of(const ft_guard *guard, uint8_t unit, uint8_t function)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < guard->count; i++) {
        const ft_owed *owed = &guard->owed[i];
        n += owed->shape.unit == unit && !owed->drained && !is_plain_copy(owed) && (function == 0 || owed->shape.function == function);
    }
    return n;
}

int ft_guard_avoids(const ft_guard *guard, ft_shape shape)
{
    if (!ft_guard_owes(guard, shape.unit))
        return 0;
    uint32_t at = find(guard, shape);
    return (at < guard->count && !guard->owed[at].drained) || open_of(guard, shape.unit, 0) >= FT_OWED_PER_UNIT;
}

int ft_guard_is_behind(const ft_guard *guard, uint8_t unit)
{
    for (uint32_t i = 0; i < guard->count; i++)
        if (guard->owed[i].shape.unit == unit && !guard->owed[i].passed)
            return 1;
    return 0;
}

int ft_guard_doubts(const ft_guard *guard, uint8_t unit, uint8_t function)
{
    return open_of(guard, unit, function) > 0;
}

int64_t ft_guard_until(const ft_guard *guard, uint8_t unit)
{
    int64_t until = 0;
    for (uint32_t i = 0; i < guard->count; i++)
        if (guard->owed[i].shape.unit == unit)
            until = ft_most(until, guard->owed[i].until_ns);
    return until;
}

/* ---- late answers among the bytes ---- */

/* Of an answer whose length nobody knew beforehand: as it says itself. */
static size_t own_length(const uint8_t *bytes, size_t n)
{
    int pdu = ft_response_length(bytes + 1, n - 1);
    if (pdu < 0)
        return 0;
    return pdu > 0 ? RTU_OVERHEAD + (size_t)pdu : n + 1;
}

/* Length of the answer or exception to this shape that begins here, > n where it is not complete; 0: none does. */
static size_t length_of(ft_shape shape, const uint8_t *bytes, size_t n)
{
    if (n < 2)
        return n + 1;
    if (bytes[1] == (shape.function | FT_EXCEPTION_BIT))
        return EXCEPTION_BYTES;
    int is_read = shape.function <= FT_READ_INPUT;
    if (bytes[1] != shape.function || (is_read && n > 2 && bytes[2] != shape.bytes - READ_OVERHEAD))
        return 0;
    return shape.bytes > 0 ? shape.bytes : own_length(bytes, n);
}

/* The owed answer that is complete at these bytes; NULL and *more: the bytes may still become one. */
static ft_owed *owed_at(ft_guard *guard, ft_shape asked, const uint8_t *bytes, size_t n, int *more)
{
    int leaves_exceptions = asked.function > 0 && asked.unit == bytes[0] && n > 1
        && bytes[1] == (asked.function | FT_EXCEPTION_BIT);
    *more = 0;
    if (!ft_guard_owes(guard, bytes[0]) || leaves_exceptions)
        return NULL;
    for (uint32_t i = 0; i < guard->count; i++) {
        ft_owed *owed = &guard->owed[i];
        int is_candidate = owed->shape.unit == bytes[0] && !(owed->drained && same_shape(owed->shape, asked));
        size_t length = is_candidate ? length_of(owed->shape, bytes, n) : 0;
        if (length > n)
            *more = 1;
        else if (length > 0 && ft_came_whole(guard->ascii, bytes, length))
            return owed;
    }
    return NULL;
}

static void take_in(ft_guard *guard, const uint8_t **bytes, size_t *n)
{
    size_t room = sizeof guard->heard - guard->used;
    size_t taken = *n < room ? *n : room;
    memcpy(guard->heard + guard->used, *bytes, taken);
    guard->used += (uint32_t)taken;
    *bytes += taken;
    *n -= taken;
}

static void drop(ft_guard *guard, uint32_t n)
{
    guard->used = guard->used > n ? guard->used - n : 0;
    memmove(guard->heard, guard->heard + n, guard->used);
}

/* An exception does not tell which of several requests of its function it answers: these all stay open. Where frames repeat,
 * all stay open until their windows end, and only a first answer tells how late it is. */
static void take_out(ft_guard *guard, ft_owed *owed, uint32_t at, ft_owed *late)
{
    const uint8_t *bytes = guard->heard + at;
    uint8_t is_answer = bytes[1] == owed->shape.function;
    int is_clear = is_answer || open_of(guard, bytes[0], owed->shape.function) <= 1;
    *late = *owed;
    drop(guard, at + (uint32_t)length_of(owed->shape, bytes, guard->used - at));
    if (guard->repeats) {
        late->is_copy |= !is_answer;
        owed->is_copy |= is_answer;
    } else if (is_clear) {
        strike(guard, owed);
    }
}

int ft_guard_hear(ft_guard *guard, ft_shape asked, const uint8_t **bytes, size_t *n, ft_owed *late)
{
    if (guard->count == 0)
        return 0;
    do {
        uint32_t at = 0;
        int more = 0;
        take_in(guard, bytes, n);
        for (; at < guard->used && !more; at += !more) {
            ft_owed *owed = owed_at(guard, asked, guard->heard + at, guard->used - at, &more);
            if (!owed)
                continue;
            take_out(guard, owed, at, late);
            return 1;
        }
        drop(guard, at);
    } while (*n > 0);
    return 0;
}
