/* How a value lies in registers, for those who read it (core/decode.c) and those who write it (core/encode.c). */
#ifndef FT_LAYOUT_H
#define FT_LAYOUT_H

#include "plan.h"
#include "sample.h"

#include <stddef.h>
#include <stdint.h>

/* enum ft_order is two facts: which word comes first, and which byte of each word. */
#define FT_WORDS_REVERSED 1u
#define FT_BYTES_SWAPPED 2u
#define FT_ORDERS 4u
#define FT_REGISTER_BITS 16u
#define FT_VALUE_BITS 64u

/* Registers of a value, 0 where the point says: TEXT in bytes, BITS in registers. */
static const uint8_t ft_registers_of[FT_TYPE_COUNT] = {
    [FT_BOOL] = 1, [FT_U16] = 1, [FT_I16] = 1, [FT_U32] = 2, [FT_I32] = 2, [FT_U64] = 4,
    [FT_I64] = 4, [FT_F32] = 2, [FT_F64] = 4, [FT_BCD16] = 1, [FT_BCD32] = 2,
};

/* Registers that so many bytes of text take. */
static inline unsigned ft_text_registers(unsigned order, size_t bytes)
{
    return (unsigned)(order & FT_TEXT_WIDE ? bytes : (bytes + 1) / 2);
}

/* Where byte i of a text stands in its registers. */
static inline size_t ft_text_at(unsigned order, size_t i)
{
    size_t swapped = order & FT_BYTES_SWAPPED ? 1 : 0;
    return order & FT_TEXT_WIDE ? 2 * i + 1 - swapped : i ^ swapped;
}

#endif
