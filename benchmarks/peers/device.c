/* Lines and devices for benchmarks: requests on ptys in, answers at the pace of a baud rate (or at once) out.
 *
 *   device LINES BAUD      BAUD 0: unpaced
 *
 * Prints the path of each pty, then for every line on stdin: requests served, requests that came less than t3.5 after
 * the last byte of the answer before, requests that were damaged, and when the first 4096 of them came, in us. Paced lines behave like 8N1 with a UART that hands
 * over its FIFO in pieces of 16 bytes; the devices turn round in t3.5. Register r holds r. So that the rig's own
 * wake-ups are not charged to the master, pieces are released, and a single line's requests are taken, by spinning.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINES 64
#define FIFO_BYTES 16
#define REQUEST_BYTES 8
#define SPIN_NS 60000 /* a timer may come so late; the last stretch is spun so that pieces are punctual */
#define EARLY_NS 1000000 /* from t3.5 on, the next request of a single paced line is spun for so long */
#define NS_PER_S 1000000000LL
#define MAX_ARRIVALS 4096

typedef struct line {
    int master, slave;
    uint8_t request[REQUEST_BYTES];
    size_t received;
    uint8_t answer[256];
    size_t length, released;
    int64_t start_ns;      /* of the answer on the wire */
    int64_t last_byte_ns;
} line;

static line lines[MAX_LINES];
static int line_count;
static int64_t char_ns, quiet_ns;
static uint64_t served, violations, damaged;
static int64_t arrivals_us[MAX_ARRIVALS]; /* of the first ones since the last report */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static uint16_t table[256];

static void make_table(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint16_t value = (uint16_t)i;
        for (int bit = 0; bit < 8; bit++)
            value = (uint16_t)(value >> 1 ^ (value & 1 ? 0xA001 : 0));
        table[i] = value;
    }
}

static uint16_t crc(const uint8_t *bytes, size_t n)
{
    uint16_t value = 0xFFFF;
    for (size_t i = 0; i < n; i++)
        value = (uint16_t)(value >> 8 ^ table[(value ^ bytes[i]) & 0xFF]);
    return value;
}

static void open_line(line *l)
{
    struct termios settings;
    l->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (l->master < 0 || grantpt(l->master) < 0 || unlockpt(l->master) < 0) {
        perror("pty");
        exit(1);
    }
    l->slave = open(ptsname(l->master), O_RDWR | O_NOCTTY); /* kept, so that the master never sees a hang-up */
    tcgetattr(l->slave, &settings);
    cfmakeraw(&settings);
    tcsetattr(l->slave, TCSANOW, &settings);
    printf("%s\n", ptsname(l->master));
}

static void make_answer(line *l)
{
    unsigned address = (unsigned)l->request[2] << 8 | l->request[3];
    unsigned quantity = l->request[5];
    l->answer[0] = l->request[0];
    l->answer[1] = l->request[1];
    l->answer[2] = (uint8_t)(2 * quantity);
    for (unsigned i = 0; i < quantity; i++) {
        l->answer[3 + 2 * i] = (uint8_t)((address + i) >> 8);
        l->answer[4 + 2 * i] = (uint8_t)(address + i);
    }
    l->length = 5 + 2 * quantity;
    uint16_t sum = crc(l->answer, l->length - 2);
    l->answer[l->length - 2] = (uint8_t)sum;
    l->answer[l->length - 1] = (uint8_t)(sum >> 8);
    l->released = 0;
}

static void put(line *l, size_t n)
{
    if (write(l->master, l->answer + l->released, n) < 0)
        perror("write");
    l->released += n;
}

static void take_request(line *l, int64_t now)
{
    l->received = 0;
    if (crc(l->request, REQUEST_BYTES) != 0) {
        damaged++;
        return;
    }
    if (served < MAX_ARRIVALS)
        arrivals_us[served] = now / 1000;
    served++;
    if (char_ns && now - l->last_byte_ns < quiet_ns)
        violations++;
    make_answer(l);
    if (char_ns == 0)
        put(l, l->length);
    l->start_ns = now + REQUEST_BYTES * char_ns + quiet_ns;
}

