#include "link.h"

#include <string.h>

#include "decode.h"
#include "linkdetour.h"
#include "linkturn.h"
#include "linkwait.h"
#include "schedule.h"
#include "width.h"

#define EXCEPTION_BYTES (FT_MBAP_BYTES + FT_EXCEPTION_PDU)

/* ---- counters and samples ---- */

static void count(ft_link *link, uint32_t device, enum ft_bus_count which, uint64_t n)
{
    if (n == 0)
        return;
    ft_counts_add(&link->counts, which, n);
    if (link->plan && device < link->plan->device_count)
        ft_counts_add(&link->plan->devices[device].counts, which, n);
}

/* Times with several transactions under way count once, for the one that ends first. */
static void count_busy(ft_link *link, uint32_t device, int64_t sent_ns, int64_t now)
{
    int64_t from = ft_most(sent_ns, link->counted_ns);
    count(link, device, FT_N_BUSY_NS, (uint64_t)ft_most(0, now - from));
    link->counted_ns = ft_most(link->counted_ns, now);
}

static void count_noise(ft_link *link)
{
    uint64_t bytes = link->flights.counts.noise_bytes;
    count(link, link->last_device, FT_N_NOISE, bytes - link->noise_before);
    link->noise_before = bytes;
}

static void push_failed(ft_link *link, const ft_plan *plan, uint32_t i, uint8_t quality, uint8_t detail, int64_t now)
{
    const ft_block *block = &plan->blocks[i];
    size_t n = ft_decode_failed(block, plan->points, quality, detail, now, plan->scratch);
    (void)ft_ring_push(&link->ring, plan->scratch, n); /* the ring counts what it drops */
}

/* Every tag of one device, or of all, fails; the block `except` already told. */
static void fail_tags(ft_link *link, uint32_t device, uint32_t except, int64_t now)
{
    for (uint32_t i = 0; link->plan && i < link->plan->block_count; i++)
        if (i != except && (device == FT_EVERY_DEVICE || link->plan->blocks[i].device == device))
            push_failed(link, link->plan, i, FT_Q_COMM_FAIL, FT_FAIL_SILENCE, now);
}

/* `frame`: the head of what came, n bytes. */
static void note_mishap(ft_link *link, const ft_flight *flight, enum ft_mishap_kind kind, uint8_t detail,
                        const uint8_t *frame, size_t n, int64_t now)
{
    const ft_block *block = &flight->plan->blocks[flight->block];
    ft_mishap_seen seen = {.time_ns = now, .kind = kind, .detail = detail,
                           .asked = {block->unit, block->function, block->address, block->quantity},
                           .n = (uint8_t)ft_least((int64_t)n, FT_MISHAP_BYTES)};
    memcpy(seen.bytes, frame, seen.n);
    ft_mishap_note(&ft_link_device_of(link, flight)->mishap, &seen);
}

/* ---- the end of a transaction ---- */

static int64_t gap_ns(const ft_flight *flight)
{
    return flight->block == FT_NO_BLOCK ? 0 : flight->plan->blocks[flight->block].gap_ns;
}

/* Takes the flight out. A poll is due again on its grid, and its device gets its gap. */
static ft_flight land(ft_link *link, uint32_t at, int is_lost, int64_t now)
{
    ft_flight flight = link->flights.flight[at];
    ft_device *device = ft_link_device_of(link, &flight);
    if (flight.turn != FT_NO_BLOCK)
        link->plan->turns[flight.turn].due_ns = flight.due_ns;
    device->not_before_ns = ft_most(device->not_before_ns, now + gap_ns(&flight));
    link->free_ns = now + link->quiet_ns;
    link->overdue -= flight.overdue_ns > 0;
    count_busy(link, flight.device, flight.sent_ns, now);
    ft_flights_remove(&link->flights, at, is_lost);
    return flight;
}

/* An errand does not wait for the pause that a suspect is given; it is over. */
static void heard_from(ft_link *link, const ft_flight *flight, int64_t now)
{
    ft_device *device = ft_link_device_of(link, flight);
    if (!ft_silence_breaks(device))
        return;
    device->not_before_ns = now + gap_ns(flight);
    ft_polls_catch_up(link->plan, flight->device, now);
}

static void poll_refused(ft_link *link, const ft_flight *flight, const uint8_t *pdu, int64_t now)
{
    note_mishap(link, flight, FT_MISHAP_EXCEPTION, pdu[1], pdu - FT_MBAP_BYTES, EXCEPTION_BYTES, now);
    push_failed(link, flight->plan, flight->block, FT_Q_EXCEPTION, pdu[1], now);
}

