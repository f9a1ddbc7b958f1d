#include "filter.h"

#include <math.h>
#include <string.h>

static double as_float(const ft_sample *sample, uint64_t raw)
{
    if (sample->type == FT_F32) {
        uint32_t bits = (uint32_t)raw;
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    double value;
    memcpy(&value, &raw, sizeof value);
    return value;
}

static int is_float(uint16_t type)
{
    return type == FT_F32 || type == FT_F64;
}

static int is_signed(uint16_t type)
{
    return type == FT_I16 || type == FT_I32 || type == FT_I64;
}

static double as_number(const ft_sample *sample, uint64_t raw)
{
    if (is_float(sample->type))
        return as_float(sample, raw);
    return is_signed(sample->type) ? (double)(int64_t)raw : (double)raw;
}

/* Distance of two raw integers, exact: two 64-bit counters may differ by less than a double can tell. */
static double integer_distance(const ft_sample *sample, uint64_t last)
{
    int rising = is_signed(sample->type) ? (int64_t)sample->value > (int64_t)last : sample->value > last;
    return (double)(rising ? sample->value - last : last - sample->value);
}

static int left_the_band(const ft_rule *rule, const ft_sample *sample, uint64_t last)
{
    double last_value = as_number(sample, last) * rule->scale + rule->offset;
    double threshold = rule->threshold;
    double distance;
    if (rule->deadband == FT_DEADBAND_PERCENT)
        threshold = rule->threshold / 100.0 * fabs(last_value);
    if (!is_float(sample->type))
        return integer_distance(sample, last) * fabs(rule->scale) > threshold;
    double value = as_float(sample, sample->value) * rule->scale + rule->offset;
    if (isnan(value) || isnan(last_value))
        return isnan(value) != isnan(last_value);
    if (isinf(value) || isinf(last_value))
        return value < last_value || value > last_value;
    distance = fabs(value - last_value);
    return distance > threshold;
}

/* Whether the sample comes between two that were asked for. A failure, and its end, is told at once; further pieces of
 * a text belong to the first. */
static int is_extra(const ft_rule *rule, const ft_kept *kept, const ft_sample *sample)
{
    if (rule->every_ns == 0 || !kept->seen || kept->quality != sample->quality || kept->time_ns == sample->time_ns)
        return 0;
    return sample->time_ns + rule->early_ns < kept->due_ns;
}

/* The due times are a grid from the first value on, so that lateness does not add up. */
static void set_next_due(const ft_rule *rule, ft_kept *kept, const ft_sample *sample)
{
    int64_t at = sample->time_ns + rule->early_ns;
    if (rule->every_ns == 0 || (kept->seen && at < kept->due_ns))
        return;
    int64_t due = kept->seen ? kept->due_ns : sample->time_ns;
    kept->due_ns = due + ((at - due) / rule->every_ns + 1) * rule->every_ns;
}

static int is_news(const ft_rule *rule, const ft_kept *kept, const ft_sample *sample)
{
    if (!kept->seen || kept->quality != sample->quality)
        return 1;
    if (rule->heartbeat_ns && sample->time_ns - kept->time_ns >= rule->heartbeat_ns)
        return 1;
    if (!ft_has_value(sample->quality))
        return 0;
    if (rule->deadband == FT_DEADBAND_NONE || sample->type == FT_TEXT)
        return 1;
    return left_the_band(rule, sample, kept->raw);
}

static void remember(ft_kept *kept, const ft_sample *sample)
{
    kept->raw = sample->value;
    kept->time_ns = sample->time_ns;
    kept->quality = sample->quality;
    kept->seen = 1;
}

ptrdiff_t ft_filter(const ft_rule *rules, ft_kept *kept, uint32_t tags, ft_sample *samples, size_t count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++)
        if (samples[i].tag >= tags)
            return -1;
    for (size_t i = 0; i < count; i++) {
        uint32_t tag = samples[i].tag;
        if (is_extra(&rules[tag], &kept[tag], &samples[i]))
            continue;
        set_next_due(&rules[tag], &kept[tag], &samples[i]);
        if (!is_news(&rules[tag], &kept[tag], &samples[i]))
            continue;
        remember(&kept[tag], &samples[i]);
        samples[left++] = samples[i];
    }
    return (ptrdiff_t)left;
}