static void receive(line *l)
{
    ssize_t n = read(l->master, l->request + l->received, REQUEST_BYTES - l->received);
    if (n > 0)
        l->received += (size_t)n;
    if (l->received == REQUEST_BYTES)
        take_request(l, now_ns());
}

/* When the next piece leaves the FIFO, or INT64_MAX. */
static int64_t next_piece(const line *l)
{
    size_t end = l->released + FIFO_BYTES < l->length ? l->released + FIFO_BYTES : l->length;
    return l->released < l->length ? l->start_ns + (int64_t)end * char_ns : INT64_MAX;
}

static void release(line *l)
{
    size_t left = l->length - l->released;
    l->last_byte_ns = now_ns(); /* before the write: nobody can have it earlier */
    put(l, left < FIFO_BYTES ? left : FIFO_BYTES);
}

/* A request is on the wire from the moment it was written, not from when this process woke up. */
static void await_request(line *l)
{
    struct pollfd fd = {.fd = l->master, .events = POLLIN};
    struct timespec span = {0, quiet_ns > SPIN_NS ? quiet_ns - SPIN_NS : 0};
    int64_t until = l->last_byte_ns + quiet_ns + EARLY_NS;
    ppoll(&fd, 1, &span, NULL);
    while (l->released == l->length && now_ns() < until)
        receive(l);
}

static line *first_due(int64_t *due)
{
    line *first = NULL;
    *due = INT64_MAX;
    for (int i = 0; i < line_count; i++) {
        int64_t at = next_piece(&lines[i]);
        if (at < *due) {
            *due = at;
            first = &lines[i];
        }
    }
    return first;
}

/* 0 when stdin has ended. */
static int report(void)
{
    char byte;
    if (read(0, &byte, 1) <= 0)
        return 0;
    printf("%llu %llu %llu", (unsigned long long)served, (unsigned long long)violations, (unsigned long long)damaged);
    for (uint64_t i = 0; i < served && i < MAX_ARRIVALS; i++)
        printf(" %lld", (long long)arrivals_us[i]);
    printf("\n");
    served = violations = damaged = 0;
    return 1;
}

static int wait_until(int64_t due, struct pollfd *fds)
{
    struct timespec span;
    int64_t left = due - now_ns() - SPIN_NS;
    if (left < 0)
        left = 0;
    span.tv_sec = left / NS_PER_S;
    span.tv_nsec = left % NS_PER_S;
    return ppoll(fds, (nfds_t)line_count + 1, due == INT64_MAX ? NULL : &span, NULL);
}

int main(int argc, char **argv)
{
    struct pollfd fds[MAX_LINES + 1];
    int64_t baud = argc == 3 ? atoll(argv[2]) : -1;
    line_count = argc == 3 ? atoi(argv[1]) : 0;
    if (line_count < 1 || line_count > MAX_LINES || baud < 0) {
        fprintf(stderr, "usage: device LINES BAUD\n");
        return 2;
    }
    char_ns = baud ? 10 * NS_PER_S / baud : 0;
    quiet_ns = baud == 0 ? 0 : baud > 19200 ? 1750000 : 35 * char_ns / 10;
    make_table();
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < line_count; i++) {
        open_line(&lines[i]);
        fds[i] = (struct pollfd){.fd = lines[i].master, .events = POLLIN};
    }
    fds[line_count] = (struct pollfd){.fd = 0, .events = POLLIN};
    for (;;) {
        int64_t due;
        line *next = first_due(&due);
        if (wait_until(due, fds) > 0) {
            for (int i = 0; i < line_count; i++)
                if (fds[i].revents)
                    receive(&lines[i]);
            if (fds[line_count].revents && !report())
                return 0;
        }
        if (next && due - now_ns() < SPIN_NS) {
            while (now_ns() < due)
                ;
            release(next);
            if (line_count == 1 && next->released == next->length)
                await_request(next);
        }
    }
}
