/* Samples from one producer thread to one consumer thread, without locks: C11 acquire/release on two free-running
 * indices, each on a cache line of its own beside a copy of the other one. Full: the newest samples are dropped and
 * counted, never half of a push.
 *
 * Waking: the consumer arms the ring and sleeps on an eventfd (several rings may share one). The producer writes it
 * only when the ring is armed and past its watermark or urgent, and disarms it. No wake-up is lost: arming and then looking
 * at the fill (consumer) and publishing and then looking at the flag (producer) are sequentially consistent, so at
 * least one of the two sees the other.
 */
#ifndef FT_RING_H
#define FT_RING_H

#include "sample.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FT_CACHE_LINE 64
#define FT_RING_MAX_BITS 24 /* 16 Mi samples, 512 MiB: beyond that a configuration is mistaken */

typedef struct ft_ring {
    /* the producer's line */
    _Alignas(FT_CACHE_LINE) _Atomic uint32_t head; /* samples pushed so far, modulo 2^32 */
    uint32_t tail_seen;
    _Atomic uint64_t dropped;
    /* the consumer's line */
    _Alignas(FT_CACHE_LINE) _Atomic uint32_t tail; /* samples popped so far, modulo 2^32 */
    uint32_t head_seen;
    /* written seldom, by both */
    _Alignas(FT_CACHE_LINE) _Atomic uint32_t armed;
    _Atomic uint32_t urgent;
    /* constant after init and watch */
    _Alignas(FT_CACHE_LINE) ft_sample *slots;
    uint32_t mask;
    uint32_t watermark;
    int event_fd;
} ft_ring;

/* Room for 2^bits samples. The ring must be aligned to FT_CACHE_LINE. Returns 0, or -1: no memory, too many bits. */
int ft_ring_init(ft_ring *ring, uint32_t bits);
void ft_ring_free(ft_ring *ring);

/* Before the threads start: wake through `event_fd` (not owned) once at least `watermark` samples wait. */
void ft_ring_watch(ft_ring *ring, int event_fd, uint32_t watermark);

/* Producer: all n records or none; 0, or -1 full, and their samples count as dropped. Follow pushes with a notify. */
int ft_ring_push(ft_ring *ring, const ft_sample *samples, size_t n);

/* Producer: wake the consumer if it sleeps and the watermark is reached or this is urgent. Returns 1 when it did. */
int ft_ring_notify(ft_ring *ring, int urgent);

/* Consumer: up to max samples, oldest first; returns how many. */
size_t ft_ring_pop(ft_ring *ring, ft_sample *out, size_t max);

/* Consumer, before it sleeps on the eventfd: 0 armed, sleep; 1 there is already reason to drain, do not sleep. */
int ft_ring_arm(ft_ring *ring);

/* Any thread: samples waiting now. */
size_t ft_ring_fill(ft_ring *ring);
uint64_t ft_ring_dropped(ft_ring *ring);

#endif
