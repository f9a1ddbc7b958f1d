/* The simulator's I/O: one loop, one thread, all buses. Serial buses are the master sides of ptys, TCP buses are
 * listening sockets, UDP buses one socket that answers whom it hears; what they answer and when is core/simbus.h. */
#ifndef FT_SIMLOOP_H
#define FT_SIMLOOP_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdint.h>

#include "simbus.h"

/* A bus and where it is reached. */
typedef struct ft_simport {
    ft_simbus bus;
    int fd;       /* pty master, listening socket, or socket of datagrams */
    int slave_fd; /* pty: kept open so that the line never hangs up, also wakes a blocked loop; sockets: -1 */
    int is_datagrams;
    int stream_fd[FT_SIM_STREAMS]; /* -1: free */
    struct sockaddr_in peers[FT_SIM_STREAMS]; /* datagrams: who is heard on which stream */
    uint32_t newest; /* of them */
} ft_simport;

typedef struct ft_simloop {
    ft_simport **ports;
    uint32_t count;
    int epoll_fd;
    int timer_fd;
    int wake_fd;
    int64_t timer_due_ns; /* 0: not armed */
    atomic_int stopping;
} ft_simloop;

void ft_simport_init(ft_simport *port, int fd, int slave_fd);

/* 0, or -errno. The caller owns `ports` and their file descriptors, which must outlive the loop. */
int ft_simloop_init(ft_simloop *loop, ft_simport **ports, uint32_t count);
void ft_simloop_free(ft_simloop *loop);
/* Serves until ft_simloop_stop. 0, or -errno. */
int ft_simloop_run(ft_simloop *loop);
/* From any thread. Call it again until ft_simloop_run has returned: a loop stuck on a full pty is freed each time. */
void ft_simloop_stop(ft_simloop *loop);

#endif
