/* What happens on a bus or to a device in, numbers that any thread may read out. */
#ifndef FT_COUNTS_H
#define FT_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

/* Written by the thread that steps the bus, read by any. */
enum ft_bus_count {
    FT_N_TRANSACTIONS = 0, /* requests sent */
    FT_N_OK,
    FT_N_TIMEOUTS,
    FT_N_CRC_ERRORS,
    FT_N_EXCEPTIONS,
    FT_N_STALE,    /* late answers that were recognised and thrown away */
    FT_N_AMBIGUOUS, /* exceptions that may have been late ones, thrown away */
    FT_N_OVERRUNS, /* polls skipped because the bus or the device was not ready in their period */
    FT_N_BUSY_NS,  /* time the line was taken: request, answer or timeout, and the gap behind it */
    FT_N_BARRIERS, /* loop-backs sent to be sure that no late answer is under way */
    FT_N_PROBES,   /* requests to suspects */
    FT_N_NOISE,    /* bytes in no answer that was asked for: the line's quality */
    FT_N_COLLISIONS, /* the line's echo differed from what was sent */
    FT_N_BYTES_SENT,
    FT_N_BYTES_HEARD, /* echo and noise too: with those sent, what the wire carried */
    FT_N_COUNT
};

typedef struct ft_counts {
    _Atomic uint64_t n[FT_N_COUNT];
} ft_counts;

static inline void ft_counts_add(ft_counts *counts, enum ft_bus_count which, uint64_t n)
{
    uint64_t before = atomic_load_explicit(&counts->n[which], memory_order_relaxed);
    atomic_store_explicit(&counts->n[which], before + n, memory_order_relaxed);
}

static inline void ft_counts_read(const ft_counts *counts, uint64_t out[FT_N_COUNT])
{
    for (int i = 0; i < FT_N_COUNT; i++)
        out[i] = atomic_load_explicit(&counts->n[i], memory_order_relaxed);
}

#endif
