/* Readiness and time in, requests on connections out. */
#include "linkloop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "linkplan.h"
#include "ns.h"

#define NS_PER_S INT64_C(1000000000)
#define EVENTS 64 /* handled per wake-up; the rest comes with the next one */
#define TIMER_KEY UINT64_MAX
#define MAILBOX_KEY (UINT64_MAX - 1)

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void count_call(ft_linkloop *loop, enum ft_link_call which)
{
    uint64_t before = atomic_load_explicit(&loop->calls[which], memory_order_relaxed);
    atomic_store_explicit(&loop->calls[which], before + 1, memory_order_relaxed);
}

static void ring_bell(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* only fails when the counter is full: the bell rings already */
}

static int listen_to(const ft_linkloop *loop, int fd, uint64_t key)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = key}};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void tell_errands(const ft_linkloop *loop, ft_tcp *tcp)
{
    if (ft_errands_news(&tcp->link.errands))
        ring_bell(loop->errand_fd);
}

/* ---- connections ---- */

static void lose(ft_linkloop *loop, ft_tcp *tcp, int why)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, tcp->fd, NULL);
    ft_slots_return(&tcp->slots, tcp->fd, why);
    tcp->fd = FT_NO_PORT;
    tcp->wake_ns = FT_NEVER;
    ft_link_detach(&tcp->link, now_ns());
    ring_bell(loop->supervisor_fd);
    ft_ring_notify(&tcp->link.ring, 1);
    tell_errands(loop, tcp);
}

/* A record of the trace holds two long frames: those of a longer chunk are told apart by their lengths. */
static void keep_trace(ft_tcp *tcp, int64_t now, enum ft_trace_way way, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        size_t piece = n;
        if (n > FT_TRACE_MAX_BYTES) {
            piece = (size_t)(FT_MBAP_BYTES - 1) + ft_u16(bytes + 4);
            piece = piece < FT_TRACE_MAX_BYTES ? piece : FT_TRACE_MAX_BYTES;
        }
        ft_trace_add(&tcp->trace, now, way, bytes, piece);
        bytes += piece;
        n -= piece;
    }
}

/* Nothing is wrong with the connection itself. */
static int is_passing(const ft_tcp *tcp, int why)
{
    return why == EAGAIN || why == EINTR || (tcp->link.is_datagrams && ft_is_lost_datagram(why));
}

/* What waits, into loop->bytes; 0: nothing; -1: the connection is lost. */
static ssize_t read_link(ft_linkloop *loop, ft_tcp *tcp)
{
    count_call(loop, FT_LINK_CALL_READ);
    ssize_t n = recv(tcp->fd, loop->bytes, FT_LINK_READ_BYTES, 0);
    if (n > 0)
        return n;
    if (n < 0 ? is_passing(tcp, errno) : tcp->link.is_datagrams)
        return 0;
    lose(loop, tcp, n < 0 ? errno : 0);
    return -1;
}

/* A peer that has not taken what some thousand requests are long is stalled. */
static void write_link(ft_linkloop *loop, ft_tcp *tcp, const ft_link_action *action, int64_t now)
{
    count_call(loop, FT_LINK_CALL_WRITE);
    ssize_t n = send(tcp->fd, action->bytes, action->n, MSG_NOSIGNAL);
    if (n > 0)
        keep_trace(tcp, now, FT_TRACE_SENT, action->bytes, (size_t)n);
    if (n != (ssize_t)action->n && !(tcp->link.is_datagrams && is_passing(tcp, errno)))
        lose(loop, tcp, n >= 0 || errno == EAGAIN ? ETIMEDOUT : errno);
}

/* ---- serving ---- */

static void step(ft_linkloop *loop, ft_tcp *tcp, int64_t now, size_t n)
{
    ft_link_action action;
    tcp->wake_ns = ft_link_step(&tcp->link, now, loop->bytes, n, &action);
    if (action.is_stalled)
        lose(loop, tcp, ETIMEDOUT);
    else if (action.n > 0)
        write_link(loop, tcp, &action, now);
    ft_slots_retire(&tcp->slots, ft_link_take_retired(&tcp->link));
    ft_ring_notify(&tcp->link.ring, 0);
    tell_errands(loop, tcp);
}

static void serve_readable(ft_linkloop *loop, ft_tcp *tcp)
{
    ssize_t n = read_link(loop, tcp);
    if (n < 0)
        return;
    int64_t now = now_ns();
    keep_trace(tcp, now, FT_TRACE_HEARD, loop->bytes, (size_t)n);
    step(loop, tcp, now, (size_t)n);
}

