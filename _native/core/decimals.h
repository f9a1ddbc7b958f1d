/* Bit patterns of floats in, integers times a power of ten that give back every bit out, and the other way. */
#ifndef FT_DECIMALS_H
#define FT_DECIMALS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FT_MAX_DECIMALS 4 /* more never paid: such columns are full floats */

/* `scaled` becomes values * 10^decimals where that is an integer that gives back every bit; else 0. */
int ft_scale(uint32_t type, const uint64_t *values, size_t n, uint32_t decimals, uint64_t *scaled);
/* The bit pattern of scaled / 10^decimals. */
uint64_t ft_decimal_bits(uint32_t type, uint64_t scaled, uint32_t decimals);

static inline double ft_f32_value(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float v;
    memcpy(&v, &low, sizeof v);
    return (double)v;
}

static inline double ft_f64_value(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif
