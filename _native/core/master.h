/* One transaction at a time of a master on one line: request sent, bytes and time in, outcome out. Sans-IO: no system
 * call, no clock, no allocation. The outcome depends on the bytes and their order alone, never on how they are chunked.
 *
 *   begin --> PENDING --feed--> ANSWERED | EXCEPTION          (bytes after that are stale and counted)
 *                     --expire (now >= deadline)--> TIMED_OUT
 *
 * RTU: every offset is tried as the beginning of the answer, earliest first. An offset whose unit, function, byte count
 * and echoed fields so far are those of the answer is waited for until it is complete and its CRC decides; all others
 * are passed over at once. The line's own echo, complete or short of its last byte, is recognised and stripped. Writes
 * that are answered by a copy of the request take the first copy as echo only on a line that has echoed a read before.
 * TCP: frames follow one another by their MBAP length; those of other transactions are discarded whole.
 */
#ifndef FT_MASTER_H
#define FT_MASTER_H

#include "ascii.h"
#include "modbus.h"

#include <stddef.h>
#include <stdint.h>

/* Three RTU frames: one that is waited for, behind it one that may yet turn out to be foreign, and room for a chunk. */
#define FT_RX_BYTES (3 * FT_MAX_RTU)

/* Adapters hand over what they received in chunks; 44 ms between two of one frame have been seen (CH340). An answer
 * that has begun gets this much beyond its wire time, unless the owner of the line has set `pause_ns`. */
#define FT_CHUNK_NS INT64_C(50000000)

enum ft_outcome { FT_PENDING = 0, FT_ANSWERED, FT_EXCEPTION, FT_TIMED_OUT };

enum ft_echo { FT_ECHO_UNKNOWN = 0, FT_ECHO_NONE, FT_ECHO_SEEN };

/* What the line brought besides answers, since init. Trailing noise counts as stale too: the answer was complete. */
typedef struct ft_master_counts {
    uint64_t crc_errors;    /* frames that looked like the answer, but their CRC did not fit */
    uint64_t truncated;     /* answers that began and were not complete at the deadline */
    uint64_t foreign;       /* intact frames that are not the answer: unit, function, count or transaction differs */
    uint64_t echoes;        /* own requests heard back */
    uint64_t garbage_bytes; /* bytes of a pending transaction in no frame at all */
    uint64_t stale_bytes;   /* bytes that arrived while no answer was awaited */
    uint64_t collisions;    /* transactions on a line with echo whose echo was not what had been sent */
} ft_master_counts;

typedef struct ft_master {
    /* the line */
    enum ft_framing framing;
    enum ft_echo echo;        /* what the last transaction that can tell showed */
    uint8_t echo_changed;     /* it showed both */
    int64_t char_ns;
    int64_t pause_ns;         /* the longest silence within an answer */
    ft_ascii *ascii;          /* RTU that was ASCII on the line: its owner sets it; else NULL */
    ft_master_counts counts;
    /* the transaction */
    enum ft_outcome outcome;  /* FT_TIMED_OUT before the first */
    uint8_t echo_stripped;    /* the echo comes once */
    uint8_t hunting;          /* TCP: the frame boundary is lost */
    uint8_t arriving;         /* what stands at `scan` may be the answer, incomplete as yet */
    uint8_t began;            /* the first bytes are the answer's and no echo's, whatever became of the others */
    uint8_t last_call;        /* the deadline has passed: nothing incomplete is waited for */
    size_t request_bytes;
    size_t wanted;            /* length of the answer that is arriving, 0 while its header does not tell */
    size_t missing;
    size_t passed;            /* bytes that were passed over, echo not counted */
    size_t heard;             /* bytes since begin, echo not counted: 0 at a timeout means silence */
    size_t answer_bytes;
    int64_t deadline_ns;      /* of the answer's first byte */
    int64_t rest_ns;          /* what an answer that has begun gets beyond that */
    int64_t first_ns;         /* when the first bytes that are no echo arrived; 0: none yet */
    /* the bytes */
    size_t used;              /* rx[0 .. used) has arrived */
    size_t scan;              /* no answer begins in rx[0 .. scan) */
    size_t counted;           /* rx[0 .. counted) is in the counters */
    uint8_t request[FT_MAX_TCP];
    uint8_t answer[FT_MAX_PDU];
    uint8_t rx[FT_RX_BYTES];
} ft_master;

/* char_ns: one character on the wire, 0 for TCP. */
void ft_master_init(ft_master *m, enum ft_framing framing, int64_t char_ns);

/* The line was opened anew: forget bytes, echo and a pending transaction; the counters stay. */
void ft_master_reset(ft_master *m);

/* The caller writes `adu`, one whole frame of this framing, to the line at `now`. The first byte is due at
 * now + n * char_ns + timeout_ns, the rest response_bytes * char_ns + pause_ns later. response_bytes: length of the
 * normal answer's ADU, 0 where it is not known beforehand. What arrived before is forgotten, except that TCP
 * keeps the head of a stale frame whose tail is yet to come. */
void ft_master_begin(ft_master *m, int64_t now, const uint8_t *adu, size_t n, size_t response_bytes,
                     int64_t timeout_ns);

/* Bytes that arrived at `now`; also to be called with what is drained between transactions (counted as stale). */
enum ft_outcome ft_master_feed(ft_master *m, int64_t now, const uint8_t *bytes, size_t n);

/* FT_TIMED_OUT once now >= the deadline. Rarely FT_ANSWERED or FT_EXCEPTION: a complete answer stood behind bytes that
 * looked like the beginning of a longer one. */
enum ft_outcome ft_master_expire(ft_master *m, int64_t now);
/* The same before the deadline, where the caller knows that nothing more will come. */
enum ft_outcome ft_master_give_up(ft_master *m);

/* Until when a pending answer is waited for; INT64_MAX when none is. */
int64_t ft_master_deadline(const ft_master *m);

/* How many more bytes the answer takes, at least, if what has arrived is what it seems: when to look again, not a reason
 * to let bytes lie beyond the deadline. 0 when none is pending. */
size_t ft_master_missing(const ft_master *m);

/* The answer's PDU after ANSWERED (function, data ...) or EXCEPTION (function | 0x80, code), until the next begin. */
const uint8_t *ft_master_pdu(const ft_master *m, size_t *n);

#endif
