/* Samples in at one end and out at the other, between two threads. */
#include "ring.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ft_ring_init(ft_ring *ring, uint32_t bits)
{
    memset(ring, 0, sizeof *ring);
    ring->event_fd = -1;
    if (bits > FT_RING_MAX_BITS) {
        return -1;
    }
    ring->mask = (UINT32_C(1) << bits) - 1;
    ring->slots = calloc((size_t)ring->mask + 1, sizeof *ring->slots);
    return ring->slots == NULL ? -1 : 0;
}

void ft_ring_free(ft_ring *ring)
{
    free(ring->slots);
    ring->slots = NULL;
}

void ft_ring_watch(ft_ring *ring, int event_fd, uint32_t watermark)
{
    ring->event_fd = event_fd;
    ring->watermark = watermark;
}

/* Where `at` stands, how many of n fit before the end of the array; the rest goes to its beginning. */
static size_t first_stretch(const ft_ring *ring, uint32_t at, size_t n)
{
    size_t to_end = (size_t)ring->mask + 1 - (at & ring->mask);
    return n < to_end ? n : to_end;
}

int ft_ring_push(ft_ring *ring, const ft_sample *samples, size_t n)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t capacity = (size_t)ring->mask + 1;
    if (n > capacity - (uint32_t)(head - ring->tail_seen)) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (n > capacity - (uint32_t)(head - ring->tail_seen)) {
            atomic_fetch_add_explicit(&ring->dropped, ft_values(samples, n), memory_order_relaxed);
            return -1;
        }
    }
    if (n == 0) {
        return 0;
    }
    size_t first = first_stretch(ring, head, n);
    memcpy(ring->slots + (head & ring->mask), samples, first * sizeof *samples);
    memcpy(ring->slots, samples + first, (n - first) * sizeof *samples);
    /* Not only released: ft_ring_notify must not look at `armed` before this is visible. */
    atomic_store_explicit(&ring->head, head + (uint32_t)n, memory_order_seq_cst);
    return 0;
}

/* Is there reason to wake the consumer? The order of these loads after the own seq_cst store is what saves wake-ups. */
static int is_due(ft_ring *ring)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_seq_cst);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    return atomic_load_explicit(&ring->urgent, memory_order_seq_cst) || head - tail >= ring->watermark;
}

int ft_ring_notify(ft_ring *ring, int urgent)
{
    if (urgent) {
        atomic_store_explicit(&ring->urgent, 1, memory_order_seq_cst);
    }
    if (!atomic_load_explicit(&ring->armed, memory_order_seq_cst) || !is_due(ring)
        || !atomic_exchange_explicit(&ring->armed, 0, memory_order_seq_cst)) {
        return 0;
    }
    uint64_t one = 1;
    /* The only failure is a counter that is full, and then the eventfd is readable anyway. */
    ssize_t written = write(ring->event_fd, &one, sizeof one);
    (void)written;
    return 1;
}

int ft_ring_arm(ft_ring *ring)
{
    atomic_store_explicit(&ring->armed, 1, memory_order_seq_cst);
    if (!is_due(ring)) {
        return 0;
    }
    atomic_store_explicit(&ring->armed, 0, memory_order_seq_cst);
    return 1;
}

size_t ft_ring_pop(ft_ring *ring, ft_sample *out, size_t max)
{
    /* Forget the urgency before looking at the samples: what becomes urgent from here on is seen by the next arm. */
    uint32_t urgent = atomic_load_explicit(&ring->urgent, memory_order_acquire);
    if (urgent) {
        atomic_store_explicit(&ring->urgent, 0, memory_order_seq_cst);
    }
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (urgent || (uint32_t)(ring->head_seen - tail) < max) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
    }
    size_t waiting = (uint32_t)(ring->head_seen - tail);
    size_t n = waiting < max ? waiting : max;
    size_t first = first_stretch(ring, tail, n);
    if (n > 0) {
        memcpy(out, ring->slots + (tail & ring->mask), first * sizeof *out);
        memcpy(out + first, ring->slots, (n - first) * sizeof *out);
    }
    atomic_store_explicit(&ring->tail, tail + (uint32_t)n, memory_order_release);
    if (urgent && n < waiting) {
        atomic_store_explicit(&ring->urgent, 1, memory_order_seq_cst);
    }
    return n;
}

size_t ft_ring_fill(ft_ring *ring)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return (uint32_t)(atomic_load_explicit(&ring->head, memory_order_acquire) - tail);
}

uint64_t ft_ring_dropped(ft_ring *ring)
{
    return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}
