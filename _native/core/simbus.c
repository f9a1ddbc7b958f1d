/* Requests and time in, answers at the time they are due out. */
#include "simbus.h"

#include <string.h>

#define NS_PER_US 1000

void ft_simbus_init(ft_simbus *bus, int64_t char_ns, int64_t gap_ns)
{
    bus->char_ns = char_ns;
    bus->gap_ns = gap_ns;
    bus->line_end_ns = 0;
    bus->waiting = 0;
    memset(bus->busy_until_ns, 0, sizeof bus->busy_until_ns);
    for (uint32_t i = 0; i < FT_SIM_STREAMS; i++)
        ft_stream_init(&bus->streams[i]);
}

/* ---- requests in --------------------------------------------------------------------------------------------- */

static void count_garbage(ft_simbus *bus, uint32_t stream, size_t before)
{
    size_t more = bus->streams[stream].garbage - before;
    if (more == 0)
        return;
    ft_count(&bus->counts[FT_COUNT_GARBAGE], more);
    ft_server_heard_noise(&bus->server);
}

void ft_simbus_feed(ft_simbus *bus, uint32_t stream, int64_t now_ns, const uint8_t *bytes, size_t n)
{
    size_t before = bus->streams[stream].garbage;
    ft_stream_feed(&bus->streams[stream], bus->server.framing, now_ns, bytes, n);
    count_garbage(bus, stream, before);
}

/* When the request is all on the wire; counts a master that broke the silence before it. */
static int64_t request_end_ns(ft_simbus *bus, const ft_request *request)
{
    int64_t start_ns = request->first_ns > bus->line_end_ns ? request->first_ns : bus->line_end_ns;
    if (bus->line_end_ns > 0 && request->first_ns - bus->line_end_ns < bus->gap_ns - FT_SIM_GAP_TOLERANCE_NS)
        ft_count(&bus->counts[FT_COUNT_GAP_VIOLATIONS], 1);
    return start_ns + (int64_t)request->adu_bytes * bus->char_ns;
}

/* Devices whose receivers are not ready so soon after the line fell silent. */
static int is_deaf(ft_simbus *bus, const ft_request *request)
{
    int64_t deaf_ns = (int64_t)bus->server.faults.deaf_us * NS_PER_US;
    if (deaf_ns == 0 || bus->char_ns == 0 || bus->line_end_ns == 0 || request->first_ns - bus->line_end_ns >= deaf_ns)
        return 0;
    ft_count(&bus->server.faults_applied[FT_FAULT_DEAF], 1);
    return 1;
}

/* Behind all that starts no later. */
static void put_off(ft_simbus *bus, uint32_t stream, int64_t start_ns, const uint8_t *bytes, size_t n)
{
    uint32_t at = bus->waiting;
    if (n == 0)
        return;
    if (bus->waiting == FT_SIM_PENDING) {
        ft_count(&bus->counts[FT_COUNT_UNSENT], 1);
        return;
    }
    while (at > 0 && bus->pending[at - 1].start_ns > start_ns)
        at--;
    memmove(&bus->pending[at + 1], &bus->pending[at], (bus->waiting - at) * sizeof *bus->pending);
    bus->pending[at] = (ft_pending){.start_ns = start_ns, .bytes = n, .stream = stream};
    memcpy(bus->pending[at].adu, bytes, n);
    bus->waiting++;
}

/* When the unit begins to answer: not before it has answered what was asked earlier. */
static int64_t answer_start_ns(ft_simbus *bus, uint8_t unit, int64_t start_ns, const ft_answer *answer)
{
    int64_t *busy_until_ns = &bus->busy_until_ns[unit];
    start_ns += answer->late_ns;
    if (start_ns < *busy_until_ns)
        start_ns = *busy_until_ns;
    *busy_until_ns = start_ns + (int64_t)answer->bytes * bus->char_ns;
    return start_ns;
}

static void answer_request(ft_simbus *bus, uint32_t stream, const ft_request *request, int64_t now_ns, int64_t wall_ns)
{
    ft_answer answer;
    uint8_t noise[FT_BABBLE_BYTES];
    int deaf = is_deaf(bus, request);
    int64_t end_ns = bus->char_ns > 0 ? request_end_ns(bus, request) : now_ns;
    int64_t start_ns = end_ns + bus->gap_ns;
    int64_t line_end_ns = end_ns;
    int64_t noise_ns = 0;

    if (ft_server_echoes(&bus->server))
        put_off(bus, stream, end_ns - (int64_t)request->adu_bytes * bus->char_ns, request->adu, request->adu_bytes);
    size_t noise_bytes = ft_server_babble(&bus->server, noise, &noise_ns);
    put_off(bus, stream, end_ns + noise_ns, noise, noise_bytes);
    answer.bytes = 0;
    if (!deaf)
        ft_server_answer(&bus->server, request, wall_ns + (start_ns - now_ns), &answer);
    if (answer.bytes > 0) {
        int64_t from_ns = answer_start_ns(bus, request->unit, start_ns, &answer);
        put_off(bus, stream, from_ns, answer.adu, answer.bytes);
        if (from_ns == start_ns) /* a master cannot keep clear of an answer that comes when it has given up */
            line_end_ns = start_ns + (int64_t)answer.bytes * bus->char_ns;
    }
    bus->line_end_ns = line_end_ns;
}

int ft_simbus_next(ft_simbus *bus, uint32_t stream, int64_t now_ns, int64_t wall_ns)
{
    ft_request request;
    size_t before = bus->streams[stream].garbage;
    int found = ft_stream_next(&bus->streams[stream], bus->server.framing, &request);
    count_garbage(bus, stream, before);
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

static void forget(ft_simbus *bus, uint32_t at)
{
    bus->waiting--;
    memmove(&bus->pending[at], &bus->pending[at + 1], (bus->waiting - at) * sizeof *bus->pending);
}

static size_t release_one(ft_simbus *bus, ft_pending *answer, int64_t now_ns, uint8_t *out)
{
    size_t from = answer->sent;
    while (answer->sent < answer->bytes && due_ns(bus, answer, answer->sent) <= now_ns)
        answer->sent = piece_end(answer, answer->sent);
    memcpy(out, answer->adu + from, answer->sent - from);
    return answer->sent - from;
}

size_t ft_simbus_release(ft_simbus *bus, int64_t now_ns, uint32_t *stream, uint8_t *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < bus->waiting;) {
        ft_pending *answer = &bus->pending[i];
        size_t piece = n > 0 && answer->stream != *stream ? 0 : release_one(bus, answer, now_ns, out + n);
        if (piece > 0)
            *stream = answer->stream;
        n += piece;
        if (answer->sent == answer->bytes)
            forget(bus, i);
        else
            i++;
    }
    return n;
}

int64_t ft_simbus_due(const ft_simbus *bus)
{
    int64_t next_ns = INT64_MAX;
    for (uint32_t i = 0; i < bus->waiting; i++) {
        const ft_pending *answer = &bus->pending[i];
        if (due_ns(bus, answer, answer->sent) < next_ns)
            next_ns = due_ns(bus, answer, answer->sent);
    }
    return next_ns;
}

void ft_simbus_end(ft_simbus *bus, uint32_t stream)
{
    ft_stream_init(&bus->streams[stream]);
    for (uint32_t i = bus->waiting; i-- > 0;)
        if (bus->pending[i].stream == stream)
            forget(bus, i);
}
