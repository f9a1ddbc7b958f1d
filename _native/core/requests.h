/* Bytes that arrive at the device's side of a line or connection in, the requests among them out. No I/O, no clock. */
#ifndef FT_REQUESTS_H
#define FT_REQUESTS_H

#include <stddef.h>
#include <stdint.h>

#include "ascii.h"
#include "modbus.h"

#define FT_STREAM_BYTES 2048              /* three of the longest requests: what a client may send ahead */
#define FT_FRAME_SILENCE_NS INT64_C(50000000) /* ends an RTU request that stopped short; no master pauses so long in one */

typedef struct ft_stream {
    int64_t first_ns; /* arrival of the oldest byte */
    int64_t last_ns;
    size_t taken; /* bytes[taken .. filled) wait */
    size_t filled;
    size_t garbage; /* bytes that belonged to no request, ever */
    uint8_t bytes[FT_STREAM_BYTES];
    uint8_t said[FT_MAX_ASCII + 1]; /* ASCII: what the last request was in RTU */
} ft_stream;

/* Points into its stream: valid until the stream is fed again. */
typedef struct ft_request {
    int64_t first_ns; /* arrival of its first byte */
    const uint8_t *adu;
    size_t adu_bytes;
    const uint8_t *pdu;
    size_t pdu_bytes;
    uint16_t transaction;
    uint8_t unit;
} ft_request;

void ft_stream_init(ft_stream *stream);
/* Bytes that arrived at `now_ns`. Takes at most the room there is; returns how many. */
size_t ft_stream_feed(ft_stream *stream, enum ft_framing framing, int64_t now_ns, const uint8_t *bytes, size_t n);
/* 1: `request` is the next one; 0: more bytes are needed; -1: this is no Modbus TCP, close the connection. */
int ft_stream_next(ft_stream *stream, enum ft_framing framing, ft_request *request);

#endif