static void poll_served(ft_link *link, const ft_flight *flight, const uint8_t *pdu, int64_t now)
{
    ft_plan *plan = flight->plan;
    ft_device *device = ft_link_device_of(link, flight);
    ft_histogram_add(&device->round_trips, now - flight->sent_ns);
    ft_linkwait_learn(device, flight, now);
    size_t n = ft_decode(&plan->blocks[flight->block], plan->points, pdu + 2, now, plan->scratch); /* after function, count */
    (void)ft_ring_push(&link->ring, plan->scratch, n);
}

static void poll_answered(ft_link *link, const ft_flight *flight, const uint8_t *pdu, int64_t now)
{
    int is_refused = pdu[0] > FT_EXCEPTION_BIT;
    if (flight->turn != FT_NO_BLOCK) {
        ft_turn *turn = &link->plan->turns[flight->turn];
        turn->known |= !is_refused;
        ft_turn_refused(turn, is_refused ? pdu[1] : 0, now);
    }
    if (is_refused)
        poll_refused(link, flight, pdu, now);
    else
        poll_served(link, flight, pdu, now);
}

static void answered(ft_link *link, const ft_arrived *answer, int64_t now)
{
    int is_refused = answer->pdu[0] > FT_EXCEPTION_BIT;
    ft_width_learn(link, answer->at);
    ft_linkwait_overtake(link, answer->at);
    link->noise_answered = link->flights.counts.noise_bytes;
    ft_flight flight = land(link, answer->at, 0, now);
    count(link, flight.device, is_refused ? FT_N_EXCEPTIONS : FT_N_OK, 1);
    heard_from(link, &flight, now);
    if (flight.errand)
        ft_errand_finish(&link->errands, flight.errand, ft_errand_keep(flight.errand, answer->pdu, answer->pdu_bytes), now);
    else
        poll_answered(link, &flight, answer->pdu, now);
}

/* An answer to a request that was given up: how slow the device is, and that it is there. */
static void came_late(ft_link *link, uint32_t at, int64_t now)
{
    ft_lost *lost = &link->flights.lost[at];
    count(link, lost->device, FT_N_STALE, 1);
    if (lost->device == FT_NO_BLOCK || lost->sent_ns == 0)
        return;
    ft_device *device = &link->plan->devices[lost->device];
    ft_patience_late(&device->patience, now - lost->sent_ns);
    ft_silence_late(device, now);
    lost->sent_ns = 0; /* what comes of it now is a copy */
}

/* Requests that were sent together fall silent together: that is one silence. */
static void fell_silent(ft_link *link, const ft_flight *flight, int64_t now)
{
    uint32_t number = flight->device;
    int64_t cost_ns = (flight->deadline_ns - flight->sent_ns) / link->width; /* the others go on meanwhile */
    if (flight->murmured)
        ft_silence_murmurs(ft_link_device_of(link, flight), now);
    else if (number != FT_NO_BLOCK && !ft_width_is_asked(link, number, 1)
             && ft_silence_deepens(&link->silence, link->plan, number, cost_ns, now))
        fail_tags(link, number, flight->turn, now);
}

/* What came instead of an answer. */
static void note_failure(ft_link *link, const ft_flight *flight, int64_t now)
{
    const uint8_t *part;
    size_t n = ft_flights_part(&link->flights, flight->transaction, &part);
    enum ft_mishap_kind kind = n > 0 ? FT_MISHAP_PIECE : flight->murmured ? FT_MISHAP_NOISE : FT_MISHAP_SILENCE;
    note_mishap(link, flight, kind, 0, n > 0 ? part : flight->murmur, n > 0 ? n : flight->murmured, now);
}

static void poll_timed_out(ft_link *link, const ft_flight *flight, int64_t now)
{
    push_failed(link, flight->plan, flight->block, FT_Q_COMM_FAIL, FT_FAIL_SILENCE, now);
    note_failure(link, flight, now);
    ft_width_narrow(link, flight, ft_link_device_of(link, flight), now);
    fell_silent(link, flight, now);
    if (link->heard_ns < flight->sent_ns && flight->sent_ns >= link->round_ns) {
        link->rounds++;
        link->round_ns = now;
    }
}

/* A device may leave unanswered what it does not know: the silence after an errand tells nothing of device or connection. */
static void timed_out(ft_link *link, uint32_t at, int64_t now)
{
    ft_flight flight = land(link, at, 1, now);
    count(link, flight.device, FT_N_TIMEOUTS, 1);
    if (flight.errand)
        ft_errand_finish(&link->errands, flight.errand, FT_ERRAND_TIMED_OUT, now);
    else
        poll_timed_out(link, &flight, now);
}

