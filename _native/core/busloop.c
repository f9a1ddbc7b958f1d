#define _GNU_SOURCE /* ppoll */
#include "busloop.h"
#include "lineport.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

/* Sleeps are cut short by the lateness that nine of ten wake-ups exceed, so that those few that come early have
 * only little time to spin away. */
#define FT_LATE_STEP_NS 250
#define FT_LATE_MAX_NS 100000

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void ring_bell(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* only fails when the counter is full: the bell rings already */
}

static void tell_errands(ft_loop *loop, ft_line *line)
{
    if (ft_errands_news(&line->bus.errands))
        ring_bell(loop->errand_fd);
}

/* --- ports ------------------------------------------------------------------------------------------------------- */

static void lose_port(ft_loop *loop, ft_line *line, int why)
{
    ft_slots_return(&line->slots, line->fd, why);
    line->fd = FT_NO_PORT;
    ft_bus_detach(&line->bus, now_ns());
    ring_bell(loop->supervisor_fd);
    ft_ring_notify(&line->bus.ring, 1);
}

/* All that waits into loop->bytes, and the time by which it had come; -1: the port is lost. */
static ssize_t read_line(ft_loop *loop, ft_line *line, int64_t *now)
{
    ssize_t n = ft_port_read(loop, line);
    /* The clock is read after the line: no byte is newer than `now`, so no gap is cut short. */
    *now = now_ns();
    if (n > 0) {
        ft_port_stem(loop, line, (size_t)n, *now);
        n = ft_port_unmark(loop, line, n);
        if (n > 0)
            ft_trace_add(&line->trace, *now, FT_TRACE_HEARD, loop->bytes, (size_t)n);
        return line->is_ascii ? ft_port_decode(loop, line, n) : n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    lose_port(loop, line, n < 0 ? errno : 0);
    return -1;
}

/* A line that does not take a request whole (nobody reads a pty, a gateway's window is shut) lets it time out. */
static int write_line(ft_loop *loop, ft_line *line, const ft_action *action)
{
    const uint8_t *bytes = line->is_ascii ? loop->characters : action->bytes;
    size_t length = line->is_ascii ? ft_ascii_encode(action->bytes, action->n, loop->characters) : action->n;
    ft_count_call(loop, FT_CALL_WRITE);
    ssize_t n = write(line->fd, bytes, length);
    if (n > 0)
        ft_trace_add(&line->trace, line->bus.sent_ns, FT_TRACE_SENT, bytes, (size_t)n);
    if (n >= 0 || errno == EAGAIN || errno == EINTR || (line->bus.guard.repeats && ft_is_lost_datagram(errno)))
        return 0;
    lose_port(loop, line, errno);
    return -1;
}

/* --- serving ----------------------------------------------------------------------------------------------------- */

static ft_wish *wish_of(ft_loop *loop, const ft_line *line)
{
    return &loop->wishes[line - loop->lines];
}

/* Step one bus until it wants to wait. `readable`: bytes are known to be there. */
static void serve(ft_loop *loop, ft_line *line, int64_t now, int readable)
{
    ft_action action = {.what = FT_LOOK};
    int64_t wake_ns = now;
    if (!readable)
        wake_ns = ft_bus_step(&line->bus, now, NULL, 0, &action);
    while (action.what == FT_LOOK) {
        ssize_t n = read_line(loop, line, &now);
        if (n < 0) {
            action = (ft_action){.what = FT_WAIT};
            wake_ns = FT_NEVER;
            break;
        }
        wake_ns = ft_bus_step(&line->bus, now, loop->bytes, (size_t)n, &action);
    }
    if (action.what == FT_SEND) {
        ft_wish_sent(wish_of(loop, line), line->bus.sent_ns);
        if (write_line(loop, line, &action) < 0)
            wake_ns = FT_NEVER;
    }
    ft_wish_make(wish_of(loop, line), wake_ns, action.slack_ns, action.send_ns, action.patient);
    line->watch = action.watch && line->fd != FT_NO_PORT;
    ft_ring_notify(&line->bus.ring, 0);
    tell_errands(loop, line);
    ft_slots_retire(&line->slots, ft_bus_take_retired(&line->bus));
}

static void serve_due(ft_loop *loop)
{
    int64_t now = now_ns();
    for (uint32_t i = 0; i < loop->line_count; i++)
        if (ft_wishes_due(loop->wishes, loop->line_count, i, now))
            serve(loop, &loop->lines[i], now, 0);
}

static void serve_readable(ft_loop *loop)
{
    for (uint32_t i = 0; i < loop->line_count; i++)
        if (loop->fds[i].revents && loop->lines[i].fd != FT_NO_PORT)
            serve(loop, &loop->lines[i], 0, 1);
}

/* --- sleeping ---------------------------------------------------------------------------------------------------- */

static void learn_lateness(ft_loop *loop, int64_t late_ns)
{
    loop->late_ns += late_ns > loop->late_ns ? FT_LATE_STEP_NS : -9 * FT_LATE_STEP_NS;
    if (loop->late_ns < 0)
        loop->late_ns = 0;
    if (loop->late_ns > FT_LATE_MAX_NS)
        loop->late_ns = FT_LATE_MAX_NS;
}

/* Listen to the lines whose bus wants it and that do not rest; when the first of these is to be listened to again. */
static int64_t choose_lines(ft_loop *loop, int64_t now)
{
    int64_t first = FT_NEVER;
    for (uint32_t i = 0; i < loop->line_count; i++) {
        const ft_line *line = &loop->lines[i];
        int rests = line->flood.rest_until_ns > now;
        if (line->watch && rests)
            first = ft_least(first, line->flood.rest_until_ns);
        loop->fds[i].fd = line->watch && !rests ? line->fd : FT_NO_PORT;
    }
    return first;
}

/* Returns 1 when a line or the mailbox has something. */
static int sleep_until(ft_loop *loop, int64_t wake_ns)
{
    struct timespec span = {0, 0};
    int64_t begin = now_ns();
    wake_ns = ft_least(wake_ns, choose_lines(loop, begin));
    int64_t left = wake_ns == FT_NEVER ? 0 : wake_ns - begin - loop->late_ns;
    if (left > 0)
        span = (struct timespec){.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};
    ft_count_call(loop, FT_CALL_POLL);
    if (ppoll(loop->fds, loop->line_count + 1u, wake_ns == FT_NEVER ? NULL : &span, NULL) > 0)
        return 1;
    if (left > 0)
        learn_lateness(loop, now_ns() - begin - left);
    return 0;
}

/* --- slots ------------------------------------------------------------------------------------------------------- */

static void take_slots(ft_loop *loop, ft_line *line)
{
    int has_errands = ft_errands_wait(&line->bus.errands); /* before the port: who knew of it finds it */
    ft_plan *plan = atomic_exchange(&line->slots.offered_plan, NULL);
    int fd = atomic_exchange(&line->slots.offered_fd, FT_NO_PORT);
    if (plan)
        ft_bus_adopt(&line->bus, plan, now_ns());
    if (fd != FT_NO_PORT) {
        line->fd = fd;
        line->unmark.seen = FT_MARK_NONE;
        line->ascii.state = FT_ASCII_OUTSIDE;
        line->flood = (ft_flood){0};
        line->bus.guard.repeats = (uint8_t)ft_is_datagrams(fd);
        ft_bus_attach(&line->bus, now_ns());
    }
    if (atomic_exchange(&line->slots.failed, 0) && line->fd == FT_NO_PORT) {
        ft_bus_detach(&line->bus, now_ns());
        ft_ring_notify(&line->bus.ring, 1);
    }
    if (has_errands)
        ft_bus_nudge(&line->bus, now_ns());
    if (plan || fd != FT_NO_PORT || has_errands)
        serve(loop, line, now_ns(), 0);
    tell_errands(loop, line);
}

static void quiet_mailbox(const ft_loop *loop)
{
    uint64_t bells;
    ssize_t n = read(loop->mailbox_fd, &bells, sizeof bells);
    (void)n; /* EAGAIN: nobody rang, but looking costs nothing */
}

static void take_mail(ft_loop *loop)
{
    quiet_mailbox(loop);
    for (uint32_t i = 0; i < loop->line_count; i++)
        take_slots(loop, &loop->lines[i]);
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

static int is_asking(const ft_loop *loop)
{
    for (uint32_t i = 0; i < loop->line_count; i++)
        if (ft_bus_is_asking(&loop->lines[i].bus))
            return 1;
    return 0;
}

/* No port and no plan is taken any more. */
static void finish(ft_loop *loop)
{
    int64_t until = now_ns() + FT_FINISH_NS;
    quiet_mailbox(loop);
    for (uint32_t i = 0; i < loop->line_count; i++) {
        ft_bus_finish(&loop->lines[i].bus, now_ns());
        serve(loop, &loop->lines[i], now_ns(), 0);
    }
    while (is_asking(loop) && now_ns() < until) {
        if (sleep_until(loop, ft_least(until, ft_wishes_wake(loop->wishes, loop->line_count))))
            serve_readable(loop);
        quiet_mailbox(loop);
        serve_due(loop);
    }
    for (uint32_t i = 0; i < loop->line_count; i++)
        ft_bus_abandon(&loop->lines[i].bus);
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

void ft_loop_run(ft_loop *loop)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    take_mail(loop);
    while (!atomic_load_explicit(&loop->stop, memory_order_acquire)) {
        if (sleep_until(loop, ft_wishes_wake(loop->wishes, loop->line_count))) {
            serve_readable(loop);
            if (loop->fds[loop->line_count].revents)
                take_mail(loop);
        }
        serve_due(loop);
    }
    finish(loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void ft_loop_stop(ft_loop *loop)
{
    atomic_store_explicit(&loop->stop, 1, memory_order_release);
    ring_bell(loop->mailbox_fd);
}

void ft_loop_attach(ft_loop *loop, uint32_t line, int fd)
{
    atomic_store(&loop->lines[line].slots.offered_fd, fd);
    ring_bell(loop->mailbox_fd);
}

void ft_loop_fail(ft_loop *loop, uint32_t line)
{
    atomic_store(&loop->lines[line].slots.failed, 1);
    ring_bell(loop->mailbox_fd);
}

void ft_loop_adopt(ft_loop *loop, uint32_t line, ft_plan *plan)
{
    ft_slots_offer_plan(&loop->lines[line].slots, plan);
    ring_bell(loop->mailbox_fd);
}

int ft_loop_take_lost(ft_loop *loop, uint32_t line, int *why)
{
    return ft_slots_take_lost(&loop->lines[line].slots, why);
}

int ft_loop_offer(ft_loop *loop, uint32_t line, const uint8_t *request, size_t n, size_t answer_bytes, int64_t timeout_ns,
                  int64_t deadline_ns)
{
    int slot = ft_errand_offer(&loop->lines[line].bus.errands, request, n, answer_bytes, timeout_ns, deadline_ns);
    ring_bell(loop->mailbox_fd);
    return slot;
}

void ft_loop_mark(ft_loop *loop, uint32_t line, int on)
{
    atomic_store_explicit(&loop->lines[line].marked, on, memory_order_relaxed);
}

void ft_loop_marks(const ft_loop *loop, uint32_t line, uint64_t out[3])
{
    out[0] = atomic_load_explicit(&loop->lines[line].heard, memory_order_relaxed);
    out[1] = atomic_load_explicit(&loop->lines[line].damaged, memory_order_relaxed);
    out[2] = atomic_load_explicit(&loop->lines[line].breaks, memory_order_relaxed);
}

void ft_loop_calls(const ft_loop *loop, uint64_t out[FT_CALL_COUNT])
{
    for (int i = 0; i < FT_CALL_COUNT; i++)
        out[i] = atomic_load_explicit(&loop->calls[i], memory_order_relaxed);
}

size_t ft_loop_waiting(ft_loop *loop)
{
    size_t waiting = 0;
    for (uint32_t i = 0; i < loop->line_count; i++)
        waiting += ft_ring_fill(&loop->lines[i].bus.ring);
    return waiting;
}

size_t ft_loop_drain(ft_loop *loop, ft_sample *out, size_t max)
{
    uint64_t bells;
    size_t drained = 0;
    ssize_t n = read(loop->consumer_fd, &bells, sizeof bells);
    (void)n; /* EAGAIN: drained unasked */
    for (uint32_t i = 0; i < loop->line_count; i++)
        drained += ft_ring_pop(&loop->lines[i].bus.ring, out + drained, max - drained);
    for (uint32_t i = 0; i < loop->line_count; i++)
        if (ft_ring_arm(&loop->lines[i].bus.ring))
            ring_bell(loop->consumer_fd);
    return drained;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

ft_loop *ft_loop_new(uint32_t line_count)
{
    ft_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->line_count = line_count;
    loop->mailbox_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->consumer_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->supervisor_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->errand_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->fds = calloc(line_count + 1u, sizeof *loop->fds);
    loop->wishes = calloc(line_count + 1u, sizeof *loop->wishes);
    loop->lines = aligned_alloc(_Alignof(ft_line), (line_count + 1u) * sizeof *loop->lines);
    if (!loop->fds || !loop->wishes || !loop->lines || loop->mailbox_fd < 0 || loop->consumer_fd < 0 || loop->supervisor_fd < 0
        || loop->errand_fd < 0) {
        loop->line_count = 0;
        ft_loop_free(loop);
        return NULL;
    }
    memset(loop->lines, 0, (line_count + 1u) * sizeof *loop->lines);
    for (uint32_t i = 0; i <= line_count; i++)
        loop->fds[i] = (struct pollfd){.fd = i == line_count ? loop->mailbox_fd : FT_NO_PORT, .events = POLLIN};
    return loop;
}

int ft_loop_line(ft_loop *loop, uint32_t line, const ft_wire *wire, uint32_t ring_bits)
{
    ft_line *made = &loop->lines[line];
    made->fd = FT_NO_PORT;
    made->is_ascii = wire->framing == FT_ASCII;
    ft_wish_init(&loop->wishes[line]);
    ft_slots_init(&made->slots);
    if (ft_trace_init(&made->trace) < 0 || ft_bus_init(&made->bus, wire, ring_bits) < 0)
        return -1;
    ft_bus_translated(&made->bus, made->is_ascii ? &made->ascii : NULL);
    ft_ring_watch(&made->bus.ring, loop->consumer_fd, UINT32_C(1) << (ring_bits - 1)); /* half full */
    return 0;
}

void ft_loop_free(ft_loop *loop)
{
    if (!loop)
        return;
    for (uint32_t i = 0; i < loop->line_count; i++) {
        ft_bus_free(&loop->lines[i].bus);
        ft_trace_free(&loop->lines[i].trace);
        ft_slots_free(&loop->lines[i].slots);
    }
    if (loop->mailbox_fd >= 0)
        close(loop->mailbox_fd);
    if (loop->consumer_fd >= 0)
        close(loop->consumer_fd);
    if (loop->supervisor_fd >= 0)
        close(loop->supervisor_fd);
    if (loop->errand_fd >= 0)
        close(loop->errand_fd);
    free(loop->fds);
    free(loop->wishes);
    free(loop->lines);
    free(loop);
}
