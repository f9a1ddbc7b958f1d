/* Readiness and time in, requests answered on ptys and sockets. */
#define _GNU_SOURCE /* accept4 */
#include "simloop.h"

#include "datagram.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define READ_BYTES (FT_STREAM_BYTES / 2) /* with the rest of a request before it, it always has room */
#define EVENTS 64                        /* handled per wake-up; the rest comes with the next one */
#define LISTENER 0xFF                    /* in place of a stream's number */
#define TIMER_KEY UINT64_MAX
#define WAKE_KEY (UINT64_MAX - 1)

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int is_line(const ft_simport *port)
{
    return port->slave_fd >= 0;
}

void ft_simport_init(ft_simport *port, int fd, int slave_fd)
{
    port->fd = fd;
    port->slave_fd = slave_fd;
    port->is_datagrams = fd >= 0 && ft_is_datagrams(fd);
    for (int i = 0; i < FT_SIM_STREAMS; i++)
        port->stream_fd[i] = -1;
    if (is_line(port))
        port->stream_fd[0] = fd;
}

static ssize_t send_to(const ft_simport *port, uint32_t stream, const uint8_t *bytes, size_t n)
{
    const struct sockaddr_in *peer = &port->peers[stream];
    if (port->is_datagrams)
        return sendto(port->fd, bytes, n, 0, (const struct sockaddr *)peer, sizeof *peer);
    return write(port->stream_fd[stream], bytes, n);
}

/* A line and a device do not wait for a reader: what it has no room for is lost. */
static void send_due(ft_simport *port, int64_t now_ns)
{
    uint8_t out[FT_SIM_OUT_BYTES];
    uint32_t stream;
    size_t n;
    while ((n = ft_simbus_release(&port->bus, now_ns, &stream, out)) > 0)
        if (send_to(port, stream, out, n) != (ssize_t)n)
            ft_count(&port->bus.counts[FT_COUNT_UNSENT], 1);
}

/* Returns -1 when the peer does not speak the protocol. */
static int serve(ft_simport *port, uint32_t stream, const uint8_t *bytes, size_t n)
{
    int64_t now_ns = clock_ns(CLOCK_BOOTTIME);
    int64_t wall_ns = clock_ns(CLOCK_REALTIME);
    int found;
    ft_simbus_feed(&port->bus, stream, now_ns, bytes, n);
    while ((found = ft_simbus_next(&port->bus, stream, now_ns, wall_ns)) > 0)
        if (port->bus.waiting > FT_SIM_PENDING - FT_SIM_AT_ONCE)
            send_due(port, now_ns);
    send_due(port, now_ns);
    return found;
}

static int is_stopping(ft_simloop *loop)
{
    return atomic_load_explicit(&loop->stopping, memory_order_relaxed);
}

/* ---- one unpaced line: a blocking read and a write are all it takes ------------------------------------------ */

static int is_one_simple_line(const ft_simloop *loop)
{
    const ft_simport *port = loop->ports[0];
    const uint64_t *chance = port->bus.server.faults.chance;
    return loop->count == 1 && is_line(port) && port->bus.char_ns == 0 && chance[FT_FAULT_LATE] == 0
        && chance[FT_FAULT_BABBLE] == 0;
}

static int run_one_line(ft_simloop *loop)
{
    ft_simport *port = loop->ports[0];
    uint8_t bytes[READ_BYTES];
    while (!is_stopping(loop)) {
        ssize_t n = read(port->fd, bytes, sizeof bytes);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && !is_stopping(loop)) /* else it is the byte that ft_simloop_stop wrote */
            (void)serve(port, 0, bytes, (size_t)n);
    }
    return 0;
}

/* ---- many streams -------------------------------------------------------------------------------------------- */

static int watch(const ft_simloop *loop, int fd, uint64_t key)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = key}};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static uint64_t key_of(uint32_t port, uint32_t stream)
{
    return (uint64_t)port << 8 | stream;
}

static void hang_up(ft_simport *port, uint32_t stream)
{
    close(port->stream_fd[stream]);
    port->stream_fd[stream] = -1;
    ft_simbus_end(&port->bus, stream);
}

/* The place of a new connection, -1 when all are taken. */
static int seat(ft_simloop *loop, uint32_t number, int fd)
{
    ft_simport *port = loop->ports[number];
    for (uint32_t i = 0; i < FT_SIM_STREAMS; i++) {
        if (port->stream_fd[i] >= 0)
            continue;
        if (watch(loop, fd, key_of(number, i)) < 0)
            return -1;
        port->stream_fd[i] = fd;
        return (int)i;
    }
    return -1;
}

static void welcome(ft_simloop *loop, uint32_t number)
{
    int yes = 1;
    int fd = accept4(loop->ports[number]->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (seat(loop, number, fd) < 0)
        close(fd);
    else
        ft_count(&loop->ports[number]->bus.counts[FT_COUNT_CONNECTIONS], 1);
}

static void receive_line(ft_simport *port)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = read(port->fd, bytes, sizeof bytes);
    if (n > 0)
        (void)serve(port, 0, bytes, (size_t)n);
}

