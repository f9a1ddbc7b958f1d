/* Two threads on small rings: every sample that was pushed comes out once and in order, what was refused was counted, and
 * the consumer, which sleeps without a timeout of its own, is always woken. Indices start just before they wrap. */
#include "core/ring.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SAMPLES 200000u
#define RING_BITS 4u
#define WATERMARK 5u
#define LOST_WAKE_UP_MS 10000 /* nobody sleeps this long unless a wake-up was lost */
#define FIRST_INDEX (UINT32_MAX - 1000u)

static ft_ring ring;
static int event_fd;
static uint64_t refused;

static unsigned next_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 24;
}

/* Pushes 1 to 4 samples at a time; a push that is refused is tried again, after being counted. */
static void *produce(void *unused)
{
    ft_sample samples[4];
    unsigned state = 1;
    memset(samples, 0, sizeof samples);
    for (uint64_t next = 0; next < SAMPLES;) {
        size_t left = SAMPLES - next;
        size_t n = 1 + next_random(&state) % (left < 4 ? left : 4);
        for (size_t i = 0; i < n; i++) {
            samples[i].value = next + i;
            samples[i].time_ns = (int64_t)~(next + i);
        }
        if (ft_ring_push(&ring, samples, n) == 0) {
            next += n;
        } else {
            refused += n;
            sched_yield();
        }
        ft_ring_notify(&ring, next >= SAMPLES || next_random(&state) < 4);
    }
    return unused;
}

static void sleep_until_woken(void)
{
    struct pollfd wake = {.fd = event_fd, .events = POLLIN};
    uint64_t count;
    if (!ft_ring_arm(&ring) && poll(&wake, 1, LOST_WAKE_UP_MS) == 0) {
        printf("lost wake-up with %zu samples waiting\n", ft_ring_fill(&ring));
        exit(1);
    }
    (void)!read(event_fd, &count, sizeof count);
}

static uint64_t check(const ft_sample *samples, size_t n, uint64_t expected)
{
    for (size_t i = 0; i < n; i++, expected++) {
        if (samples[i].value != expected || samples[i].time_ns != (int64_t)~expected) {
            printf("sample %llu came where %llu was due\n", (unsigned long long)samples[i].value,
                   (unsigned long long)expected);
            exit(1);
        }
    }
    return expected;
}

int main(void)
{
    pthread_t producer;
    ft_sample samples[1u << RING_BITS];
    unsigned state = 2;
    event_fd = eventfd(0, EFD_NONBLOCK);
    if (ft_ring_init(&ring, RING_BITS) != 0) {
        return 2;
    }
    ft_ring_watch(&ring, event_fd, WATERMARK);
    ring.head = ring.tail = FIRST_INDEX;
    ring.head_seen = ring.tail_seen = FIRST_INDEX;
    pthread_create(&producer, NULL, produce, NULL);
    for (uint64_t expected = 0; expected < SAMPLES;) {
        size_t n = ft_ring_pop(&ring, samples, 1 + next_random(&state) % (1u << RING_BITS));
        expected = check(samples, n, expected);
        if (n == 0) {
            sleep_until_woken();
        }
    }
    pthread_join(producer, NULL);
    if (ft_ring_dropped(&ring) != refused || ft_ring_fill(&ring) != 0) {
        printf("%llu refused, %llu counted\n", (unsigned long long)refused,
               (unsigned long long)ft_ring_dropped(&ring));
        return 1;
    }
    ft_ring_free(&ring);
    return 0;
}
