/* Samples in, fewer samples out: a sample stays when it says something the receiver does not know yet.
 *
 * A tag that is read more often than asked for, because a faster tag's request holds it, is first thinned to its own
 * period: the first value from half a read before each due time on counts, the others are no samples at all.
 *
 * A sample is kept when it is the first of its tag; or its quality differs from the last kept one; or it became or
 * stopped being NaN; or its value left the dead band around the last kept value; or the heartbeat is due. What is kept
 * is always the fresh sample with its own time. A tag without a dead band keeps every value; a sample without a value
 * (a failed poll) is kept on the change of quality and at heartbeats only, whatever the dead band.
 *
 * Sources of the rule: OPC UA Part 8 (AbsoluteDeadband: strictly greater), OSIsoft PI exception reporting.
 */
#ifndef FT_FILTER_H
#define FT_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "sample.h"

enum ft_deadband { FT_DEADBAND_NONE = 0, FT_DEADBAND_ABSOLUTE, FT_DEADBAND_PERCENT };

/* The rule of one tag. 56 bytes: struct format "=dddqqqB7x". */
typedef struct ft_rule {
    double scale;        /* value = raw * scale + offset */
    double offset;
    double threshold;    /* ABSOLUTE: in the value's unit; PERCENT: of the last kept value */
    int64_t heartbeat_ns; /* 0: never only because of time */
    int64_t every_ns;    /* of so much time one value is looked at; 0: at all of them */
    int64_t early_ns;    /* so much before its due time a value counts as the one that was due */
    uint8_t deadband;    /* enum ft_deadband */
    uint8_t reserved[7];
} ft_rule;

_Static_assert(sizeof(ft_rule) == 56, "agent/process/filters.py packs 56 bytes");

/* What was last kept of one tag. All zero: nothing yet. */
typedef struct ft_kept {
    uint64_t raw;
    int64_t time_ns;
    int64_t due_ns;      /* of the next value to look at, where every_ns thins */
    uint8_t seen;
    uint8_t quality;
    uint8_t reserved[6];
} ft_kept;

/* Keep, in place and in order, what the rules let through. `rules` and `kept` have one entry a tag; every sample's tag
 * is below `tags`. Returns how many samples are left, or -1 when a tag is out of range (nothing is changed then). */
ptrdiff_t ft_filter(const ft_rule *rules, ft_kept *kept, uint32_t tags, ft_sample *samples, size_t count);

#endif
