/* libmodbus as an independent device: 200 coils and 200 holding registers of one unit, register n holds 7 * n.
 * Usage: libmodbus_device (PATH | tcp) UNIT; prints "ready", over TCP with its port; ends with its standard input. */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REGISTERS 200

static void serve(modbus_t *device, modbus_mapping_t *held)
{
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = modbus_get_socket(device), .events = POLLIN}};
    while (poll(fds, 2, -1) > 0 && !fds[0].revents) {
        int n = modbus_receive(device, request);
        if (n < 0 && errno == ECONNRESET)
            return;
        if (n > 0)
            modbus_reply(device, request, n, held);
    }
}

static void serve_tcp(modbus_t *device, modbus_mapping_t *held)
{
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    int listener = modbus_tcp_listen(device, 1);
    getsockname(listener, (struct sockaddr *)&own, &size);
    printf("ready %d\n", ntohs(own.sin_port));
    fflush(stdout);
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
    while (poll(fds, 2, -1) > 0 && !fds[0].revents) {
        modbus_tcp_accept(device, &listener);
        serve(device, held);
        modbus_close(device);
    }
}

static void serve_line(modbus_t *device, modbus_mapping_t *held)
{
    if (modbus_connect(device) < 0) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        exit(1);
    }
    printf("ready\n");
    fflush(stdout);
    serve(device, held);
}

int main(int count, char **words)
{
    int tcp = count == 3 && strcmp(words[1], "tcp") == 0;
    modbus_t *device = tcp ? modbus_new_tcp("127.0.0.1", 0) : modbus_new_rtu(words[1], 115200, 'N', 8, 1);
    modbus_mapping_t *held = modbus_mapping_new(REGISTERS, 0, REGISTERS, 0);
    modbus_set_slave(device, atoi(words[2]));
    for (int i = 0; i < REGISTERS; i++)
        held->tab_registers[i] = (uint16_t)(7 * i);
    if (tcp)
        serve_tcp(device, held);
    else
        serve_line(device, held);
    modbus_mapping_free(held);
    modbus_free(device);
    return 0;
}
