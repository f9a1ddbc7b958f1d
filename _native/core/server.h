/* The device side of Modbus, sans-IO: requests in, answers to them out, with their faults. One ft_server plays every
 * unit of one bus; each byte stream to it (a serial line, a TCP connection) is an ft_stream. No allocation; time is an
 * argument. Requests out of bytes: core/requests.h. One request to one unit: core/job.h. What the registers hold:
 * core/bank.h. */
#ifndef FT_SERVER_H
#define FT_SERVER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ascii.h"
#include "bank.h"
#include "diary.h"
#include "modbus.h"
#include "requests.h"
#include "signal.h"

#define FT_ALWAYS (UINT64_C(1) << 32)     /* a fault's chance is a part of this */
#define FT_GLITCH_BYTES 3                 /* noise on a line that is turned round is this long at most */
#define FT_ANSWER_BYTES (FT_MAX_ASCII + FT_GLITCH_BYTES) /* noise, the answer in the longest framing */
#define FT_BABBLE_BYTES 64                /* more than the longest short answer, so that it drowns some */
#define FT_BABBLE_WITHIN_NS INT64_C(20000000) /* of a request: in front of its answer, in it, behind it, in the next one's */

/* Written by one thread, read by any. As wide as the host loads at once; on 32-bit hosts it wraps at 2^32. */
typedef _Atomic size_t ft_counter;

enum ft_fault {
    FT_FAULT_DROP = 0, FT_FAULT_CRC, FT_FAULT_TRUNCATE, FT_FAULT_LATE, FT_FAULT_GLITCH, FT_FAULT_ECHO,
    FT_FAULT_WRONG_UNIT, FT_FAULT_EXCEPTION, FT_FAULT_DEAD, FT_FAULT_BABBLE,
    FT_FAULT_CHANCES,
    FT_FAULT_DEAF = FT_FAULT_CHANCES, /* this one is no matter of chance */
    FT_FAULT_COUNT
};

/* CRC, truncate, glitch, echo and babble are troubles of serial lines; the others strike on TCP too. 128 bytes: struct format
 * "=10QqB32s3xI". */
typedef struct ft_faults {
    uint64_t chance[FT_FAULT_CHANCES]; /* 0 never .. FT_ALWAYS; DEAD has units instead */
    int64_t late_ns;
    uint8_t exception_code;
    uint8_t dead[FT_UNITS / 8]; /* bit per unit */
    uint32_t deaf_us;           /* requests that begin sooner after the line fell silent are not heard; 0: all are */
} ft_faults;

_Static_assert(sizeof(ft_faults) == 128, "faults.py packs 128 bytes");

enum ft_server_count {
    FT_COUNT_REQUESTS = 0, /* to units played here */
    FT_COUNT_ANSWERED,     /* of these, those that an answer was given to, damaged or not */
    FT_COUNT_EXCEPTIONS,   /* of these, with an exception that the request deserved */
    FT_COUNT_VALUES,       /* registers and bits in answers */
    FT_COUNT_WRITTEN,      /* registers and coils */
    FT_COUNT_FOREIGN,      /* requests to units that are not played here */
    FT_SERVER_COUNTS
};

typedef struct ft_server {
    enum ft_framing framing;
    uint8_t units[FT_UNITS / 8];      /* bit per unit played */
    ft_bank bank;
    ft_diary diaries[FT_UNITS];
    ft_line_diary line;
    const uint8_t *plates; /* what the units say of themselves: core/nameplate.h */
    size_t plates_bytes;
    ft_faults faults;
    uint64_t random;
    ft_counter counts[FT_SERVER_COUNTS];
    ft_counter faults_applied[FT_FAULT_COUNT];
} ft_server;

typedef struct ft_answer {
    int64_t late_ns; /* wait this long on top of the device's usual delay */
    size_t bytes;    /* 0: silence */
    uint8_t adu[FT_ANSWER_BYTES];
} ft_answer;

/* `signals` must outlive the server. Returns 0, or -1 when they are not sorted, overlap or leave their table. */
int ft_server_init(ft_server *server, enum ft_framing framing, const uint8_t units[FT_UNITS / 8],
                   const ft_signal *signals, size_t count, const ft_faults *faults, uint64_t seed);

/* What the units say of themselves, packed as core/nameplate.h has it; must outlive the server. Returns 0, or -1: it is no
 * such thing. */
int ft_server_name(ft_server *server, const uint8_t *plates, size_t n);

/* Bytes came that were no request. */
void ft_server_heard_noise(ft_server *server);
/* Whether the line returns what is sent on it. */
int ft_server_echoes(ft_server *server);
/* Noise that nobody asked for, at most FT_BABBLE_BYTES, 0 for none; it begins *after_ns after the end of a request. */
size_t ft_server_babble(ft_server *server, uint8_t *out, int64_t *after_ns);

/* The bytes that `request` provokes when the device looks at its registers at `wall_ns`. */
void ft_server_answer(ft_server *server, const ft_request *request, int64_t wall_ns, ft_answer *answer);

static inline void ft_count(ft_counter *counter, size_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

#endif
