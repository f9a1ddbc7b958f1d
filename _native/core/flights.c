/* Modbus TCP frames, matched to the requests that they answer. */
#include "flights.h"

#include <string.h>

#define HEAD 6                    /* transaction, protocol, length: what the length does not count */
#define SHORTEST 9                /* an exception */
#define NO_UNIT 0xFF              /* in exceptions of gateways, whatever unit was asked */
#define EXCESS_PADDED 1           /* lengths are too large by so much: pymodbus issue 2303 ... */
#define EXCESS_HEADER HEAD        /* ... and 1851 */

enum kind { PART, JUNK, FOREIGN, LATE, MISFIT, ANSWER };

typedef struct verdict {
    enum kind kind;
    size_t bytes;
    uint32_t at; /* MISFIT, ANSWER: the flight; LATE: the lost one */
} verdict;

void ft_flights_init(ft_flights *flights)
{
    memset(flights, 0, sizeof *flights);
}

void ft_flights_reset(ft_flights *flights)
{
    flights->count = 0;
    flights->lost_count = 0;
    flights->hunting = 0;
    flights->from = flights->used = 0;
}

/* ---- numbers ---- */

static uint32_t find(const ft_flights *flights, uint16_t transaction)
{
    uint32_t at = 0;
    while (at < flights->count && flights->flight[at].transaction != transaction)
        at++;
    return at;
}

/* FT_LOST_MOST: it is not lost. */
static uint32_t find_lost(const ft_flights *flights, uint16_t transaction)
{
    uint32_t known = flights->lost_count < FT_LOST_MOST ? flights->lost_count : FT_LOST_MOST;
    for (uint32_t i = 0; i < known; i++)
        if (flights->lost[i].transaction == transaction)
            return i;
    return FT_LOST_MOST;
}

static uint16_t next_number(ft_flights *flights)
{
    do
        flights->transaction++;
    while (find_lost(flights, flights->transaction) < FT_LOST_MOST || find(flights, flights->transaction) < flights->count);
    return flights->transaction;
}

/* ---- requests ---- */

ft_flight *ft_flights_add(ft_flights *flights, const uint8_t *request, size_t n, uint8_t *out)
{
    uint16_t transaction = next_number(flights);
    ft_flight *flight = &flights->flight[flights->count];
    *flight = (ft_flight){.request = request + FT_MBAP_BYTES, .request_bytes = n - FT_MBAP_BYTES,
                          .transaction = transaction, .unit = request[FT_UNIT_AT],
                          .known = flights->known - !ft_flights_is_amid(flights)};
    memcpy(out, request, n);
    ft_put_u16(out, transaction);
    flights->count++;
    return flight;
}

void ft_flights_remove(ft_flights *flights, uint32_t at, int is_lost)
{
    const ft_flight *flight = &flights->flight[at];
    if (is_lost)
        flights->lost[flights->lost_count++ % FT_LOST_MOST] =
            (ft_lost){flight->errand ? 0 : flight->sent_ns, flight->device, flight->transaction};
    flights->count--;
    memmove(&flights->flight[at], &flights->flight[at + 1], (flights->count - at) * sizeof flights->flight[0]);
}

/* ---- frames ---- */

static int unit_fits(const ft_flight *flight, const uint8_t *bytes)
{
    uint8_t unit = bytes[FT_UNIT_AT];
    return unit == flight->unit || (unit == NO_UNIT && bytes[FT_MBAP_BYTES] > FT_EXCEPTION_BIT);
}

/* A frame that bears the number of a flight. `whole`: its length, as its header has it. */
static verdict judge_ours(const ft_flights *flights, uint32_t at, const uint8_t *bytes, size_t n, size_t whole)
{
    const ft_flight *flight = &flights->flight[at];
    size_t pdu_n = (n < whole ? n : whole) - FT_MBAP_BYTES;
    int length = ft_answer_length(flight->request, flight->request_bytes, bytes + FT_MBAP_BYTES, pdu_n);
    if (length == 0 && n < whole)
        return (verdict){PART, 0, at};
    if (length <= 0 || !unit_fits(flight, bytes)) {
        if (flights->hunting)
            return (verdict){JUNK, 1, at};
        return (verdict){n < whole ? PART : MISFIT, whole, at};
    }
    size_t end = FT_MBAP_BYTES + (size_t)length;
    if (whole != end && whole != end + EXCESS_PADDED && whole != end + EXCESS_HEADER)
        return (verdict){JUNK, 1, at};
    return (verdict){n < end ? PART : ANSWER, end, at};
}

