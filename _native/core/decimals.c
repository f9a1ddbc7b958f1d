#include "core/decimals.h"

#include <math.h>

#include "core/sample.h"

/* Decimals only while they are shorter than the mantissa they stand for: large full floats are multiples of 0.0001 by
 * chance, and as integers they would take more bytes than their bit patterns, whose upper bytes repeat. */
#define F32_MOST 1048576.0        /* 2^20 of 2^24 */
#define F64_MOST 70368744177664.0 /* 2^46 of 2^53 */

static const double POWERS[FT_MAX_DECIMALS + 1] = {1.0, 10.0, 100.0, 1000.0, 10000.0};

static int64_t nearest(double v)
{
    return (int64_t)(v + (v < 0 ? -0.5 : 0.5));
}

static int scale_f32(const uint64_t *values, size_t n, unsigned decimals, uint64_t *scaled)
{
    for (size_t i = 0; i < n; i++) {
        double product = ft_f32_value(values[i]) * POWERS[decimals];
        if (!(fabs(product) < F32_MOST))
            return 0;
        int64_t integer = nearest(product);
        float back = (float)((double)integer / POWERS[decimals]);
        uint32_t bits = (uint32_t)values[i];
        if (memcmp(&back, &bits, sizeof back) != 0)
            return 0;
        scaled[i] = (uint64_t)integer;
    }
    return 1;
}

static int scale_f64(const uint64_t *values, size_t n, unsigned decimals, uint64_t *scaled)
{
    for (size_t i = 0; i < n; i++) {
        double product = ft_f64_value(values[i]) * POWERS[decimals];
        if (!(fabs(product) < F64_MOST))
            return 0;
        int64_t integer = nearest(product);
        double back = (double)integer / POWERS[decimals];
        if (memcmp(&back, &values[i], sizeof back) != 0)
            return 0;
        scaled[i] = (uint64_t)integer;
    }
    return 1;
}

int ft_scale(uint32_t type, const uint64_t *values, size_t n, uint32_t decimals, uint64_t *scaled)
{
    return type == FT_F32 ? scale_f32(values, n, decimals, scaled) : scale_f64(values, n, decimals, scaled);
}

uint64_t ft_decimal_bits(uint32_t type, uint64_t scaled, uint32_t decimals)
{
    double v = (double)(int64_t)scaled / POWERS[decimals];
    uint64_t bits = 0;
    if (type == FT_F64) {
        memcpy(&bits, &v, sizeof v);
        return bits;
    }
    float narrow = (float)v;
    uint32_t narrow_bits;
    memcpy(&narrow_bits, &narrow, sizeof narrow);
    return narrow_bits;
}
