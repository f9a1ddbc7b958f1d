/* Readiness and time in, requests answered on ptys and sockets. */
#define _GNU_SOURCE /* accept4 */
#include "simloop.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define EVENTS 64            /* handled per wake-up; the rest comes with the next one */
#define OUT_BYTES 4096       /* answers to requests that came together leave together */
#define LISTENER 0xFF        /* in place of a stream's number */
#define TIMER_KEY UINT64_MAX
#define WAKE_KEY (UINT64_MAX - 1)

/* Answers to what one read brought, for one stream. */
typedef struct outbox {
    int fd;
    size_t bytes;
    uint8_t out[OUT_BYTES];
} outbox;

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

void ft_simbus_init(ft_simbus *bus, int fd, int slave_fd, int64_t char_ns, int64_t gap_ns)
{
    bus->fd = fd;
    bus->slave_fd = slave_fd;
    bus->paced = char_ns > 0;
    bus->char_ns = char_ns;
    bus->gap_ns = gap_ns;
    bus->line_end_ns = 0;
    bus->waiting = 0;
    for (int i = 0; i < FT_SIM_CONNECTIONS; i++) {
        bus->stream_fd[i] = -1;
        ft_stream_init(&bus->streams[i]);
    }
    for (int i = 0; i < FT_SIM_PENDING; i++)
        bus->pending[i].bytes = 0;
    if (slave_fd >= 0)
        bus->stream_fd[0] = fd;
}

/* ---- answers out --------------------------------------------------------------------------------------------- */

/* A line and a device do not wait for a reader: what it has no room for is lost. */
static void put(ft_simbus *bus, int fd, const uint8_t *bytes, size_t n)
{
    if (n > 0 && write(fd, bytes, n) != (ssize_t)n)
        ft_count(&bus->counts[FT_COUNT_UNSENT], 1);
}

static void flush(ft_simbus *bus, outbox *box)
{
    put(bus, box->fd, box->out, box->bytes);
    box->bytes = 0;
}

static void put_off(ft_simbus *bus, uint32_t stream, int64_t start_ns, const ft_answer *answer)
{
    for (int i = 0; i < FT_SIM_PENDING; i++) {
        ft_pending *place = &bus->pending[i];
        if (place->bytes > 0)
            continue;
        place->start_ns = start_ns;
        place->char_ns = bus->char_ns;
        place->sent = 0;
        place->stream = stream;
        memcpy(place->adu, answer->adu, answer->bytes);
        place->bytes = answer->bytes;
        bus->waiting++;
        return;
    }
    ft_count(&bus->counts[FT_COUNT_UNSENT], 1);
}

static int64_t due_ns(const ft_pending *answer)
{
    size_t piece_end = answer->sent + FT_SIM_FIFO_BYTES;
    size_t end = piece_end < answer->bytes ? piece_end : answer->bytes;
    return answer->start_ns + (int64_t)end * answer->char_ns;
}

static void forget(ft_simbus *bus, ft_pending *answer)
{
    bus->waiting -= answer->bytes > 0;
    answer->bytes = 0;
}

static void release(ft_simbus *bus, ft_pending *answer, int64_t now_ns)
{
    size_t from = answer->sent;
    while (answer->sent < answer->bytes && due_ns(answer) <= now_ns) {
        answer->sent += FT_SIM_FIFO_BYTES;
        if (answer->sent > answer->bytes)
            answer->sent = answer->bytes;
    }
    put(bus, bus->stream_fd[answer->stream], answer->adu + from, answer->sent - from);
    if (answer->sent == answer->bytes)
        forget(bus, answer);
}

/* ---- requests in --------------------------------------------------------------------------------------------- */

/* When the request is all on the wire; counts a master that broke the silence before it. */
static int64_t request_end_ns(ft_simbus *bus, const ft_request *request)
{
    int64_t start_ns = request->first_ns > bus->line_end_ns ? request->first_ns : bus->line_end_ns;
    if (bus->line_end_ns > 0 && request->first_ns - bus->line_end_ns < bus->gap_ns - FT_SIM_GAP_TOLERANCE_NS)
        ft_count(&bus->counts[FT_COUNT_GAP_VIOLATIONS], 1);
    return start_ns + (int64_t)request->adu_bytes * bus->char_ns;
}

