/* Two links and seven threads: the loop, for each link one that owns it (errands, plans, connections that are cut) and one
 * that answers, one that takes the samples, and one that looks at counters and traces. Every errand that is offered has one
 * outcome, and no request is seen twice. Meant to be built with a sanitizer that watches threads. */
#include "core/linkloop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS 2u
#define WRITES 3000u
#define UNITS 4u
#define BLOCKS 8u
#define CUT_EVERY 500u
#define REPLAN_EVERY 200u
#define RING_BITS 10
#define REQUEST_BYTES 12u
#define MS INT64_C(1000000)
#define TIMEOUT_NS (10000 * MS) /* nothing here is so slow, with whatever sanitizer */
#define WRITE_REGISTER 6u
#define READ_REGISTERS 3u

typedef struct side {
    uint32_t link;
    int near_fd;           /* the loop's, and the owner's to cut */
    int far_fd;            /* of the one that answers */
    pthread_t server;
    uint32_t outcomes[FT_ERRAND_ENDS];
    _Atomic uint8_t seen[WRITES]; /* how often each write was received */
} side;

static ft_linkloop *loop;
static side sides[LINKS];
static _Atomic int is_over;

static void fail(const char *why, uint32_t what)
{
    printf("%s: %u\n", why, what);
    exit(1);
}

/* ---- the device ---- */

static void answer(side *device, const uint8_t *request)
{
    uint8_t frame[FT_MAX_TCP];
    size_t n = REQUEST_BYTES;
    memcpy(frame, request, n);
    if (request[FT_MBAP_BYTES] == WRITE_REGISTER) {
        device->seen[ft_u16(request + 10)]++;
    } else {
        uint8_t bytes = (uint8_t)(2 * ft_u16(request + 10));
        frame[FT_MBAP_BYTES + 1] = bytes;
        memset(frame + FT_MBAP_BYTES + 2, 7, bytes);
        n = FT_MBAP_BYTES + 2u + bytes;
        ft_put_u16(frame + 4, (uint16_t)(n - 6));
    }
    (void)!send(device->far_fd, frame, n, MSG_NOSIGNAL);
}

/* Until the connection is cut. */
static void *serve(void *argument)
{
    side *device = argument;
    uint8_t request[REQUEST_BYTES];
    while (recv(device->far_fd, request, sizeof request, MSG_WAITALL) == REQUEST_BYTES)
        answer(device, request);
    close(device->far_fd);
    return NULL;
}

/* ---- the owner of a link ---- */

static void connect_link(side *owner)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        fail("socketpair", (uint32_t)errno);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    owner->near_fd = fds[0];
    owner->far_fd = fds[1];
    pthread_create(&owner->server, NULL, serve, owner);
    ft_linkloop_attach(loop, owner->link, owner->near_fd);
}

static void mend(side *owner)
{
    int why;
    int fd = ft_slots_take_lost(&loop->links[owner->link].slots, &why);
    if (fd == FT_NO_PORT)
        return;
    close(fd);
    pthread_join(owner->server, NULL);
    connect_link(owner);
}

static ft_plan *new_plan(void)
{
    ft_block blocks[BLOCKS];
    ft_point points[BLOCKS];
    int64_t bad;
    memset(blocks, 0, sizeof blocks);
    memset(points, 0, sizeof points);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint8_t pdu[5] = {READ_REGISTERS, 0, (uint8_t)i, 0, 2};
        uint8_t request[FT_MAX_TCP];
        blocks[i] = (ft_block){.period_ns = 1, .timeout_ns = TIMEOUT_NS, .device = i % UNITS, .first_point = i,
                               .point_count = 1, .unit = (uint8_t)(i % UNITS), .function = READ_REGISTERS,
                               .address = (uint16_t)i, .quantity = 2, .response_bytes = 13};
        blocks[i].request_bytes = (uint16_t)ft_frame(FT_TCP, 0, blocks[i].unit, pdu, sizeof pdu, request);
        memcpy(blocks[i].request, request, blocks[i].request_bytes);
        points[i] = (ft_point){.tag = i, .length = 1, .type = 1};
    }
    ft_plan *plan = ft_plan_new(blocks, BLOCKS, points, BLOCKS, UNITS, &bad);
    if (!plan)
        fail("no plan, block", (uint32_t)bad);
    return plan;
}

static int offer(const side *owner, uint32_t number)
{
    uint8_t pdu[5] = {WRITE_REGISTER, 0, 1};
    uint8_t frame[FT_MAX_TCP];
    ft_put_u16(pdu + 3, (uint16_t)number);
    size_t n = ft_frame(FT_TCP, 0, (uint8_t)(number % UNITS), pdu, sizeof pdu, frame);
    return ft_linkloop_offer(loop, owner->link, frame, n, n, TIMEOUT_NS, FT_NEVER);
}

