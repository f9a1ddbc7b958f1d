/* The loop that serves all Modbus TCP links: connections, plans (slots.h) and errands come in through slots, samples leave
 * through the links' rings. One thread, one epoll, one timer; hundreds of links. Connections are made and closed by others.
 */
#ifndef FT_LINKLOOP_H
#define FT_LINKLOOP_H

#include "datagram.h"
#include "link.h"
#include "slots.h"
#include "trace.h"

/* Two full turns of 16 answers of the longest kind. */
#define FT_LINK_READ_BYTES (2 * FT_FLIGHTS_MOST * FT_MAX_TCP)

typedef struct ft_tcp {
    ft_link link;
    ft_trace trace;
    ft_slots slots;
    int fd;          /* the loop's */
    int64_t wake_ns;
} ft_tcp;

enum ft_link_call { FT_LINK_CALL_WAIT = 0, FT_LINK_CALL_READ, FT_LINK_CALL_WRITE, FT_LINK_CALL_COUNT };

typedef struct ft_linkloop {
    ft_tcp *links;
    uint32_t link_count;
    int epoll_fd;
    int timer_fd;
    int mailbox_fd;      /* eventfd: something is in a slot */
    int consumer_fd;     /* eventfd: samples wait, see ring.h; not owned */
    int supervisor_fd;   /* eventfd: a connection was lost; not owned */
    int errand_fd;       /* eventfd: errands are done; not owned */
    int64_t armed_ns;    /* when the timer goes off, or FT_NEVER */
    _Atomic int stop;
    _Atomic uint64_t calls[FT_LINK_CALL_COUNT];
    uint8_t bytes[FT_LINK_READ_BYTES];
} ft_linkloop;

/* NULL: no memory or no file descriptors. The three bells outlive the loop. Links are then initialised one by one. */
ft_linkloop *ft_linkloop_new(uint32_t link_count, int consumer_fd, int supervisor_fd, int errand_fd);
int ft_linkloop_link(ft_linkloop *loop, uint32_t link, uint32_t width, int64_t quiet_ns, uint32_t ring_bits);
void ft_linkloop_free(ft_linkloop *loop);

/* Serves until ft_linkloop_stop(). Blocks all signals of its thread meanwhile. 0, or -errno. */
int ft_linkloop_run(ft_linkloop *loop);

/* From any thread; those of one link from one thread at a time. A connection is non-blocking, and its owner's again once it
 * is lost. A plan is taken over. */
void ft_linkloop_stop(ft_linkloop *loop);
void ft_linkloop_attach(ft_linkloop *loop, uint32_t link, int fd);
void ft_linkloop_fail(ft_linkloop *loop, uint32_t link);
void ft_linkloop_adopt(ft_linkloop *loop, uint32_t link, ft_plan *plan);
/* As ft_errand_offer(); what became of it is to be taken from the link's errands. */
int ft_linkloop_offer(ft_linkloop *loop, uint32_t link, const uint8_t *request, size_t n, size_t answer_bytes,
                      int64_t timeout_ns, int64_t deadline_ns);

/* System calls so far. */
void ft_linkloop_calls(const ft_linkloop *loop, uint64_t out[FT_LINK_CALL_COUNT]);

/* Consumer: samples that wait in all rings, ... */
size_t ft_linkloop_waiting(ft_linkloop *loop);
/* ... and up to max of them, link by link, oldest first. Does not clear consumer_fd: that is to be done before. */
size_t ft_linkloop_drain(ft_linkloop *loop, ft_sample *out, size_t max);

#endif