static verdict judge(const ft_flights *flights, const uint8_t *bytes, size_t n)
{
    if (n < SHORTEST)
        return (verdict){PART, 0, 0};
    uint16_t transaction = ft_u16(bytes);
    size_t whole = (size_t)HEAD + ft_u16(bytes + 4);
    if (ft_u16(bytes + 2) != 0 || whole < SHORTEST || whole > FT_MAX_TCP + EXCESS_HEADER)
        return (verdict){JUNK, 1, 0};
    uint32_t at = find(flights, transaction);
    if (at < flights->count)
        return judge_ours(flights, at, bytes, n, whole);
    if (flights->hunting)
        return (verdict){JUNK, 1, 0};
    if (n < whole)
        return (verdict){PART, 0, 0};
    at = find_lost(flights, transaction);
    return (verdict){at < FT_LOST_MOST ? LATE : FOREIGN, whole, at};
}

/* ---- the bytes ---- */

size_t ft_flights_take(ft_flights *flights, const uint8_t *bytes, size_t n)
{
    flights->used -= flights->from;
    memmove(flights->heap, flights->heap + flights->from, flights->used);
    flights->from = 0;
    size_t room = FT_HEAP_BYTES - flights->used;
    size_t taken = n < room ? n : room;
    memcpy(flights->heap + flights->used, bytes, taken);
    flights->used += taken;
    return taken;
}

static void keep_murmur(ft_flight *flight, const uint8_t *bytes, size_t n)
{
    flight->murmured = (uint8_t)(n < FT_MURMUR_BYTES ? n : FT_MURMUR_BYTES);
    memcpy(flight->murmur, bytes, flight->murmured);
}

/* Go on behind bytes that are no answer to what is under way. */
static enum ft_arrival pass(ft_flights *flights, verdict v)
{
    ft_flight_counts *counts = &flights->counts;
    counts->late += v.kind == LATE;
    counts->foreign += v.kind == FOREIGN;
    counts->misfits += v.kind == MISFIT;
    counts->noise_bytes += v.kind == LATE ? 0 : v.bytes;
    flights->hunting = v.kind == JUNK;
    if (v.kind == MISFIT)
        keep_murmur(&flights->flight[v.at], flights->heap + flights->from, v.bytes);
    flights->from += v.bytes;
    flights->known += v.kind == LATE;
    return v.kind == LATE ? FT_ARRIVED_LATE : v.kind == FOREIGN ? FT_ARRIVED_FOREIGN : FT_ARRIVED_NOTHING;
}

enum ft_arrival ft_flights_next(ft_flights *flights, ft_arrived *out)
{
    while (flights->from < flights->used) {
        const uint8_t *bytes = flights->heap + flights->from;
        verdict v = judge(flights, bytes, flights->used - flights->from);
        if (v.kind == PART)
            return FT_ARRIVED_NOTHING;
        if (v.kind == ANSWER) {
            flights->counts.odd_lengths += (size_t)HEAD + ft_u16(bytes + 4) != v.bytes;
            flights->hunting = 0;
            flights->from += v.bytes;
            flights->known++;
            *out = (ft_arrived){v.at, bytes + FT_MBAP_BYTES, v.bytes - FT_MBAP_BYTES};
            return FT_ARRIVED_ANSWER;
        }
        enum ft_arrival passed = pass(flights, v);
        out->at = v.at;
        if (passed != FT_ARRIVED_NOTHING)
            return passed;
    }
    return FT_ARRIVED_NOTHING;
}

void ft_flights_cut(ft_flights *flights)
{
    flights->counts.noise_bytes += flights->used - flights->from;
    flights->from = flights->used = 0;
    flights->hunting = 0;
}

size_t ft_flights_part(const ft_flights *flights, uint16_t transaction, const uint8_t **bytes)
{
    size_t n = flights->used - flights->from;
    *bytes = flights->heap + flights->from;
    return n >= 2 && ft_u16(*bytes) == transaction ? n : 0;
}

int ft_flights_half(const ft_flights *flights)
{
    size_t n = flights->used - flights->from;
    return n >= 2 && find(flights, ft_u16(flights->heap + flights->from)) < flights->count;
}

int ft_flights_is_amid(const ft_flights *flights)
{
    return flights->used > flights->from;
}

int ft_flights_is_adrift(const ft_flights *flights, uint32_t at)
{
    return flights->flight[at].known == flights->known;
}
