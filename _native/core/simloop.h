/* The simulator's I/O: one loop, one thread, all buses. Serial buses are the master sides of ptys, TCP buses are
 * listening sockets; every device behind them is core/server.h. With a line rate set, answers leave as they would
 * from a UART: after the request's time on the wire and the device's delay, in pieces of one FIFO. */
#ifndef FT_SIMLOOP_H
#define FT_SIMLOOP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "server.h"

#define FT_SIM_CONNECTIONS 8 /* to one TCP bus at once; industrial gateways take 4 to 8 */
#define FT_SIM_PENDING 8     /* answers of one bus that wait for their time; a master that ran ahead so far is lost */
#define FT_SIM_FIFO_BYTES 16 /* what a UART hands over at once */
#define FT_SIM_GAP_TOLERANCE_NS INT64_C(20000) /* rounding of a master's own timer, one bit at 57600 baud */

enum ft_bus_count {
    FT_COUNT_GAP_VIOLATIONS = 0, /* requests that began sooner than t3.5 after the line fell silent */
    FT_COUNT_UNSENT,             /* answers nobody took: the reader's buffer was full */
    FT_COUNT_CONNECTIONS,
    FT_COUNT_GARBAGE,            /* bytes that were no request */
    FT_BUS_COUNTS
};

/* An answer on its way: byte i is out at start_ns + (i + 1) * char_ns. */
typedef struct ft_pending {
    int64_t start_ns;
    int64_t char_ns;
    size_t sent;
    size_t bytes; /* 0: this place is free */
    uint32_t stream;
    uint8_t adu[FT_ANSWER_BYTES];
} ft_pending;

typedef struct ft_simbus {
    ft_server server;
    int fd;         /* pty master, or listening socket */
    int slave_fd;   /* pty: kept open so that the line never hangs up, also wakes a blocked loop; TCP: -1 */
    int paced;
    int64_t char_ns; /* paced: one character on the wire ... */
    int64_t gap_ns;  /* ... and t3.5, which is also the device's delay */
    int64_t line_end_ns;
    int stream_fd[FT_SIM_CONNECTIONS]; /* -1: free */
    ft_stream streams[FT_SIM_CONNECTIONS];
    uint32_t waiting; /* answers in `pending` */
    ft_pending pending[FT_SIM_PENDING];
    ft_counter counts[FT_BUS_COUNTS];
} ft_simbus;

typedef struct ft_simloop {
    ft_simbus **buses;
    uint32_t count;
    int epoll_fd;
    int timer_fd;
    int wake_fd;
    int64_t timer_due_ns; /* 0: not armed */
    atomic_int stopping;
} ft_simloop;

/* A bus whose `server` is set already. gap_ns > 0 with char_ns > 0: paced. */
void ft_simbus_init(ft_simbus *bus, int fd, int slave_fd, int64_t char_ns, int64_t gap_ns);

/* 0, or -errno. The caller owns `buses` and their file descriptors, which must outlive the loop. */
int ft_simloop_init(ft_simloop *loop, ft_simbus **buses, uint32_t count);
void ft_simloop_free(ft_simloop *loop);
/* Serves until ft_simloop_stop. 0, or -errno. */
int ft_simloop_run(ft_simloop *loop);
/* From any thread. Call it again until ft_simloop_run has returned: a loop stuck on a full pty is freed each time. */
void ft_simloop_stop(ft_simloop *loop);

#endif
