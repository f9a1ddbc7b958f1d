/* Both loops and all who talk to them, each in a thread of its own: plans are replaced, ports lost and attached, errands
 * offered, samples drained and counters read while the lines are polled. Every good value must be its tag's number, every
 * errand have one outcome, and every record of a trace be whole. Ends once enough of all that has happened. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/busloop.h"
#include "core/linkloop.h"

#define LINES 2
#define LINKS 2
#define PORTS (LINES + LINKS)
#define UNITS 3
#define MS INT64_C(1000000)
#define RING_BITS 9
#define DRAINED 1024
#define CALM 8 /* of so many answers one goes wrong */

#define WANTED_ANSWERS 3000
#define WANTED_ERRANDS 300
#define WANTED_LOSSES 40

static ft_loop *lines;
static ft_linkloop *links;
static int peers[PORTS];           /* the devices' ends; -1: none */
static pthread_mutex_t peers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t interpreter = PTHREAD_MUTEX_INITIALIZER; /* Python's: plans are only freed and looked into with it */
static _Atomic int ends;
static _Atomic unsigned losses;

static void fail(const char *what, long long number)
{
    printf("%s: %lld\n", what, number);
    exit(1);
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* ---- plans: one read a unit, of other registers in each plan; a tag's number is its register's value ---- */

static ft_plan *make_plan(enum ft_framing framing, unsigned kind)
{
    ft_block blocks[UNITS];
    ft_point points[UNITS];
    int64_t bad;
    uint32_t units = 1 + kind % UNITS;
    for (uint32_t i = 0; i < units; i++) {
        uint8_t pdu[5] = {FT_READ_HOLDING, 0, (uint8_t)(kind % 7), 0, (uint8_t)(1 + kind % 2)};
        uint8_t adu[FT_MAX_TCP];
        uint16_t quantity = ft_u16(pdu + 3);
        blocks[i] = (ft_block){
            .period_ns = MS, .timeout_ns = 20 * MS, .group = i, .device = i, .first_point = i, .point_count = 1,
            .response_bytes = (uint16_t)((framing == FT_TCP ? 9 : 5) + 2 * quantity), .unit = (uint8_t)(i + 1),
            .function = FT_READ_HOLDING, .address = ft_u16(pdu + 1), .quantity = quantity};
        blocks[i].request_bytes = (uint16_t)ft_frame(framing, 0, blocks[i].unit, pdu, sizeof pdu, adu);
        memcpy(blocks[i].request, adu, blocks[i].request_bytes);
        points[i] = (ft_point){.tag = 256u * blocks[i].unit + blocks[i].address, .length = 1, .type = FT_U16};
    }
    ft_plan *plan = ft_plan_new(blocks, units, points, units, units, &bad);
    return plan ? plan : (fail("no plan", bad), NULL);
}

/* ---- devices ---- */

static size_t answer(enum ft_framing framing, const uint8_t *request, size_t n, uint8_t *out)
{
    size_t head = framing == FT_TCP ? FT_MBAP_BYTES : 1;
    uint8_t unit = request[head - 1];
    uint8_t pdu[FT_MAX_PDU];
    if (n < head + 5)
        return 0;
    memcpy(pdu, request + head, 5);
    if (pdu[0] != FT_READ_HOLDING)
        return ft_frame(framing, ft_u16(request), unit, pdu, 5, out);
    uint16_t address = ft_u16(pdu + 1);
    uint16_t quantity = ft_u16(pdu + 3);
    pdu[1] = (uint8_t)(2 * quantity);
    for (uint16_t i = 0; i < quantity; i++)
        ft_put_u16(pdu + 2 + 2 * i, (uint16_t)(256 * unit + address + i));
    return ft_frame(framing, ft_u16(request), unit, pdu, 2 + 2u * quantity, out);
}

static void reply(int port, int fd, const uint8_t *request, size_t n, unsigned *state)
{
    uint8_t out[FT_MAX_TCP];
    size_t length = answer(port < LINES ? FT_RTU : FT_TCP, request, n, out);
    switch (next_random(state) % (6 * CALM)) {
    case 0:
        length /= 2;
        break;
    case 1:
        length = 0;
        break;
    case 2:
        out[port < LINES ? length - 1 : 0] ^= 0x55;
        break;
    case 3:
        shutdown(fd, SHUT_WR);
        return;
    case 4:
        (void)!write(fd, out, 3);
        break;
    default:
        break;
    }
    (void)!write(fd, out, length);
}

/* One request at a time, as the requests of one chunk of a link are 12 bytes each. */
static void serve_port(int port, int fd, unsigned *state)
{
    uint8_t bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);
    size_t one = port < LINES ? (size_t)(n > 0 ? n : 0) : 12;
    for (size_t at = 0; n > 0 && at + one <= (size_t)n; at += one)
        reply(port, fd, bytes + at, one, state);
}