/* Those that should have been answered by then. 1: answers may be in what passes for another frame's rest. */
static int give_up(ft_link *link, int64_t by, int also_errands, int64_t now)
{
    int is_adrift = 0;
    for (uint32_t at = 0; at < link->flights.count;) {
        const ft_flight *flight = &link->flights.flight[at];
        if (flight->deadline_ns > by || (!also_errands && flight->errand)) {
            at++;
            continue;
        }
        is_adrift |= ft_flights_is_adrift(&link->flights, at);
        timed_out(link, at, now);
    }
    return is_adrift;
}

/* 1: an answer stopped in its middle, or another frame did in which answers are lost. */
static int expire(ft_link *link, int64_t now)
{
    int was_half = ft_flights_half(&link->flights);
    int is_adrift = give_up(link, now, 1, now);
    return is_adrift || (was_half && !ft_flights_half(&link->flights));
}

/* ---- what arrives ---- */

static void hear(ft_link *link, int64_t now, const uint8_t *bytes, size_t n)
{
    ft_arrived arrived;
    enum ft_arrival arrival;
    count(link, link->last_device, FT_N_BYTES_HEARD, n);
    link->heard_ns = now;
    link->rounds = 0;
    link->stall_after = FT_STALL_AFTER;
    while (n > 0) {
        size_t taken = ft_flights_take(&link->flights, bytes, n);
        bytes += taken;
        n -= taken;
        while ((arrival = ft_flights_next(&link->flights, &arrived)) != FT_ARRIVED_NOTHING) {
            if (arrival == FT_ARRIVED_ANSWER)
                answered(link, &arrived, now);
            else if (arrival == FT_ARRIVED_LATE)
                came_late(link, arrived.at, now);
            else if (link->flights.count > 1)
                ft_width_one(link);
        }
    }
    if (link->is_datagrams)
        ft_flights_cut(&link->flights);
    count_noise(link);
}

static int babbles(const ft_link *link)
{
    return link->flights.counts.noise_bytes - link->noise_answered > FT_BABBLE_BYTES;
}

/* ---- requests ---- */

/* The rest is the caller's to say: what the flight is for, and its deadline. */
static ft_flight *send(ft_link *link, uint32_t block, const uint8_t *request, size_t n, int64_t now, ft_link_action *out)
{
    uint32_t behind = ft_linkwait_places(link);
    int is_beside = link->flights.count > behind;
    ft_flight *flight = ft_flights_add(&link->flights, request, n, link->out + out->n);
    flight->plan = link->plan;
    flight->block = block;
    flight->turn = FT_NO_BLOCK;
    flight->device = ft_link_device(link, block);
    flight->sent_ns = flight->from_ns = now;
    flight->behind = (uint8_t)behind;
    flight->is_beside = (uint8_t)is_beside;
    out->n += n;
    link->last_device = flight->device;
    count(link, flight->device, FT_N_TRANSACTIONS, 1);
    count(link, flight->device, FT_N_BYTES_SENT, n);
    return flight;
}

static void send_poll(ft_link *link, uint32_t i, int64_t now, ft_link_action *out)
{
    const ft_block *block = &link->plan->blocks[i];
    ft_turn *turn = &link->plan->turns[i];
    int is_suspect = link->plan->devices[block->device].backoff_ns > 0;
    uint64_t missed;
    ft_flight *flight = send(link, i, block->request, block->request_bytes, now, out);
    ft_histogram_add(&link->lateness, now - turn->due_ns);
    flight->turn = i;
    flight->deadline_ns = flight->hold_ns = now + block->timeout_ns;
    flight->due_ns = ft_poll_after(turn->due_ns, block->period_ns, now, &missed);
    turn->due_ns = FT_NEVER;
    link->errands.in_row = 0;
    count(link, block->device, FT_N_OVERRUNS, is_suspect ? 0 : missed);
    count(link, block->device, FT_N_PROBES, (uint64_t)is_suspect);
}

static void send_errand(ft_link *link, ft_errand *errand, int64_t now, ft_link_action *out)
{
    uint32_t block = ft_linkdetour_block(link->plan, errand->request[FT_UNIT_AT]);
    ft_flight *flight = send(link, block, errand->request, errand->request_bytes, now, out);
    flight->errand = errand;
    flight->deadline_ns = flight->hold_ns = now + errand->timeout_ns;
    ft_errand_begin(&link->errands, errand, now);
}

static int has_room(const ft_link *link)
{
    return link->flights.count < FT_FLIGHTS_MOST && ft_linkwait_places(link) < link->width;
}

