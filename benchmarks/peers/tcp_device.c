/* A Modbus TCP device for benchmarks: requests on one connection in, answers out, as many at a time as have come.
 *
 * Prints its port, then serves one connection after the other until it is ended. Register r holds r. Requests that came
 * together are answered together, in one write, so that the rig costs each master as little as it can.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_BYTES 12
#define ANSWER_BYTES 260
#define MOST 64

static size_t answer(const uint8_t *request, uint8_t *out)
{
    unsigned address = (unsigned)(request[8] << 8 | request[9]);
    unsigned count = (unsigned)(request[10] << 8 | request[11]);
    unsigned length = 3 + 2 * count;
    memcpy(out, request, 8);
    out[4] = (uint8_t)(length >> 8);
    out[5] = (uint8_t)length;
    out[8] = (uint8_t)(2 * count);
    for (unsigned i = 0; i < count; i++) {
        out[9 + 2 * i] = (uint8_t)((address + i) >> 8);
        out[10 + 2 * i] = (uint8_t)(address + i);
    }
    return 9 + 2 * count;
}

static void serve(int fd)
{
    static uint8_t requests[MOST * REQUEST_BYTES], answers[MOST * ANSWER_BYTES];
    size_t received = 0;
    for (;;) {
        ssize_t n = read(fd, requests + received, sizeof requests - received);
        if (n <= 0)
            return;
        received += (size_t)n;
        size_t used = 0, out = 0;
        for (; received - used >= REQUEST_BYTES; used += REQUEST_BYTES)
            out += answer(requests + used, answers + out);
        memmove(requests, requests + used, received - used);
        received -= used;
        if (out && write(fd, answers, out) != (ssize_t)out)
            return;
    }
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 1) < 0)
        return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%d\n", ntohs(address.sin_port));
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            return 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        serve(fd);
        close(fd);
    }
}
