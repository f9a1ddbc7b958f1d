/* Bytes that went over one line in, the last of them with their times out: always on, the oldest make room.
 *
 * One thread writes, any other may copy at any time. Nothing waits and nothing is allocated after ft_trace_init(). A
 * record is three parts of whole words: time, length and direction, bytes; records lie one behind the other in a ring.
 */
#ifndef FT_TRACE_H
#define FT_TRACE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* 32 KiB: some 300 transactions of ten registers, 60 of the longest, and 1 MiB for a gateway's 32 buses. */
#define FT_TRACE_WORDS 4096u
/* What is longer, which only noise is, is cut: an ASCII frame has 513 characters. */
#define FT_TRACE_MAX_BYTES 520u
#define FT_TRACE_HEAD_WORDS 2u

enum ft_trace_way {
    FT_TRACE_SENT = 0,
    FT_TRACE_HEARD
};

typedef struct ft_trace {
    _Atomic uint64_t *words;
    _Atomic uint64_t tail; /* words ever written before the oldest record that is whole */
    _Atomic uint64_t head; /* words ever written */
} ft_trace;

/* 0, or -1: no memory. */
int ft_trace_init(ft_trace *trace);
void ft_trace_free(ft_trace *trace);
/* The one writer. */
void ft_trace_add(ft_trace *trace, int64_t now, enum ft_trace_way way, const uint8_t *bytes, size_t n);
/* Copies whole records, oldest first, into `out` of FT_TRACE_WORDS words; returns how many words they are. Word 0 of a
 * record is its time in ns, word 1 its length in bytes and, from bit 32 on, its direction. */
size_t ft_trace_copy(ft_trace *trace, uint64_t *out);

#endif
