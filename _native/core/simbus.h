/* One simulated bus as seen from its ends: bytes and time in, bytes at their time out. Sans-IO. Unpaced, answers are due
 * at once. With a line rate, a request takes its time on the wire, the device waits t3.5, and the answer comes in pieces
 * of one FIFO, each due when its last byte is through:
 *
 *   arrival          + n chars          + t3.5              + 16 chars      + 32 chars ...
 *   |== request =====|                  |== piece 1 ========|== piece 2 ====|
 *
 * All of a request's bytes arrive when the master writes them, as a pty has no speed. A unit that is late answers what it
 * was asked meanwhile after that, in the order of the requests: it has one transmitter. */
#ifndef FT_SIMBUS_H
#define FT_SIMBUS_H

#include <stddef.h>
#include <stdint.h>

#include "server.h"

#define FT_SIM_STREAMS 8     /* connections to one TCP bus at once; industrial gateways take 4 to 8. A line is one */
#define FT_SIM_PENDING 12    /* of one bus; a master that runs so far ahead of a late device is lost */
#define FT_SIM_AT_ONCE 3     /* of one request: its echo, noise, its answer */
#define FT_SIM_FIFO_BYTES 16 /* what a UART hands over at once */
#define FT_SIM_GAP_TOLERANCE_NS INT64_C(20000) /* rounding of a master's own timer, one bit at 57600 baud */
#define FT_SIM_OUT_BYTES (FT_SIM_PENDING * FT_ANSWER_BYTES)

enum ft_simbus_count {
    FT_COUNT_GAP_VIOLATIONS = 0, /* requests that began sooner than t3.5 after the line fell silent */
    FT_COUNT_UNSENT,             /* answers nobody took: the reader's buffer, or the bus's own queue, was full */
    FT_COUNT_CONNECTIONS,
    FT_COUNT_GARBAGE,            /* bytes that were no request */
    FT_BUS_COUNTS
};

/* An answer, an echo or noise on its way: byte i is out at start_ns + (i + 1) * char_ns. */
typedef struct ft_pending {
    int64_t start_ns;
    size_t sent;
    size_t bytes;
    uint32_t stream;
    uint8_t adu[FT_ANSWER_BYTES];
} ft_pending;

typedef struct ft_simbus {
    ft_server server;
    int64_t char_ns; /* one character on the wire; 0: not paced */
    int64_t gap_ns;  /* t3.5, which is also the device's delay; 0: not paced */
    int64_t busy_until_ns[FT_UNITS]; /* the unit's answers wait so long */
    int64_t line_end_ns; /* paced: when the line fell or will fall silent; 0: never used */
    uint32_t waiting; /* pending[0 .. waiting), sorted by start_ns */
    ft_pending pending[FT_SIM_PENDING];
    ft_stream streams[FT_SIM_STREAMS];
    ft_counter counts[FT_BUS_COUNTS];
} ft_simbus;

/* bus->server is set up already. */
void ft_simbus_init(ft_simbus *bus, int64_t char_ns, int64_t gap_ns);

void ft_simbus_feed(ft_simbus *bus, uint32_t stream, int64_t now_ns, const uint8_t *bytes, size_t n);
/* Answer the next request of a stream. 1: done, ask again; 0: none is complete; -1: it speaks another protocol. */
int ft_simbus_next(ft_simbus *bus, uint32_t stream, int64_t now_ns, int64_t wall_ns);
/* The bytes of one stream that are due, at most FT_SIM_OUT_BYTES; 0: none are. */
size_t ft_simbus_release(ft_simbus *bus, int64_t now_ns, uint32_t *stream, uint8_t *out);
/* When bytes are due next; INT64_MAX for never. */
int64_t ft_simbus_due(const ft_simbus *bus);
/* The stream ended: forget what it sent and what it was to get. */
void ft_simbus_end(ft_simbus *bus, uint32_t stream);

#endif
