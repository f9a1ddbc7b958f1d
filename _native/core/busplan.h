/* The arrays of a plan in, checked; one owned copy, with room for what is learned while it runs, out. */
#ifndef FT_BUSPLAN_H
#define FT_BUSPLAN_H

#include <stdint.h>

#include "counts.h"
#include "plan.h"
#include "rhythm.h"
#include "sample.h"

/* One block's place in the schedule. */
typedef struct ft_turn {
    int64_t due_ns;
    ft_rhythm rhythm;
} ft_turn;

typedef struct ft_device {
    int64_t not_before_ns;  /* its gap or its back-off */
    int64_t backoff_ns;     /* 0: alive */
    int64_t late_until_ns;  /* until then a late answer of this shape may still come: */
    uint16_t late_bytes;
    uint8_t late_function;
    uint32_t silent;        /* polls in a row without a byte of an answer */
    ft_counts counts;
} ft_device;

/* A plan and what was learned while it ran; one piece of memory. */
typedef struct ft_plan {
    uint32_t block_count;
    uint32_t point_count;
    uint32_t device_count;
    uint32_t most_records;  /* an answer or a failure of any block gives no more samples than this */
    ft_block *blocks;
    ft_point *points;
    ft_turn *turns;         /* one for each block */
    ft_device *devices;
    ft_sample *scratch;     /* most_records */
} ft_plan;

/* A copy of the arrays, or NULL: no memory, or (*bad >= 0) block number *bad would read or write out of bounds. */
ft_plan *ft_plan_new(const ft_block *blocks, uint32_t block_count, const ft_point *points, uint32_t point_count,
                     uint32_t device_count, int64_t *bad);
void ft_plan_free(ft_plan *plan);

#endif