static uint32_t take(side *owner)
{
    uint32_t taken = 0;
    ft_errand done;
    for (uint32_t slot = 0; slot < FT_ERRANDS; slot++) {
        if (!ft_errand_take(&loop->links[owner->link].link.errands, slot, &done))
            continue;
        owner->outcomes[done.end]++;
        taken++;
        if (done.end == FT_ERRAND_ANSWERED && memcmp(done.pdu, done.request + FT_MBAP_BYTES, done.pdu_bytes) != 0)
            fail("the answer to another write", ft_u16(done.request + 10));
    }
    return taken;
}

static void *own(void *argument)
{
    side *owner = argument;
    uint32_t done = 0;
    connect_link(owner);
    for (uint32_t number = 0; done < WRITES;) {
        done += take(owner);
        mend(owner);
        if (number == WRITES || offer(owner, number) < 0) {
            sched_yield();
            continue;
        }
        if (++number % CUT_EVERY == 0)
            shutdown(owner->near_fd, SHUT_RDWR);
        if (number % REPLAN_EVERY == 0)
            ft_linkloop_adopt(loop, owner->link, new_plan());
    }
    shutdown(owner->near_fd, SHUT_RDWR);
    pthread_join(owner->server, NULL);
    return NULL;
}

/* ---- everybody else ---- */

static void *run(void *unused)
{
    if (ft_linkloop_run(loop) < 0)
        fail("the loop", (uint32_t)errno);
    return unused;
}

static void *drain(void *unused)
{
    ft_sample samples[256];
    struct pollfd bell = {.fd = loop->consumer_fd, .events = POLLIN};
    uint64_t rings;
    while (!is_over) {
        poll(&bell, 1, 10);
        (void)!read(loop->consumer_fd, &rings, sizeof rings);
        while (ft_linkloop_drain(loop, samples, 256) > 0)
            ;
    }
    return unused;
}

static void *look(void *unused)
{
    static uint64_t words[FT_TRACE_WORDS];
    uint64_t counts[FT_N_COUNT];
    uint64_t calls[FT_LINK_CALL_COUNT];
    while (!is_over) {
        for (uint32_t link = 0; link < LINKS; link++) {
            (void)ft_trace_copy(&loop->links[link].trace, words);
            ft_counts_read(&loop->links[link].link.counts, counts);
        }
        ft_linkloop_calls(loop, calls);
        usleep(1000);
    }
    return unused;
}

static void check(const side *owner)
{
    uint32_t told = 0;
    for (int end = 0; end < FT_ERRAND_ENDS; end++)
        told += owner->outcomes[end];
    uint32_t known = owner->outcomes[FT_ERRAND_ANSWERED] + owner->outcomes[FT_ERRAND_LOST] + owner->outcomes[FT_ERRAND_NO_PORT];
    if (told != WRITES || known != WRITES)
        fail("outcomes", known);
    if (owner->outcomes[FT_ERRAND_ANSWERED] < WRITES / 2)
        fail("answered", owner->outcomes[FT_ERRAND_ANSWERED]);
    for (uint32_t i = 0; i < WRITES; i++)
        if (owner->seen[i] > 1)
            fail("sent twice", i);
}

int main(void)
{
    pthread_t owners[LINKS], others[3];
    void *(*const lives[3])(void *) = {run, drain, look};
    loop = ft_linkloop_new(LINKS, eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK));
    for (uint32_t i = 0; i < LINKS; i++) {
        sides[i].link = i;
        if (!loop || ft_linkloop_link(loop, i, i == 0 ? 1 : FT_FLIGHTS_MOST, 0, RING_BITS) < 0)
            return 2;
        ft_linkloop_adopt(loop, i, new_plan());
    }
    for (int i = 0; i < 3; i++)
        pthread_create(&others[i], NULL, lives[i], NULL);
    for (uint32_t i = 0; i < LINKS; i++)
        pthread_create(&owners[i], NULL, own, &sides[i]);
    for (uint32_t i = 0; i < LINKS; i++)
        pthread_join(owners[i], NULL);
    is_over = 1;
    ft_linkloop_stop(loop);
    for (int i = 0; i < 3; i++)
        pthread_join(others[i], NULL);
    for (uint32_t i = 0; i < LINKS; i++)
        check(&sides[i]);
    ft_linkloop_free(loop);
    return 0;
}