static void answer_at_its_time(ft_simbus *bus, uint32_t stream, const ft_request *request, int64_t now_ns)
{
    ft_answer answer;
    int64_t end_ns = bus->paced ? request_end_ns(bus, request) : now_ns;
    int64_t start_ns = end_ns + bus->gap_ns;
    ft_server_answer(&bus->server, request, clock_ns(CLOCK_REALTIME) + (start_ns - now_ns), &answer);
    bus->line_end_ns = end_ns;
    if (answer.bytes == 0)
        return;
    put_off(bus, stream, start_ns + answer.late_ns, &answer);
    if (answer.late_ns == 0) /* the line cannot know of an answer that is to come much later */
        bus->line_end_ns = start_ns + (int64_t)answer.bytes * bus->char_ns;
}

static void answer_at_once(ft_simbus *bus, uint32_t stream, const ft_request *request, int64_t now_ns, outbox *box)
{
    ft_answer answer;
    ft_server_answer(&bus->server, request, clock_ns(CLOCK_REALTIME), &answer);
    if (answer.late_ns > 0) {
        put_off(bus, stream, now_ns + answer.late_ns, &answer);
        return;
    }
    if (box->bytes + answer.bytes > OUT_BYTES)
        flush(bus, box);
    memcpy(box->out + box->bytes, answer.adu, answer.bytes);
    box->bytes += answer.bytes;
}

/* Returns -1 when the peer does not speak the protocol. */
static int serve(ft_simbus *bus, uint32_t stream_number, const uint8_t *bytes, size_t n)
{
    ft_stream *stream = &bus->streams[stream_number];
    enum ft_framing framing = bus->server.framing;
    int64_t now_ns = clock_ns(CLOCK_BOOTTIME);
    size_t garbage = stream->garbage;
    outbox box = {.fd = bus->stream_fd[stream_number], .bytes = 0};
    ft_request request;
    int found;
    ft_stream_feed(stream, framing, now_ns, bytes, n);
    while ((found = ft_stream_next(stream, framing, &request)) > 0) {
        if (bus->paced)
            answer_at_its_time(bus, stream_number, &request, now_ns);
        else
            answer_at_once(bus, stream_number, &request, now_ns, &box);
    }
    flush(bus, &box);
    ft_count(&bus->counts[FT_COUNT_GARBAGE], stream->garbage - garbage);
    return found;
}

/* ---- one unpaced line: a blocking read and a write are all it takes ------------------------------------------ */

static int is_one_simple_line(const ft_simloop *loop)
{
    const ft_simbus *bus = loop->buses[0];
    return loop->count == 1 && bus->slave_fd >= 0 && !bus->paced && bus->server.faults.chance[FT_FAULT_LATE] == 0;
}

static int run_one_line(ft_simloop *loop)
{
    ft_simbus *bus = loop->buses[0];
    uint8_t bytes[FT_STREAM_BYTES / 2];
    while (!atomic_load_explicit(&loop->stopping, memory_order_relaxed)) {
        ssize_t n = read(bus->fd, bytes, sizeof bytes);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && !atomic_load_explicit(&loop->stopping, memory_order_relaxed))
            (void)serve(bus, 0, bytes, (size_t)n);
    }
    return 0;
}

/* ---- many streams -------------------------------------------------------------------------------------------- */

static int watch(const ft_simloop *loop, int fd, uint64_t key)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = key}};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static uint64_t key_of(uint32_t bus, uint32_t stream)
{
    return (uint64_t)bus << 8 | stream;
}

static void forget_answers_to(ft_simbus *bus, uint32_t stream)
{
    for (int i = 0; i < FT_SIM_PENDING; i++)
        if (bus->pending[i].stream == stream)
            forget(bus, &bus->pending[i]);
}

static void hang_up(ft_simbus *bus, uint32_t stream)
{
    close(bus->stream_fd[stream]);
    bus->stream_fd[stream] = -1;
    forget_answers_to(bus, stream);
}