static void serve_due(ft_linkloop *loop)
{
    int64_t now = now_ns();
    for (uint32_t i = 0; i < loop->link_count; i++)
        if (loop->links[i].wake_ns <= now)
            step(loop, &loop->links[i], now, 0);
}

/* ---- slots ---- */

static void connected(ft_linkloop *loop, ft_tcp *tcp, int fd)
{
    tcp->fd = fd;
    tcp->link.is_datagrams = (uint8_t)ft_is_datagrams(fd);
    ft_link_attach(&tcp->link, now_ns());
    if (listen_to(loop, fd, (uint64_t)(tcp - loop->links)) < 0)
        lose(loop, tcp, errno);
}

static void take_slots(ft_linkloop *loop, ft_tcp *tcp)
{
    int has_errands = ft_errands_wait(&tcp->link.errands); /* before the connection: who knew of it finds it */
    ft_plan *plan = atomic_exchange(&tcp->slots.offered_plan, NULL);
    int fd = atomic_exchange(&tcp->slots.offered_fd, FT_NO_PORT);
    if (plan)
        ft_link_adopt(&tcp->link, plan, now_ns());
    if (fd != FT_NO_PORT)
        connected(loop, tcp, fd);
    if (atomic_exchange(&tcp->slots.failed, 0) && tcp->fd == FT_NO_PORT) {
        ft_link_detach(&tcp->link, now_ns());
        ft_ring_notify(&tcp->link.ring, 1);
    }
    if (plan || fd != FT_NO_PORT || has_errands)
        step(loop, tcp, now_ns(), 0);
}

static void take_mail(ft_linkloop *loop)
{
    uint64_t bells;
    ssize_t n = read(loop->mailbox_fd, &bells, sizeof bells);
    (void)n; /* EAGAIN: nobody rang, but looking costs nothing */
    for (uint32_t i = 0; i < loop->link_count; i++)
        take_slots(loop, &loop->links[i]);
}

/* ---- the loop ---- */

/* The timer is only ever set earlier; when it goes off for a deadline that an answer has met, it is set anew. */
static void arm(ft_linkloop *loop, int64_t wake)
{
    for (uint32_t i = 0; i < loop->link_count; i++)
        wake = ft_least(wake, loop->links[i].wake_ns);
    if (wake >= loop->armed_ns)
        return;
    wake = ft_most(wake, 1); /* 0 would disarm it */
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(wake / NS_PER_S), .tv_nsec = (long)(wake % NS_PER_S)}};
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    loop->armed_ns = wake;
}

static void handle(ft_linkloop *loop, uint64_t key)
{
    uint64_t times;
    if (key == MAILBOX_KEY) {
        take_mail(loop);
    } else if (key == TIMER_KEY) {
        ssize_t n = read(loop->timer_fd, &times, sizeof times);
        (void)n; /* what is due is found by the clock */
        loop->armed_ns = FT_NEVER;
    } else if (loop->links[key].fd != FT_NO_PORT) {
        serve_readable(loop, &loop->links[key]);
    }
}

/* Sleeps until there is something to be done, or `until` has come, and does it; 0 or an errno, negated. */
static int turn(ft_linkloop *loop, int64_t until)
{
    struct epoll_event events[EVENTS];
    arm(loop, until);
    count_call(loop, FT_LINK_CALL_WAIT);
    int n = epoll_wait(loop->epoll_fd, events, EVENTS, -1);
    if (n < 0 && errno != EINTR)
        return -errno;
    for (int i = 0; i < n; i++)
        handle(loop, events[i].data.u64);
    serve_due(loop);
    return 0;
}

static int is_asking(const ft_linkloop *loop)
{
    for (uint32_t i = 0; i < loop->link_count; i++)
        if (loop->links[i].link.flights.count > 0)
            return 1;
    return 0;
}

static int finish(ft_linkloop *loop)
{
    int code = 0;
    int64_t until = now_ns() + FT_FINISH_NS;
    for (uint32_t i = 0; i < loop->link_count; i++)
        ft_link_finish(&loop->links[i].link, now_ns());
    while (code == 0 && is_asking(loop) && now_ns() < until)
        code = turn(loop, until);
    for (uint32_t i = 0; i < loop->link_count; i++)
        ft_link_abandon(&loop->links[i].link);
    return code;
}

static int serve(ft_linkloop *loop)
{
    int code = 0;
    take_mail(loop);
    while (code == 0 && !atomic_load_explicit(&loop->stop, memory_order_acquire))
        code = turn(loop, FT_NEVER);
    return code < 0 ? code : finish(loop);
}

