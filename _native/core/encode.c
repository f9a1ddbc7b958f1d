/* Values back to register bytes. */
#include "encode.h"

#include "layout.h"

#include <string.h>

static void scatter(uint64_t value, unsigned words, unsigned order, uint8_t *out)
{
    unsigned high = order & FT_BYTES_SWAPPED ? 1 : 0;
    for (unsigned i = 0; i < words; i++) {
        uint8_t *word = out + 2 * (order & FT_WORDS_REVERSED ? i : words - 1 - i);
        word[high] = (uint8_t)(value >> 8);
        word[1 - high] = (uint8_t)value;
        value >>= FT_REGISTER_BITS;
    }
}

static uint64_t to_bcd(uint64_t value)
{
    uint64_t raw = 0;
    for (unsigned shift = 0; value > 0; shift += 4, value /= 10) {
        raw |= value % 10 << shift;
    }
    return raw;
}

static int signed_fits(uint64_t raw, unsigned bits)
{
    unsigned spare = FT_VALUE_BITS - bits;
    return (uint64_t)((int64_t)(raw << spare) >> spare) == raw;
}

static int unsigned_fits(uint64_t raw, unsigned bits)
{
    return bits == FT_VALUE_BITS || raw >> bits == 0;
}

static int value_fits(uint8_t type, uint64_t raw, unsigned words)
{
    switch (type) {
    case FT_BOOL:
        return raw <= 1;
    case FT_I16:
    case FT_I32:
    case FT_I64:
        return signed_fits(raw, words * FT_REGISTER_BITS);
    case FT_BCD16:
        return raw <= 9999;
    case FT_BCD32:
        return raw <= 99999999;
    default:
        return unsigned_fits(raw, words * FT_REGISTER_BITS);
    }
}

int ft_encode_value(uint8_t type, uint8_t order, uint64_t raw, uint8_t *registers_out)
{
    if (type >= FT_TYPE_COUNT || type == FT_TEXT || order >= FT_ORDERS) {
        return -1;
    }
    unsigned words = type == FT_BITS ? 1 : ft_registers_of[type];
    if (!value_fits(type, raw, words)) {
        return -1;
    }
    scatter(type == FT_BCD16 || type == FT_BCD32 ? to_bcd(raw) : raw, words, order, registers_out);
    return (int)words;
}

int ft_encode_text(uint8_t order, const uint8_t *text, size_t n, uint8_t *registers_out)
{
    unsigned registers = ft_text_registers(order, n);
    memset(registers_out, 0, 2 * (size_t)registers);
    for (size_t i = 0; i < n; i++) {
        registers_out[ft_text_at(order, i)] = text[i];
    }
    return (int)registers;
}