static void *devices(void *unused)
{
    unsigned state = 3;
    while (!ends) {
        struct pollfd fds[PORTS];
        pthread_mutex_lock(&peers_lock);
        for (int i = 0; i < PORTS; i++)
            fds[i] = (struct pollfd){.fd = peers[i], .events = POLLIN};
        if (poll(fds, PORTS, 0) > 0)
            for (int i = 0; i < PORTS; i++)
                if (fds[i].revents & POLLIN)
                    serve_port(i, peers[i], &state);
        pthread_mutex_unlock(&peers_lock);
        sched_yield();
    }
    return unused;
}

/* ---- ports ---- */

static void plug_in(int port, int *own)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
        fail("no socket", port);
    pthread_mutex_lock(&peers_lock);
    if (peers[port] >= 0)
        close(peers[port]);
    peers[port] = pair[1];
    pthread_mutex_unlock(&peers_lock);
    *own = pair[0];
    port < LINES ? ft_loop_attach(lines, (uint32_t)port, pair[0]) : ft_linkloop_attach(links, (uint32_t)(port - LINES), pair[0]);
}

static int take_lost(int port, int *why)
{
    return port < LINES ? ft_loop_take_lost(lines, (uint32_t)port, why)
                        : ft_slots_take_lost(&links->links[port - LINES].slots, why);
}

static void *supervise(void *unused)
{
    int own[PORTS];
    int why;
    for (int i = 0; i < PORTS; i++)
        plug_in(i, &own[i]);
    while (!ends) {
        for (int i = 0; i < PORTS; i++) {
            int fd = take_lost(i, &why);
            if (fd == FT_NO_PORT)
                continue;
            if (fd != own[i])
                fail("another port was lost", i);
            close(fd);
            losses++;
            i < LINES ? ft_loop_fail(lines, (uint32_t)i) : ft_linkloop_fail(links, (uint32_t)(i - LINES));
            plug_in(i, &own[i]);
        }
        sched_yield();
    }
    return unused;
}

/* ---- the interpreter's threads ---- */

static void read_devices(ft_plan *plan)
{
    uint64_t counts[FT_N_COUNT];
    uint64_t classes[FT_HISTOGRAM_CLASSES];
    ft_mishap_seen seen;
    for (uint32_t i = 0; plan && i < plan->device_count; i++) {
        ft_counts_read(&plan->devices[i].counts, counts);
        ft_histogram_read(&plan->devices[i].round_trips, classes);
        ft_mishap_read(&plan->devices[i].mishap, &seen);
        if (seen.n > FT_MISHAP_BYTES || seen.kind > FT_MISHAP_AMBIGUOUS)
            fail("a torn mishap", seen.kind);
    }
}

static void read_trace(ft_trace *trace)
{
    static uint64_t words[FT_TRACE_WORDS];
    size_t n = ft_trace_copy(trace, words);
    size_t at = 0;
    while (at < n) {
        uint64_t length = words[at + 1] & UINT32_MAX;
        if (length == 0 || length > FT_TRACE_MAX_BYTES || words[at + 1] >> 32 > FT_TRACE_HEARD)
            fail("a record of a trace", (long long)words[at + 1]);
        at += FT_TRACE_HEAD_WORDS + (length + 7) / 8;
    }
    if (at != n)
        fail("words of a trace too many", (long long)(at - n));
}

static void *observe(void *unused)
{
    while (!ends) {
        for (int i = 0; i < PORTS; i++) {
            pthread_mutex_lock(&interpreter);
            read_devices(i < LINES ? lines->lines[i].bus.shown_plan : links->links[i - LINES].link.shown_plan);
            read_trace(i < LINES ? &lines->lines[i].trace : &links->links[i - LINES].trace);
            pthread_mutex_unlock(&interpreter);
        }
        sched_yield();
    }
    return unused;
}

