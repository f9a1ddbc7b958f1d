#include "trace.h"

#include <stdlib.h>
#include <string.h>

#define WORD_BYTES sizeof(uint64_t)
#define WAY_SHIFT 32
#define LENGTH_MASK UINT64_C(0xFFFFFFFF)

static uint64_t record_words(uint64_t length_and_way)
{
    return FT_TRACE_HEAD_WORDS + ((length_and_way & LENGTH_MASK) + WORD_BYTES - 1) / WORD_BYTES;
}

static uint64_t get(ft_trace *trace, uint64_t at)
{
    return atomic_load_explicit(&trace->words[at % FT_TRACE_WORDS], memory_order_relaxed);
}

static void put(ft_trace *trace, uint64_t at, uint64_t word)
{
    atomic_store_explicit(&trace->words[at % FT_TRACE_WORDS], word, memory_order_relaxed);
}

/* The oldest records are given up before a word of them is written over, so that a copy knows. */
static void make_room(ft_trace *trace, uint64_t head, uint64_t words)
{
    uint64_t tail = atomic_load_explicit(&trace->tail, memory_order_relaxed);
    while (head + words - tail > FT_TRACE_WORDS)
        tail += record_words(get(trace, tail + 1));
    atomic_store_explicit(&trace->tail, tail, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

void ft_trace_add(ft_trace *trace, int64_t now, enum ft_trace_way way, const uint8_t *bytes, size_t n)
{
    uint64_t length = n < FT_TRACE_MAX_BYTES ? n : FT_TRACE_MAX_BYTES;
    uint64_t head = atomic_load_explicit(&trace->head, memory_order_relaxed);
    make_room(trace, head, record_words(length));
    put(trace, head, (uint64_t)now);
    put(trace, head + 1, length | (uint64_t)way << WAY_SHIFT);
    head += FT_TRACE_HEAD_WORDS;
    for (uint64_t at = 0; at < length; at += WORD_BYTES) {
        uint64_t word = 0;
        memcpy(&word, bytes + at, length - at < WORD_BYTES ? length - at : WORD_BYTES);
        put(trace, head++, word);
    }
    atomic_store_explicit(&trace->head, head, memory_order_release);
}

size_t ft_trace_copy(ft_trace *trace, uint64_t *out)
{
    uint64_t head = atomic_load_explicit(&trace->head, memory_order_acquire);
    uint64_t begin = atomic_load_explicit(&trace->tail, memory_order_relaxed);
    for (uint64_t at = begin; at < head; at++)
        out[at - begin] = get(trace, at);
    atomic_thread_fence(memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&trace->tail, memory_order_relaxed); /* what was overtaken while we copied */
    if (tail >= head)
        return 0;
    memmove(out, out + (tail - begin), (head - tail) * sizeof *out);
    return (size_t)(head - tail);
}

int ft_trace_init(ft_trace *trace)
{
    trace->words = calloc(FT_TRACE_WORDS, sizeof *trace->words);
    atomic_init(&trace->tail, 0);
    atomic_init(&trace->head, 0);
    return trace->words ? 0 : -1;
}

void ft_trace_free(ft_trace *trace)
{
    free(trace->words);
    trace->words = NULL;
}
