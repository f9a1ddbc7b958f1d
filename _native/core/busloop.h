/* The loop that serves all buses: ports, requests and plans come in through lock-free slots, samples leave through
 * the buses' rings. One thread, one ppoll; it sleeps until the next bus wants to be stepped, and listens only to the
 * lines whose bus waits for bytes. Ports are opened, configured and closed by others.
 *
 * What other threads put in: see slots.h, and for errands errand.h.
 */
#ifndef FT_BUSLOOP_H
#define FT_BUSLOOP_H

#include "ascii.h"
#include "bus.h"
#include "datagram.h"
#include "flood.h"
#include "slots.h"
#include "trace.h"
#include "unmark.h"
#include "wishes.h"

#include <poll.h>

/* One more than n_tty holds, so that one short read proves the queue empty. */
#define FT_READ_BYTES 4097

typedef struct ft_line {
    ft_bus bus;
    ft_trace trace;
    /* the loop's */
    int fd;
    int watch;
    ft_unmark unmark;
    ft_ascii ascii;
    int is_ascii;
    ft_flood flood;
    /* slots */
    ft_slots slots;
    _Atomic int marked;                /* set: damaged characters are marked in what the port reads */
    _Atomic uint64_t heard;            /* characters since they are, ... */
    _Atomic uint64_t damaged;          /* ... those that were marked ... */
    _Atomic uint64_t breaks;           /* ... and those of them that may have been breaks */
} ft_line;

enum ft_call { FT_CALL_POLL = 0, FT_CALL_READ, FT_CALL_WRITE, FT_CALL_COUNT };

typedef struct ft_loop {
    ft_line *lines;
    ft_wish *wishes;                   /* one for each line */
    struct pollfd *fds;                /* likewise, the mailbox last */
    uint32_t line_count;
    int mailbox_fd;                    /* eventfd: something is in a slot */
    int consumer_fd;                   /* eventfd: samples wait, see ring.h */
    int supervisor_fd;                 /* eventfd: a port was lost */
    int errand_fd;                     /* eventfd: errands are done */
    int64_t late_ns;                   /* by which timers wake us late at least, learned */
    _Atomic int stop;
    _Atomic uint64_t calls[FT_CALL_COUNT];
    uint8_t bytes[FT_READ_BYTES + 1];  /* as the bus hears them */
    uint8_t characters[FT_READ_BYTES]; /* of an ASCII line, as they are on the wire */
} ft_loop;

/* NULL: no memory or no file descriptors. Lines are then initialised one by one. */
ft_loop *ft_loop_new(uint32_t line_count);
int ft_loop_line(ft_loop *loop, uint32_t line, const ft_wire *wire, uint32_t ring_bits);
void ft_loop_free(ft_loop *loop);

/* Serves until ft_loop_stop(). Blocks all signals of its thread meanwhile. */
void ft_loop_run(ft_loop *loop);

/* From any thread; those of one line from one thread at a time. */
void ft_loop_stop(ft_loop *loop);
void ft_loop_attach(ft_loop *loop, uint32_t line, int fd);
void ft_loop_fail(ft_loop *loop, uint32_t line);
/* Takes the plan over; frees those that were replaced before. */
void ft_loop_adopt(ft_loop *loop, uint32_t line, ft_plan *plan);
/* The port to be closed and why it was lost, or FT_NO_PORT. */
int ft_loop_take_lost(ft_loop *loop, uint32_t line, int *why);

/* Whether the terminal marks damaged characters from now on; an attached port does not, at first. */
void ft_loop_mark(ft_loop *loop, uint32_t line, int on);
/* Characters heard while marking, those marked, and those of them that may have been breaks. */
void ft_loop_marks(const ft_loop *loop, uint32_t line, uint64_t out[3]);
/* Errands of one line, see errand.h. */
int ft_loop_offer(ft_loop *loop, uint32_t line, const uint8_t *request, size_t n, size_t answer_bytes, int64_t timeout_ns,
                  int64_t deadline_ns);

/* System calls so far. */
void ft_loop_calls(const ft_loop *loop, uint64_t out[FT_CALL_COUNT]);

/* Consumer: samples that wait in all rings, ... */
size_t ft_loop_waiting(ft_loop *loop);
/* ... and up to max of them, bus by bus, oldest first. Clears consumer_fd, which tells from then on what comes next. */
size_t ft_loop_drain(ft_loop *loop, ft_sample *out, size_t max);

#endif
