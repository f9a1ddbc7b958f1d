/* Requests and time in, answers at the time they are due out. */
#include "simbus.h"

#include <string.h>

void ft_simbus_init(ft_simbus *bus, int64_t char_ns, int64_t gap_ns)
{
    bus->char_ns = char_ns;
    bus->gap_ns = gap_ns;
    bus->line_end_ns = 0;
    bus->waiting = 0;
    for (uint32_t i = 0; i < FT_SIM_PENDING; i++)
        bus->pending[i].bytes = 0;
    for (uint32_t i = 0; i < FT_SIM_STREAMS; i++)
        ft_stream_init(&bus->streams[i]);
}

/* ---- requests in --------------------------------------------------------------------------------------------- */

void ft_simbus_feed(ft_simbus *bus, uint32_t stream, int64_t now_ns, const uint8_t *bytes, size_t n)
{
    size_t before = bus->streams[stream].garbage;
    ft_stream_feed(&bus->streams[stream], bus->server.framing, now_ns, bytes, n);
    ft_count(&bus->counts[FT_COUNT_GARBAGE], bus->streams[stream].garbage - before);
}

/* When the request is all on the wire; counts a master that broke the silence before it. */
static int64_t request_end_ns(ft_simbus *bus, const ft_request *request)
{
    int64_t start_ns = request->first_ns > bus->line_end_ns ? request->first_ns : bus->line_end_ns;
    if (bus->line_end_ns > 0 && request->first_ns - bus->line_end_ns < bus->gap_ns - FT_SIM_GAP_TOLERANCE_NS)
        ft_count(&bus->counts[FT_COUNT_GAP_VIOLATIONS], 1);
    return start_ns + (int64_t)request->adu_bytes * bus->char_ns;
}

static void put_off(ft_simbus *bus, uint32_t stream, int64_t start_ns, const ft_answer *answer)
{
    ft_pending *place = bus->pending;
    if (bus->waiting == FT_SIM_PENDING) {
        ft_count(&bus->counts[FT_COUNT_UNSENT], 1);
        return;
    }
    while (place->bytes > 0)
        place++;
    place->start_ns = start_ns;
    place->sent = 0;
    place->bytes = answer->bytes;
    place->stream = stream;
    memcpy(place->adu, answer->adu, answer->bytes);
    bus->waiting++;
}

static void answer_request(ft_simbus *bus, uint32_t stream, const ft_request *request, int64_t now_ns, int64_t wall_ns)
{
    ft_answer answer;
    int64_t end_ns = bus->char_ns > 0 ? request_end_ns(bus, request) : now_ns;
    int64_t start_ns = end_ns + bus->gap_ns;
    ft_server_answer(&bus->server, request, wall_ns + (start_ns - now_ns), &answer);
    bus->line_end_ns = end_ns;
    if (answer.bytes == 0)
        return;
    put_off(bus, stream, start_ns + answer.late_ns, &answer);
    if (answer.late_ns == 0) /* a master cannot keep clear of an answer that comes when it has given up */
        bus->line_end_ns = start_ns + (int64_t)answer.bytes * bus->char_ns;
}

int ft_simbus_next(ft_simbus *bus, uint32_t stream, int64_t now_ns, int64_t wall_ns)
{
    ft_request request;
    size_t before = bus->streams[stream].garbage;
    int found = ft_stream_next(&bus->streams[stream], bus->server.framing, &request);
    ft_count(&bus->counts[FT_COUNT_GARBAGE], bus->streams[stream].garbage - before);
    if (found > 0)
        answer_request(bus, stream, &request, now_ns, wall_ns);
    return found;
}

/* ---- answers out --------------------------------------------------------------------------------------------- */

static size_t piece_end(const ft_pending *answer, size_t from)
{
    size_t end = from + FT_SIM_FIFO_BYTES;
    return end < answer->bytes ? end : answer->bytes;
}

static int64_t due_ns(const ft_simbus *bus, const ft_pending *answer, size_t from)
{
    return answer->start_ns + (int64_t)piece_end(answer, from) * bus->char_ns;
}

static void forget(ft_simbus *bus, ft_pending *answer)
{
    bus->waiting -= answer->bytes > 0;
    answer->bytes = 0;
}

static size_t release_one(ft_simbus *bus, ft_pending *answer, int64_t now_ns, uint8_t *out)
{
    size_t from = answer->sent;
    while (answer->sent < answer->bytes && due_ns(bus, answer, answer->sent) <= now_ns)
        answer->sent = piece_end(answer, answer->sent);
    size_t n = answer->sent - from;
    memcpy(out, answer->adu + from, n);
    if (answer->sent == answer->bytes)
        forget(bus, answer);
    return n;
}

size_t ft_simbus_release(ft_simbus *bus, int64_t now_ns, uint32_t *stream, uint8_t *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < FT_SIM_PENDING && bus->waiting > 0; i++) {
        ft_pending *answer = &bus->pending[i];
        if (answer->bytes == 0 || (n > 0 && answer->stream != *stream))
            continue;
        size_t piece = release_one(bus, answer, now_ns, out + n);
        if (piece > 0)
            *stream = answer->stream;
        n += piece;
    }
    return n;
}

int64_t ft_simbus_due(const ft_simbus *bus)
{
    int64_t next_ns = INT64_MAX;
    for (uint32_t i = 0; i < FT_SIM_PENDING && bus->waiting > 0; i++) {
        const ft_pending *answer = &bus->pending[i];
        if (answer->bytes > 0 && due_ns(bus, answer, answer->sent) < next_ns)
            next_ns = due_ns(bus, answer, answer->sent);
    }
    return next_ns;
}

void ft_simbus_end(ft_simbus *bus, uint32_t stream)
{
    ft_stream_init(&bus->streams[stream]);
    for (uint32_t i = 0; i < FT_SIM_PENDING; i++)
        if (bus->pending[i].stream == stream)
            forget(bus, &bus->pending[i]);
}
