#include "requests.h"

#include <string.h>

#define UNIT_BYTES 1
#define MIN_RTU (UNIT_BYTES + 1 + FT_CRC_BYTES)
#define MBAP_LENGTH_AT 4
#define MBAP_UNCOUNTED (FT_MBAP_BYTES - UNIT_BYTES) /* the length field counts what follows it */

void ft_stream_init(ft_stream *stream)
{
    memset(stream, 0, sizeof *stream);
}

static void drop_garbage(ft_stream *stream, size_t n)
{
    stream->taken += n;
    stream->garbage += n;
}

size_t ft_stream_feed(ft_stream *stream, enum ft_framing framing, int64_t now_ns, const uint8_t *bytes, size_t n)
{
    size_t waiting = stream->filled - stream->taken;
    int64_t silence_ns = framing == FT_ASCII ? FT_ASCII_PAUSE_NS : FT_FRAME_SILENCE_NS;
    if (framing != FT_TCP && waiting > 0 && now_ns - stream->last_ns > silence_ns) {
        drop_garbage(stream, waiting);
        waiting = 0;
    }
    memmove(stream->bytes, stream->bytes + stream->taken, waiting);
    if (waiting == 0)
        stream->first_ns = now_ns;
    if (n > FT_STREAM_BYTES - waiting)
        n = FT_STREAM_BYTES - waiting;
    memcpy(stream->bytes + waiting, bytes, n);
    stream->taken = 0;
    stream->filled = waiting + n;
    stream->last_ns = now_ns;
    return n;
}

static void take(ft_stream *stream, ft_request *request, size_t adu_bytes)
{
    request->first_ns = stream->first_ns;
    request->adu = stream->bytes + stream->taken;
    request->adu_bytes = adu_bytes;
    stream->taken += adu_bytes;
    stream->first_ns = stream->last_ns;
}

/* Length of the RTU request at `bytes`; 0: cannot tell yet; -1: none starts here. What the table refuses is still a
 * request when everything that came is one frame: it deserves its exception, or is a long loop-back. */
static int rtu_request_length(const uint8_t *bytes, size_t n)
{
    int pdu = n > UNIT_BYTES ? ft_request_length(bytes + UNIT_BYTES, n - UNIT_BYTES) : 0;
    size_t whole = UNIT_BYTES + (size_t)(pdu > 0 ? pdu : 0) + FT_CRC_BYTES;
    if (pdu == 0 || (pdu > 0 && n < whole))
        return 0;
    if (pdu > 0 && ft_crc_fits(bytes, whole))
        return (int)whole;
    return n >= MIN_RTU && n <= FT_MAX_RTU && ft_crc_fits(bytes, n) ? (int)n : -1;
}

static int next_rtu(ft_stream *stream, ft_request *request)
{
    while (stream->taken < stream->filled) {
        int length = rtu_request_length(stream->bytes + stream->taken, stream->filled - stream->taken);
        if (length == 0)
            return 0;
        if (length < 0) {
            drop_garbage(stream, 1);
            continue;
        }
        take(stream, request, (size_t)length);
        request->transaction = 0;
        request->unit = request->adu[0];
        request->pdu = request->adu + UNIT_BYTES;
        request->pdu_bytes = request->adu_bytes - UNIT_BYTES - FT_CRC_BYTES;
        return 1;
    }
    return 0;
}

/* ---- ASCII ---- */

/* Bytes until the next character of a kind, or all. */
static size_t until(const ft_stream *stream, size_t from, uint8_t character)
{
    const uint8_t *found = memchr(stream->bytes + from, character, stream->filled - from);
    return (found ? (size_t)(found - stream->bytes) : stream->filled) - from;
}

/* The last colon before the next CR begins what may be a request. */
static void skip_to_frame(ft_stream *stream)
{
    size_t end = stream->taken + until(stream, stream->taken, '\r');
    size_t colon = stream->taken + until(stream, stream->taken, ':');
    for (size_t at = colon; at < end; at++)
        if (stream->bytes[at] == ':')
            colon = at;
    drop_garbage(stream, colon - stream->taken);
}

/* 1: the n characters are a frame, `said` is what it says; its length in RTU is *bytes. */
static int understood(ft_stream *stream, size_t n, size_t *bytes)
{
    ft_ascii line = {.state = FT_ASCII_OUTSIDE};
    *bytes = n <= FT_MAX_ASCII ? ft_ascii_decode(&line, stream->bytes + stream->taken, n, stream->said) : 0;
    return line.state == FT_ASCII_ENDED && ft_crc_fits(stream->said, *bytes);
}

/* Up to the CR, and with the LF where that is there already. */
static int next_ascii(ft_stream *stream, ft_request *request)
{
    size_t bytes;
    for (;;) {
        skip_to_frame(stream);
        size_t n = until(stream, stream->taken, '\r') + 1;
        if (stream->taken + n > stream->filled && n <= FT_MAX_ASCII)
            return 0;
        if (understood(stream, n, &bytes)) {
            n += stream->taken + n < stream->filled && stream->bytes[stream->taken + n] == '\n';
            take(stream, request, n);
            break;
        }
        drop_garbage(stream, 1); /* the colon */
    }
    request->transaction = 0;
    request->unit = stream->said[0];
    request->pdu = stream->said + UNIT_BYTES;
    request->pdu_bytes = bytes - UNIT_BYTES - FT_CRC_BYTES;
    return 1;
}

/* ---- TCP ---- */

static int next_tcp(ft_stream *stream, ft_request *request)
{
    const uint8_t *head = stream->bytes + stream->taken;
    size_t waiting = stream->filled - stream->taken;
    if (waiting < FT_MBAP_BYTES)
        return 0;
    size_t length = ft_u16(head + MBAP_LENGTH_AT);
    if (ft_u16(head + 2) != 0 || length <= UNIT_BYTES || length > UNIT_BYTES + FT_MAX_PDU)
        return -1;
    if (waiting < MBAP_UNCOUNTED + length)
        return 0;
    take(stream, request, MBAP_UNCOUNTED + length);
    request->transaction = ft_u16(head);
    request->unit = head[MBAP_UNCOUNTED];
    request->pdu = head + FT_MBAP_BYTES;
    request->pdu_bytes = length - UNIT_BYTES;
    return 1;
}

int ft_stream_next(ft_stream *stream, enum ft_framing framing, ft_request *request)
{
    switch (framing) {
    case FT_TCP: return next_tcp(stream, request);
    case FT_ASCII: return next_ascii(stream, request);
    default: return next_rtu(stream, request);
    }
}
