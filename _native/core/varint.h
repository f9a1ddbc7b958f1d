/* 64-bit integers in, varints out, and back: zigzag, then 7 bits a byte, least significant first. */
#ifndef FT_VARINT_H
#define FT_VARINT_H

#include <stdint.h>

#include "core/mpack.h"

#define FT_MOST_VARINT 10 /* bytes of one: ceil(64 / 7) */

/* 0, -1, 1, -2 ... become 0, 1, 2, 3 ...: small numbers of either sign are short. */
static inline uint64_t ft_zigzag(uint64_t delta)
{
    return (delta << 1) ^ (0 - (delta >> 63));
}

static inline uint64_t ft_unzigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

/* Room for FT_MOST_VARINT is the caller's; gives where the next one goes. */
static inline uint8_t *ft_put_varint(uint8_t *at, uint64_t delta)
{
    uint64_t v = ft_zigzag(delta);
    for (; v > 0x7f; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

static inline uint64_t ft_take_varint(ft_reader *r)
{
    uint64_t v = 0;
    const uint8_t *at = r->at;
    for (unsigned shift = 0; shift < 64 && r->at < r->end && !r->why; shift += 7) {
        uint8_t byte = *r->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return ft_unzigzag(v);
    }
    ft_fail(r, at, r->at < r->end ? "a varint is longer than 64 bits" : "a stream ends too early");
    return 0;
}

#endif
