/* The arrays of a plan in, checked; one owned copy, with room for what is learned while it runs, out. */
#ifndef FT_BUSPLAN_H
#define FT_BUSPLAN_H

#include <stdint.h>

#include "counts.h"
#include "gap.h"
#include "histogram.h"
#include "mishap.h"
#include "patience.h"
#include "plan.h"
#include "rhythm.h"
#include "sample.h"

#define FT_NO_BLOCK UINT32_MAX /* and no device */

/* So many registers or bits beyond a block's ends the plan reads anyway, with other blocks. */
typedef struct ft_spare {
    int32_t before;
    int32_t after;
} ft_spare;

/* One block's place in the schedule. */
typedef struct ft_turn {
    int64_t due_ns;
    int64_t not_before_ns; /* the device was busy with this block */
    int64_t busy_ns;       /* how long it is given, 0: it was not busy */
    uint32_t variants;     /* requests of another shape so far */
    uint32_t good;         /* answers in a row */
    uint8_t known;         /* it was answered at least once */
    ft_spare spare;
    ft_rhythm rhythm;
} ft_turn;

typedef struct ft_device {
    int64_t not_before_ns; /* the silence it is configured to want, or its back-off */
    int64_t backoff_ns;    /* 0: no suspect */
    uint32_t silent;       /* polls in a row without a byte of an answer */
    uint32_t probe;        /* block that a suspect is asked for */
    uint32_t mute;         /* barriers in a row without an answer */
    uint8_t alive;         /* it has answered since it was a suspect, or ever */
    uint8_t orderly;       /* late answers that came before anything that was asked later, up to FT_ORDER_TRUST */
    uint8_t is_disorderly; /* one came after */
    uint8_t must_drain;    /* what it owes can only be told from the next answer by a barrier, or by waiting */
    ft_patience patience;
    ft_gap gap;
    ft_counts counts;
    ft_histogram round_trips; /* from the request's first byte to the answer's last */
    ft_histogram turnarounds; /* the same without the wire time of both; empty where that is not known (TCP) */
    ft_mishap mishap;      /* the last one */
    _Atomic uint8_t is_suspect; /* backoff_ns > 0, for other threads */
} ft_device;

/* A plan and what was learned while it ran; one piece of memory. */
typedef struct ft_plan {
    struct ft_plan *next;   /* of several that nobody runs any more */
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
/* With all that are linked to it. */
void ft_plan_free(ft_plan *plan);

/* The first block that reads from this unit; NULL: none does, or there is no plan. */
const ft_block *ft_plan_block_of(const ft_plan *plan, uint8_t unit);

#endif
