#include "mishap.h"

#include <string.h>

#define KIND_SHIFT 16
#define DETAIL_SHIFT 8
#define BYTE_MASK 0xFF

static void put(ft_mishap *mishap, size_t i, uint64_t word)
{
    atomic_store_explicit(&mishap->words[i], word, memory_order_relaxed);
}

static uint64_t asked_word(const ft_mishap_asked *asked)
{
    uint64_t word = 0;
    memcpy(&word, asked, sizeof *asked);
    return word;
}

_Static_assert(sizeof(ft_mishap_asked) <= sizeof(uint64_t), "it is kept in one word");

void ft_mishap_note(ft_mishap *mishap, const ft_mishap_seen *seen)
{
    uint32_t version = atomic_load_explicit(&mishap->version, memory_order_relaxed);
    uint64_t what = (uint64_t)seen->kind << KIND_SHIFT | (uint64_t)seen->detail << DETAIL_SHIFT | seen->n;
    atomic_store_explicit(&mishap->version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    put(mishap, 0, (uint64_t)seen->time_ns);
    put(mishap, 1, what);
    put(mishap, 2, asked_word(&seen->asked));
    for (size_t i = 0; i < FT_MISHAP_BYTES / sizeof(uint64_t); i++) {
        uint64_t word;
        memcpy(&word, seen->bytes + i * sizeof word, sizeof word);
        put(mishap, 3 + i, word);
    }
    atomic_store_explicit(&mishap->version, version + 2, memory_order_release);
}

void ft_mishap_read(const ft_mishap *mishap, ft_mishap_seen *out)
{
    uint64_t words[FT_MISHAP_WORDS];
    uint32_t before, after;
    do {
        before = atomic_load_explicit(&mishap->version, memory_order_acquire);
        for (size_t i = 0; i < FT_MISHAP_WORDS; i++)
            words[i] = atomic_load_explicit(&mishap->words[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&mishap->version, memory_order_relaxed);
    } while (before != after || before % 2);
    out->time_ns = (int64_t)words[0];
    out->kind = (enum ft_mishap_kind)(words[1] >> KIND_SHIFT);
    out->detail = words[1] >> DETAIL_SHIFT & BYTE_MASK;
    out->n = words[1] & BYTE_MASK;
    memcpy(&out->asked, words + 2, sizeof out->asked);
    memcpy(out->bytes, words + 3, FT_MISHAP_BYTES);
}
