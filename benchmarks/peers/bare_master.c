/* The least that a master on a port can do, as a peer: write, ppoll and read, without a look at what came.
 *
 *   bare_master BAUD PORT
 *
 * BAUD 0: it sleeps until bytes come, and what a real master needs beyond that is its own doing. Else it keeps t3.5 and
 * never sleeps at all, so that what it misses of the line's ceiling is lost in the rig's ptys, not by a master.
 * For every line "SECONDS REGISTERS" on stdin: asks FC 3 of unit 1 so long and prints transactions, failures, CPU
 * seconds, transactions/s and system calls.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MOST_BYTES 256
#define GIVE_UP_S 0.5
#define REGISTERS 3 /* so many kinds of request, with CRCs worked out before */

static const struct {
    int registers;
    uint8_t adu[8];
} requests[REGISTERS] = {
    {10, {1, 3, 0, 0, 0, 10, 0xC5, 0xCD}},
    {60, {1, 3, 0, 0, 0, 60, 0x45, 0xDB}},
    {125, {1, 3, 0, 0, 0, 125, 0x85, 0xEB}},
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double quiet_s; /* t3.5; 0: do not keep it, and sleep */

static double cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* One request and its answer of `expected` bytes; the system calls it took, 0 after half a second without an answer. */
static unsigned long transact(int fd, const uint8_t *adu, ssize_t expected)
{
    uint8_t answer[MOST_BYTES];
    ssize_t got = 0;
    unsigned long calls = 1;
    if (write(fd, adu, sizeof requests[0].adu) < 0)
        return 0;
    for (double begin = seconds(); got < expected && seconds() - begin < GIVE_UP_S;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        struct timespec span = {.tv_nsec = quiet_s > 0 ? 0 : (long)(GIVE_UP_S * 1e9)};
        int ready = ppoll(&wait, 1, &span, NULL);
        ssize_t n = ready > 0 ? read(fd, answer, sizeof answer) : 0;
        if (ready < 0 || n < 0)
            return 0;
        got += n;
        calls += 2;
    }
    for (double end = seconds(); seconds() - end < quiet_s;)
        ;
    return got < expected ? 0 : calls;
}

static void slice(int fd, double span, int registers)
{
    const uint8_t *adu = requests[0].adu;
    unsigned long done = 0, failed = 0, calls = 0;
    double begin = seconds(), used = cpu();
    for (int i = 0; i < REGISTERS; i++)
        if (requests[i].registers == registers)
            adu = requests[i].adu;
    while (seconds() - begin < span) {
        unsigned long took = transact(fd, adu, 5 + 2 * registers);
        calls += took;
        done += took > 0;
        failed += took == 0;
    }
    printf("%lu %lu %.9f %.3f %lu\n", done, failed, cpu() - used, (double)done / (seconds() - begin), calls);
}

int main(int argc, char **argv)
{
    struct termios raw;
    double span;
    int registers;
    double baud = argc == 3 ? atof(argv[1]) : 0;
    int fd = argc == 3 ? open(argv[2], O_RDWR | O_NOCTTY | O_NONBLOCK) : -1;
    if (fd < 0 || tcgetattr(fd, &raw) < 0)
        return 2;
    cfmakeraw(&raw);
    if (baud > 0)
        quiet_s = baud > 19200 ? 1.75e-3 : 35 / baud;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(fd, TCSANOW, &raw) < 0)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ready\n");
    while (scanf("%lf %d", &span, &registers) == 2)
        slice(fd, span, registers);
    return 0;
}