/* 1: one more request went out; 0: none may, until *wake_ns or something ends. */
static int send_next(ft_link *link, int64_t now, int64_t *wake_ns, ft_link_action *out)
{
    uint32_t i = ft_linkturn_choose(link, now, wake_ns);
    ft_errand *errand = ft_linkdetour_choose(link, now, i != FT_NO_BLOCK, wake_ns);
    if (!errand && i == FT_NO_BLOCK)
        return 0;
    if (link->flights.count >= ft_linkdetour_places(link, errand)) {
        *wake_ns = FT_NEVER;
        return 0;
    }
    if (errand)
        send_errand(link, errand, now, out);
    else
        send_poll(link, i, now, out);
    return 1;
}

/* Returns when a request may go next, if nothing ends before. */
static int64_t fill(ft_link *link, int64_t now, ft_link_action *out)
{
    int64_t wake = FT_NEVER;
    out->bytes = link->out;
    if (now < link->free_ns && !link->is_ending)
        return link->free_ns;
    while (!link->is_ending && has_room(link) && send_next(link, now, &wake, out))
        ;
    return has_room(link) ? wake : FT_NEVER;
}

int64_t ft_link_step(ft_link *link, int64_t now, const uint8_t *bytes, size_t n, ft_link_action *out)
{
    *out = (ft_link_action){0};
    if (!link->attached || !link->plan) {
        ft_errands_cancel(&link->errands, now);
        return FT_NEVER;
    }
    if (n > 0) {
        (void)give_up(link, now - FT_OVERSLEPT_NS, 0, now); /* an errand's owner wants to know what came, not when */
        hear(link, now, bytes, n);
    }
    int is_over = expire(link, now) || link->rounds >= link->stall_after || babbles(link);
    out->is_stalled = is_over && !link->is_datagrams;
    int64_t wake = ft_errands_expire(&link->errands, now);
    if (out->is_stalled)
        return FT_NEVER;
    ft_linkwait_mark(link, now);
    wake = ft_least(wake, fill(link, now, out));
    return ft_least(wake, ft_linkwait_judge(link, now));
}

/* ---- life ---- */

int ft_link_init(ft_link *link, uint32_t width, int64_t quiet_ns, uint32_t ring_bits)
{
    memset(link, 0, sizeof *link);
    ft_flights_init(&link->flights);
    link->wanted = quiet_ns > 0 ? 1 : width;
    link->quiet_ns = quiet_ns;
    link->stall_after = FT_STALL_AFTER;
    ft_width_begin(link);
    return ft_ring_init(&link->ring, ring_bits);
}

void ft_link_free(ft_link *link)
{
    ft_plan_free(link->plan);
    ft_plan_free(link->leaving);
    ft_ring_free(&link->ring);
}

/* No poll that is under way will be answered. */
static void lose_polls(ft_link *link, int64_t now)
{
    for (uint32_t at = link->flights.count; at-- > 0;) {
        if (link->flights.flight[at].errand)
            continue;
        ft_flight flight = land(link, at, 1, now);
        count(link, flight.device, FT_N_TIMEOUTS, 1);
        note_failure(link, &flight, now);
    }
}

static void lose_errands(ft_link *link, int64_t now)
{
    while (link->flights.count > 0) {
        ft_flight flight = land(link, link->flights.count - 1, 1, now);
        count(link, flight.device, FT_N_TIMEOUTS, 1);
        ft_errand_finish(&link->errands, flight.errand, FT_ERRAND_LOST, now);
    }
    ft_errands_cancel(&link->errands, now);
}

void ft_link_attach(ft_link *link, int64_t now)
{
    ft_flights_reset(&link->flights);
    link->attached = 1;
    link->silence = (ft_silence){0};
    link->overdue = 0;
    link->rounds = 0;
    link->round_ns = now;
    link->noise_answered = link->flights.counts.noise_bytes;
    ft_width_begin(link);
    if (!link->plan)
        return;
    for (uint32_t i = 0; i < link->plan->device_count; i++)
        link->plan->devices[i].not_before_ns = ft_least(link->plan->devices[i].not_before_ns, now);
    ft_polls_catch_up(link->plan, FT_EVERY_DEVICE, now);
}

void ft_link_finish(ft_link *link, int64_t now)
{
    link->is_ending = 1;
    ft_errands_cancel(&link->errands, now);
}

void ft_link_abandon(ft_link *link)
{
    for (uint32_t at = 0; at < link->flights.count; at++)
        count(link, link->flights.flight[at].device, FT_N_TIMEOUTS, 1);
}

void ft_link_detach(ft_link *link, int64_t now)
{
    if (link->rounds == 0)
        ft_width_closed(link);
    if (link->rounds >= link->stall_after)
        link->stall_after = (uint32_t)ft_least(2 * link->stall_after, FT_STALL_MOST);
    lose_polls(link, now);
    lose_errands(link, now);
    link->attached = 0;
    fail_tags(link, FT_EVERY_DEVICE, FT_NO_BLOCK, now);
}
