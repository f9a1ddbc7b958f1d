/* libmodbus as a peer: one thread for each port polls FC 3 of unit 1 as fast as it goes.
 *
 *   libmodbus_master BAUD PORT...      a PORT that is a number is one of 127.0.0.1, for Modbus TCP
 *
 * For every line "SECONDS REGISTERS" on stdin: polls so long and prints transactions, failures, CPU seconds,
 * transactions/s from the first to the last completion of each port, 0 system calls (nobody counts them), and context
 * switches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <modbus/modbus.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define MAX_PORTS 64

typedef struct master {
    modbus_t *link;
    pthread_t thread;
    uint64_t done, failed;
    double first, last; /* completions */
} master;

static master masters[MAX_PORTS];
static int registers;
static double stop_at;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static long switches(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_nvcsw + used.ru_nivcsw;
}

static modbus_t *link_to(const char *port, int baud)
{
    int number = atoi(port);
    return number ? modbus_new_tcp("127.0.0.1", number) : modbus_new_rtu(port, baud ? baud : 115200, 'N', 8, 1);
}

static void *poll_port(void *argument)
{
    master *m = argument;
    uint16_t values[125];
    while (seconds() < stop_at) {
        if (modbus_read_registers(m->link, 0, registers, values) != registers) {
            m->failed++;
            continue;
        }
        m->last = seconds();
        if (m->done++ == 0)
            m->first = m->last;
    }
    return NULL;
}

static void slice(int count, double span)
{
    double begin = seconds();
    double used = cpu();
    long switched = switches();
    double used_s, rate = 0;
    uint64_t done = 0, failed = 0;
    stop_at = begin + span;
    for (int i = 0; i < count; i++) {
        masters[i].done = masters[i].failed = 0;
        pthread_create(&masters[i].thread, NULL, poll_port, &masters[i]);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(masters[i].thread, NULL);
        done += masters[i].done;
        failed += masters[i].failed;
    }
    used_s = cpu() - used;
    switched = switches() - switched;
    for (int i = 0; i < count; i++)
        if (masters[i].done > 1)
            rate += (double)(masters[i].done - 1) / (masters[i].last - masters[i].first);
    printf("%llu %llu %.9f %.3f 0 %ld\n", (unsigned long long)done, (unsigned long long)failed, used_s, rate, switched);
}

int main(int argc, char **argv)
{
    double span;
    int count = argc - 2;
    int baud = argc > 1 ? atoi(argv[1]) : 0; /* 0: an unpaced pty, where the rate only has to be valid */
    if (count < 1 || count > MAX_PORTS)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < count; i++) {
        masters[i].link = link_to(argv[2 + i], baud);
        modbus_set_slave(masters[i].link, 1);
        if (modbus_connect(masters[i].link) < 0) {
            fprintf(stderr, "%s: %s\n", argv[2 + i], modbus_strerror(errno));
            return 1;
        }
    }
    printf("ready\n");
    while (scanf("%lf %d", &span, &registers) == 2)
        slice(count, span);
    return 0;
}