int ft_linkloop_run(ft_linkloop *loop)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    int result = serve(loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

void ft_linkloop_stop(ft_linkloop *loop)
{
    atomic_store_explicit(&loop->stop, 1, memory_order_release);
    ring_bell(loop->mailbox_fd);
}

void ft_linkloop_attach(ft_linkloop *loop, uint32_t link, int fd)
{
    atomic_store(&loop->links[link].slots.offered_fd, fd);
    ring_bell(loop->mailbox_fd);
}

void ft_linkloop_fail(ft_linkloop *loop, uint32_t link)
{
    atomic_store(&loop->links[link].slots.failed, 1);
    ring_bell(loop->mailbox_fd);
}

void ft_linkloop_adopt(ft_linkloop *loop, uint32_t link, ft_plan *plan)
{
    ft_slots_offer_plan(&loop->links[link].slots, plan);
    ring_bell(loop->mailbox_fd);
}

int ft_linkloop_offer(ft_linkloop *loop, uint32_t link, const uint8_t *request, size_t n, size_t answer_bytes,
                      int64_t timeout_ns, int64_t deadline_ns)
{
    int slot = ft_errand_offer(&loop->links[link].link.errands, request, n, answer_bytes, timeout_ns, deadline_ns);
    ring_bell(loop->mailbox_fd);
    return slot;
}

void ft_linkloop_calls(const ft_linkloop *loop, uint64_t out[FT_LINK_CALL_COUNT])
{
    for (int i = 0; i < FT_LINK_CALL_COUNT; i++)
        out[i] = atomic_load_explicit(&loop->calls[i], memory_order_relaxed);
}

size_t ft_linkloop_waiting(ft_linkloop *loop)
{
    size_t waiting = 0;
    for (uint32_t i = 0; i < loop->link_count; i++)
        waiting += ft_ring_fill(&loop->links[i].link.ring);
    return waiting;
}

size_t ft_linkloop_drain(ft_linkloop *loop, ft_sample *out, size_t max)
{
    size_t drained = 0;
    for (uint32_t i = 0; i < loop->link_count; i++)
        drained += ft_ring_pop(&loop->links[i].link.ring, out + drained, max - drained);
    for (uint32_t i = 0; i < loop->link_count; i++)
        if (ft_ring_arm(&loop->links[i].link.ring))
            ring_bell(loop->consumer_fd);
    return drained;
}

/* ---- life ---- */

static int open_files(ft_linkloop *loop)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    loop->mailbox_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->mailbox_fd < 0)
        return -1;
    return listen_to(loop, loop->timer_fd, TIMER_KEY) < 0 || listen_to(loop, loop->mailbox_fd, MAILBOX_KEY) < 0 ? -1 : 0;
}

ft_linkloop *ft_linkloop_new(uint32_t link_count, int consumer_fd, int supervisor_fd, int errand_fd)
{
    ft_linkloop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->consumer_fd = consumer_fd;
    loop->supervisor_fd = supervisor_fd;
    loop->errand_fd = errand_fd;
    loop->armed_ns = FT_NEVER;
    loop->links = aligned_alloc(_Alignof(ft_tcp), (link_count + 1u) * sizeof *loop->links);
    if (open_files(loop) < 0 || !loop->links) {
        ft_linkloop_free(loop);
        return NULL;
    }
    memset(loop->links, 0, (link_count + 1u) * sizeof *loop->links);
    loop->link_count = link_count;
    for (uint32_t i = 0; i < link_count; i++)
        ft_slots_init(&loop->links[i].slots);
    return loop;
}

int ft_linkloop_link(ft_linkloop *loop, uint32_t link, uint32_t width, int64_t quiet_ns, uint32_t ring_bits)
{
    ft_tcp *made = &loop->links[link];
    made->fd = FT_NO_PORT;
    made->wake_ns = FT_NEVER;
    if (ft_trace_init(&made->trace) < 0 || ft_link_init(&made->link, width, quiet_ns, ring_bits) < 0)
        return -1;
    ft_ring_watch(&made->link.ring, loop->consumer_fd, UINT32_C(1) << (ring_bits - 1)); /* half full */
    return 0;
}

void ft_linkloop_free(ft_linkloop *loop)
{
    if (!loop)
        return;
    for (uint32_t i = 0; i < loop->link_count; i++) {
        ft_link_free(&loop->links[i].link);
        ft_trace_free(&loop->links[i].trace);
        ft_slots_free(&loop->links[i].slots);
    }
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->timer_fd >= 0)
        close(loop->timer_fd);
    if (loop->mailbox_fd >= 0)
        close(loop->mailbox_fd);
    free(loop->links);
    free(loop);
}