static void replan(unsigned *state)
{
    uint32_t port = next_random(state) % PORTS;
    pthread_mutex_lock(&interpreter);
    if (port < LINES)
        ft_loop_adopt(lines, port, make_plan(FT_RTU, next_random(state)));
    else
        ft_linkloop_adopt(links, port - LINES, make_plan(FT_TCP, next_random(state)));
    pthread_mutex_unlock(&interpreter);
}

static size_t drain(void)
{
    static ft_sample samples[DRAINED];
    size_t good = 0;
    size_t n = ft_loop_drain(lines, samples, DRAINED);
    n += ft_linkloop_drain(links, samples + n, DRAINED - n);
    for (size_t i = 0; i < n; i++) {
        if (samples[i].quality == FT_Q_GOOD && samples[i].value != samples[i].tag)
            fail("a wrong value", (long long)samples[i].value);
        good += samples[i].quality == FT_Q_GOOD;
    }
    return good;
}

typedef struct errands {
    int out[PORTS][FT_ERRANDS];
    unsigned done;
} errands;

static void offer(errands *all, uint32_t port, unsigned value)
{
    enum ft_framing framing = port < LINES ? FT_RTU : FT_TCP;
    uint8_t pdu[5] = {FT_WRITE_REGISTER, 0, 1, (uint8_t)(value >> 8), (uint8_t)value};
    uint8_t adu[FT_MAX_TCP];
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    size_t n = ft_frame(framing, 0, (uint8_t)(1 + value % UNITS), pdu, sizeof pdu, adu);
    int64_t until = now.tv_sec * INT64_C(1000000000) + now.tv_nsec + 500 * MS;
    int slot = port < LINES ? ft_loop_offer(lines, port, adu, n, n, 20 * MS, until)
                            : ft_linkloop_offer(links, port - LINES, adu, n, n, 20 * MS, until);
    if (slot >= 0 && all->out[port][slot]++)
        fail("a slot was given away twice", slot);
}

static void collect(errands *all, uint32_t port)
{
    ft_errands *errands = port < LINES ? &lines->lines[port].bus.errands : &links->links[port - LINES].link.errands;
    size_t head = port < LINES ? 1 : FT_MBAP_BYTES;
    ft_errand done;
    for (uint32_t slot = 0; slot < FT_ERRANDS; slot++) {
        if (!ft_errand_take(errands, slot, &done))
            continue;
        if (--all->out[port][slot] != 0 || done.end >= FT_ERRAND_ENDS)
            fail("an errand that nobody has offered", slot);
        if (done.end == FT_ERRAND_ANSWERED && memcmp(done.pdu, done.request + head, done.pdu_bytes) != 0)
            fail("a wrong answer to an errand", slot);
        all->done++;
    }
}

int main(void)
{
    pthread_t threads[5];
    unsigned state = 1;
    errands all = {0};
    size_t good = 0;
    signal(SIGPIPE, SIG_IGN);
    lines = ft_loop_new(LINES);
    links = ft_linkloop_new(LINKS, lines->consumer_fd, eventfd(0, EFD_NONBLOCK), lines->errand_fd);
    for (uint32_t i = 0; i < LINES; i++)
        ft_loop_line(lines, i, &(ft_wire){.framing = FT_RTU, .char_ns = 1000, .quiet_ns = 100000}, RING_BITS);
    for (uint32_t i = 0; i < LINKS; i++)
        ft_linkloop_link(links, i, 4, 0, RING_BITS);
    memset(peers, -1, sizeof peers);
    pthread_create(&threads[0], NULL, (void *(*)(void *))(void (*)(void))ft_loop_run, lines);
    pthread_create(&threads[1], NULL, (void *(*)(void *))(void (*)(void))ft_linkloop_run, links);
    pthread_create(&threads[2], NULL, devices, NULL);
    pthread_create(&threads[3], NULL, supervise, NULL);
    pthread_create(&threads[4], NULL, observe, NULL);
    while (good < WANTED_ANSWERS || all.done < WANTED_ERRANDS || losses < WANTED_LOSSES) {
        good += drain();
        if (next_random(&state) % 64 == 0)
            replan(&state);
        for (uint32_t port = 0; port < PORTS; port++) {
            offer(&all, port, next_random(&state));
            collect(&all, port);
        }
        sched_yield();
    }
    ends = 1;
    for (int i = 2; i < 5; i++)
        pthread_join(threads[i], NULL);
    ft_loop_stop(lines);
    ft_linkloop_stop(links);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    ft_linkloop_free(links);
    ft_loop_free(lines);
    return 0;
}
