/* Just enough msgpack for batches: a writer into memory that is there, a reader that never leaves its bytes. */
#ifndef FT_MPACK_H
#define FT_MPACK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Writes until `end`; what does not fit sets `full` and is dropped, so that callers check once, at the end. */
typedef struct ft_writer {
    uint8_t *at;
    uint8_t *end;
    int full;
} ft_writer;

static inline uint8_t *ft_put_room(ft_writer *w, size_t bytes)
{
    uint8_t *at = w->at;
    if ((size_t)(w->end - at) < bytes) {
        w->full = 1;
        return NULL;
    }
    w->at += bytes;
    return at;
}

static inline void ft_put_bytes(ft_writer *w, const void *bytes, size_t n)
{
    uint8_t *at = ft_put_room(w, n);
    if (at && n)
        memcpy(at, bytes, n);
}

/* `head`, then the low `bytes` bytes of `value`, most significant first. */
static inline void ft_put_head(ft_writer *w, uint8_t head, uint64_t value, unsigned bytes)
{
    uint8_t *at = ft_put_room(w, 1u + bytes);
    if (!at)
        return;
    at[0] = head;
    for (unsigned i = bytes; i > 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

static inline void ft_put_nil(ft_writer *w)
{
    ft_put_head(w, 0xc0, 0, 0);
}

static inline void ft_put_uint(ft_writer *w, uint64_t v)
{
    if (v < 0x80)
        ft_put_head(w, (uint8_t)v, 0, 0);
    else if (v <= UINT8_MAX)
        ft_put_head(w, 0xcc, v, 1);
    else if (v <= UINT16_MAX)
        ft_put_head(w, 0xcd, v, 2);
    else if (v <= UINT32_MAX)
        ft_put_head(w, 0xce, v, 4);
    else
        ft_put_head(w, 0xcf, v, 8);
}

static inline void ft_put_int(ft_writer *w, int64_t v)
{
    if (v >= 0)
        ft_put_uint(w, (uint64_t)v);
    else if (v >= -32)
        ft_put_head(w, (uint8_t)v, 0, 0);
    else if (v >= INT8_MIN)
        ft_put_head(w, 0xd0, (uint64_t)v, 1);
    else if (v >= INT16_MIN)
        ft_put_head(w, 0xd1, (uint64_t)v, 2);
    else if (v >= INT32_MIN)
        ft_put_head(w, 0xd2, (uint64_t)v, 4);
    else
        ft_put_head(w, 0xd3, (uint64_t)v, 8);
}

static inline void ft_put_array(ft_writer *w, size_t n)
{
    if (n < 16)
        ft_put_head(w, (uint8_t)(0x90 | n), 0, 0);
    else if (n <= UINT16_MAX)
        ft_put_head(w, 0xdc, n, 2);
    else
        ft_put_head(w, 0xdd, n, 4);
}

static inline void ft_put_bin_head(ft_writer *w, size_t n)
{
    if (n <= UINT8_MAX)
        ft_put_head(w, 0xc4, n, 1);
    else if (n <= UINT16_MAX)
        ft_put_head(w, 0xc5, n, 2);
    else
        ft_put_head(w, 0xc6, n, 4);
}

static inline void ft_put_bin(ft_writer *w, const void *bytes, size_t n)
{
    ft_put_bin_head(w, n);
    ft_put_bytes(w, bytes, n);
}

/* Reads from `at` to `end`. The first thing that is wrong is kept in `why`, with `at` where it stood; after that
 * every read gives nothing, so that callers check once. */
typedef struct ft_reader {
    const uint8_t *at;
    const uint8_t *end;
    const char *why; /* NULL: all well so far */
} ft_reader;

enum ft_kind { FT_NIL, FT_INT, FT_REAL32, FT_REAL64, FT_STR, FT_BIN, FT_ARRAY, FT_MAP, FT_OTHER, FT_BAD };

/* One msgpack item: containers give their count and leave their items to be read, the rest is consumed. */
typedef struct ft_item {
    enum ft_kind kind;
    int negative;         /* INT: bits are those of an int64, else of a uint64 */
    uint64_t bits;        /* INT, REAL32, REAL64 */
    const uint8_t *bytes; /* STR, BIN */
    uint64_t count;       /* STR, BIN: bytes; ARRAY: items; MAP: keys and values together */
} ft_item;

static inline void ft_fail(ft_reader *r, const uint8_t *at, const char *why)
{
    if (r->why)
        return;
    r->why = why;
    r->at = at;
}

static inline uint64_t ft_take_uint(ft_reader *r, unsigned bytes)
{
    uint64_t v = 0;
    if (r->why)
        return 0;
    if ((size_t)(r->end - r->at) < bytes) {
        ft_fail(r, r->at, "ends in the middle of an item");
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | *r->at++;
    return v;
}

static inline int64_t ft_sign_extend(uint64_t v, unsigned bytes)
{
    uint64_t top = UINT64_C(1) << (8 * bytes - 1);
    return (int64_t)((v ^ top) - top);
}

static inline ft_item ft_take_sized(ft_reader *r, enum ft_kind kind, uint64_t count)
{
    ft_item item = {.kind = kind, .bytes = r->at, .count = count};
    if (r->why || kind == FT_ARRAY || kind == FT_MAP)
        return item;
    if ((uint64_t)(r->end - r->at) < count) {
        ft_fail(r, r->at, "is longer than the bytes that are left");
        item.count = 0;
        return item;
    }
    r->at += count;
    return item;
}

static inline ft_item ft_take_number(ft_reader *r, enum ft_kind kind, unsigned bytes, int is_signed)
{
    ft_item item = {.kind = kind, .bits = ft_take_uint(r, bytes)};
    if (is_signed && !r->why) {
        item.bits = (uint64_t)ft_sign_extend(item.bits, bytes);
        item.negative = item.bits >> 63 != 0;
    }
    return item;
}

ft_item ft_take(ft_reader *r);
void ft_skip(ft_reader *r);                                       /* one item with all it holds */
size_t ft_take_array(ft_reader *r, size_t least, const char *why); /* its count; fails with `why` when it is none */
uint64_t ft_take_count(ft_reader *r, uint64_t most, const char *why);
int64_t ft_take_int64(ft_reader *r, const char *why);
ft_item ft_take_bin(ft_reader *r, const char *why);               /* nil counts as empty */

#endif
