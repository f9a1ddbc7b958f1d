/* One message in; who sent it, when, and where its body is, out. docs/FORMAT.md draws every byte. */
#ifndef FT_ENVELOPE_H
#define FT_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "core/mpack.h"

#define FT_FORMAT_VERSION 1
#define FT_EPOCH_BYTES 8

typedef struct ft_envelope {
    const uint8_t *gateway;
    size_t gateway_bytes;
    const uint8_t *epoch; /* FT_EPOCH_BYTES */
    uint64_t seq;
    uint8_t flags;
    size_t flags_at;      /* offset of the flags byte in the message: it may be patched in place */
    uint64_t source;
    uint64_t error_ms;
    uint8_t codec;        /* 0 none, 1 zlib */
    const uint8_t *body;  /* codec 0: one msgpack array; 1: what zlib made of it */
    size_t body_bytes;
    size_t bytes;         /* of the whole message; more may follow */
} ft_envelope;

/* What readers say when bytes are not what FORMAT.md draws. */
typedef struct ft_fault {
    const char *why; /* NULL: nothing is wrong */
    size_t at;       /* offset in the bytes that were read */
} ft_fault;

/* What a reader has come to: 0, or -1 with the fault filled in; `start` is where offsets count from. */
int ft_tell_fault(const ft_reader *r, const uint8_t *start, ft_fault *fault);

/* 0, or -1 with the fault filled in. */
int ft_read_envelope(const uint8_t *bytes, size_t n, ft_envelope *envelope, ft_fault *fault);

#endif