static void welcome(ft_simloop *loop, uint32_t number)
{
    ft_simbus *bus = loop->buses[number];
    int yes = 1;
    int fd = accept4(bus->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    for (uint32_t i = 0; i < FT_SIM_CONNECTIONS; i++) {
        if (bus->stream_fd[i] >= 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (watch(loop, fd, key_of(number, i)) < 0)
            break;
        bus->stream_fd[i] = fd;
        ft_stream_init(&bus->streams[i]);
        ft_count(&bus->counts[FT_COUNT_CONNECTIONS], 1);
        return;
    }
    close(fd);
}

static void receive(ft_simloop *loop, uint32_t number, uint32_t stream)
{
    ft_simbus *bus = loop->buses[number];
    uint8_t bytes[FT_STREAM_BYTES / 2];
    ssize_t n = bus->stream_fd[stream] < 0 ? -1 : read(bus->stream_fd[stream], bytes, sizeof bytes);
    int is_line = bus->slave_fd >= 0;
    if (n > 0) {
        if (serve(bus, stream, bytes, (size_t)n) < 0 && !is_line)
            hang_up(bus, stream);
    } else if (!is_line && bus->stream_fd[stream] >= 0 && (n == 0 || errno != EAGAIN)) {
        hang_up(bus, stream);
    }
}

static void release_due(ft_simbus *bus, int64_t now_ns)
{
    for (int i = 0; i < FT_SIM_PENDING && bus->waiting > 0; i++)
        if (bus->pending[i].bytes > 0)
            release(bus, &bus->pending[i], now_ns);
}

static int64_t next_due_ns(const ft_simbus *bus)
{
    int64_t next_ns = INT64_MAX;
    for (int i = 0; i < FT_SIM_PENDING && bus->waiting > 0; i++)
        if (bus->pending[i].bytes > 0 && due_ns(&bus->pending[i]) < next_ns)
            next_ns = due_ns(&bus->pending[i]);
    return next_ns;
}

/* Sends what is due; returns when the next piece is, 0 for never. */
static int64_t release_all_due(ft_simloop *loop)
{
    int64_t now_ns = clock_ns(CLOCK_BOOTTIME);
    int64_t next_ns = INT64_MAX;
    for (uint32_t b = 0; b < loop->count; b++) {
        ft_simbus *bus = loop->buses[b];
        release_due(bus, now_ns);
        if (next_due_ns(bus) < next_ns)
            next_ns = next_due_ns(bus);
    }
    return next_ns == INT64_MAX ? 0 : next_ns;
}

/* An armed timer that is due stays readable until it is set again, which is what keeps this to one system call. */
static void arm_timer(ft_simloop *loop, int64_t due)
{
    if (due == loop->timer_due_ns)
        return;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S)}};
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    loop->timer_due_ns = due;
}

static void dispatch(ft_simloop *loop, uint64_t key)
{
    if (key == TIMER_KEY || key == WAKE_KEY)
        return;
    if ((key & 0xFF) == LISTENER)
        welcome(loop, (uint32_t)(key >> 8));
    else
        receive(loop, (uint32_t)(key >> 8), key & 0xFF);
}

static int run_many(ft_simloop *loop)
{
    struct epoll_event events[EVENTS];
    while (!atomic_load_explicit(&loop->stopping, memory_order_relaxed)) {
        int n = epoll_wait(loop->epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++)
            dispatch(loop, events[i].data.u64);
        arm_timer(loop, release_all_due(loop));
    }
    return 0;
}

static int watch_all(ft_simloop *loop)
{
    int code = watch(loop, loop->wake_fd, WAKE_KEY);
    if (code == 0)
        code = watch(loop, loop->timer_fd, TIMER_KEY);
    for (uint32_t b = 0; b < loop->count && code == 0; b++) {
        const ft_simbus *bus = loop->buses[b];
        int flags = fcntl(bus->fd, F_GETFL);
        if (flags < 0 || fcntl(bus->fd, F_SETFL, flags | O_NONBLOCK) < 0)
            return -errno;
        code = watch(loop, bus->fd, key_of(b, bus->slave_fd >= 0 ? 0 : LISTENER));
    }
    return code;
}

int ft_simloop_init(ft_simloop *loop, ft_simbus **buses, uint32_t count)
{
    loop->buses = buses;
    loop->count = count;
    loop->timer_due_ns = 0;
    atomic_init(&loop->stopping, 0);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->wake_fd < 0) {
        int code = -errno;
        ft_simloop_free(loop);
        return code;
    }
    return is_one_simple_line(loop) ? 0 : watch_all(loop);
}

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void ft_simloop_free(ft_simloop *loop)
{
    for (uint32_t b = 0; b < loop->count; b++)
        for (int i = 0; i < FT_SIM_CONNECTIONS && loop->buses[b]->slave_fd < 0; i++)
            close_if_open(&loop->buses[b]->stream_fd[i]);
    close_if_open(&loop->epoll_fd);
    close_if_open(&loop->timer_fd);
    close_if_open(&loop->wake_fd);
}

int ft_simloop_run(ft_simloop *loop)
{
    return is_one_simple_line(loop) ? run_one_line(loop) : run_many(loop);
}

void ft_simloop_stop(ft_simloop *loop)
{
    static const uint64_t one = 1;
    atomic_store_explicit(&loop->stopping, 1, memory_order_relaxed);
    if (!is_one_simple_line(loop)) {
        (void)!write(loop->wake_fd, &one, sizeof one);
        return;
    }
    /* A byte from the slave side ends the blocking read; unread answers thrown away end a blocking write. */
    tcflush(loop->buses[0]->slave_fd, TCIFLUSH);
    (void)!write(loop->buses[0]->slave_fd, "", 1);
}