static void receive_connection(ft_simport *port, uint32_t stream)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = read(port->stream_fd[stream], bytes, sizeof bytes);
    int is_over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    if (n > 0)
        is_over = serve(port, stream, bytes, (size_t)n) < 0;
    if (is_over)
        hang_up(port, stream);
}

/* The stream of whom a datagram came from; who is new takes the place of who was new the longest ago. */
static uint32_t stream_of(ft_simport *port, const struct sockaddr_in *peer)
{
    for (uint32_t i = 0; i < FT_SIM_STREAMS; i++)
        if (port->peers[i].sin_port == peer->sin_port && port->peers[i].sin_addr.s_addr == peer->sin_addr.s_addr)
            return i;
    port->newest = (port->newest + 1) % FT_SIM_STREAMS;
    ft_simbus_end(&port->bus, port->newest);
    port->peers[port->newest] = *peer;
    ft_count(&port->bus.counts[FT_COUNT_CONNECTIONS], 1);
    return port->newest;
}

/* What a datagram leaves over belongs to nothing. */
static void receive_datagram(ft_simport *port)
{
    uint8_t bytes[READ_BYTES];
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    ssize_t n = recvfrom(port->fd, bytes, sizeof bytes, 0, (struct sockaddr *)&peer, &size);
    if (n <= 0)
        return;
    uint32_t stream = stream_of(port, &peer);
    (void)serve(port, stream, bytes, (size_t)n);
    ft_stream_init(&port->bus.streams[stream]);
}

static void dispatch(ft_simloop *loop, uint64_t key)
{
    uint32_t stream = key & 0xFF;
    if (key == TIMER_KEY || key == WAKE_KEY)
        return;
    ft_simport *port = loop->ports[key >> 8];
    if (port->is_datagrams)
        receive_datagram(port);
    else if (stream == LISTENER)
        welcome(loop, (uint32_t)(key >> 8));
    else if (is_line(port))
        receive_line(port);
    else
        receive_connection(port, stream);
}

/* Sends what is due on all buses; returns when more will be, 0 for never. */
static int64_t send_all_due(ft_simloop *loop)
{
    int64_t now_ns = clock_ns(CLOCK_BOOTTIME);
    int64_t next_ns = INT64_MAX;
    for (uint32_t i = 0; i < loop->count; i++) {
        if (loop->ports[i]->bus.waiting == 0)
            continue;
        send_due(loop->ports[i], now_ns);
        int64_t due_ns = ft_simbus_due(&loop->ports[i]->bus);
        if (due_ns < next_ns)
            next_ns = due_ns;
    }
    return next_ns == INT64_MAX ? 0 : next_ns;
}

/* An expired timer stays readable until it is set again: no read is needed, as what was due has another due time now. */
static void arm_timer(ft_simloop *loop, int64_t due_ns)
{
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due_ns / NS_PER_S), .tv_nsec = (long)(due_ns % NS_PER_S)}};
    if (due_ns == loop->timer_due_ns)
        return;
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    loop->timer_due_ns = due_ns;
}

static int run_many(ft_simloop *loop)
{
    struct epoll_event events[EVENTS];
    while (!is_stopping(loop)) {
        int n = epoll_wait(loop->epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++)
            dispatch(loop, events[i].data.u64);
        arm_timer(loop, send_all_due(loop));
    }
    return 0;
}

/* ---- the loop's life ----------------------------------------------------------------------------------------- */

static int watch_port(ft_simloop *loop, uint32_t number)
{
    const ft_simport *port = loop->ports[number];
    int flags = fcntl(port->fd, F_GETFL);
    if (flags < 0 || fcntl(port->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return watch(loop, port->fd, key_of(number, is_line(port) ? 0 : LISTENER));
}

static int watch_all(ft_simloop *loop)
{
    int code = watch(loop, loop->wake_fd, WAKE_KEY);
    if (code == 0)
        code = watch(loop, loop->timer_fd, TIMER_KEY);
    for (uint32_t i = 0; i < loop->count && code == 0; i++)
        code = watch_port(loop, i);
    return code;
}

int ft_simloop_init(ft_simloop *loop, ft_simport **ports, uint32_t count)
{
    int code = 0;
    loop->ports = ports;
    loop->count = count;
    loop->timer_due_ns = 0;
    atomic_init(&loop->stopping, 0);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->wake_fd < 0)
        code = -errno;
    else if (!is_one_simple_line(loop))
        code = watch_all(loop);
    if (code < 0)
        ft_simloop_free(loop);
    return code;
}

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void ft_simloop_free(ft_simloop *loop)
{
    for (uint32_t i = 0; i < loop->count; i++)
        for (int stream = 0; stream < FT_SIM_STREAMS && !is_line(loop->ports[i]); stream++)
            close_if_open(&loop->ports[i]->stream_fd[stream]);
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
    tcflush(loop->ports[0]->slave_fd, TCIFLUSH);
    (void)!write(loop->ports[0]->slave_fd, "", 1);
}
