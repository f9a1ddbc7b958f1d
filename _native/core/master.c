/* A request and the bytes that arrive after it to an answer, an exception or a timeout. */
#include "master.h"

#include "crc.h"

#include <string.h>

#define RTU_OVERHEAD 3          /* unit, CRC */
#define RTU_SHORTEST 5          /* an exception */
#define TCP_HEAD 6              /* transaction, protocol, length: what the length does not count */
#define TCP_SHORTEST 9          /* an exception */
#define ECHO_SHORT_OF_LAST 8    /* shorter requests have too little in front of the CRC to be told from an answer */
#define TCP_NO_UNIT 0xFF        /* gateways send it in exceptions, whatever unit was asked */

/* What the bytes from one offset on are. */
enum kind {
    NO_FRAME,    /* pass over one byte */
    DAMAGED,     /* the answer, but its CRC does not fit: pass over one byte */
    OTHER_FRAME, /* TCP: whole, not ours */
    OWN_ECHO,
    MAYBE_ECHO,  /* the beginning of the own request */
    INCOMPLETE,  /* the beginning of the answer */
    ANSWER
};

typedef struct verdict {
    enum kind kind;
    size_t bytes;  /* of the frame; of an INCOMPLETE one 0 while its header does not tell, or when it is not ours */
    size_t missing; /* MAYBE_ECHO, INCOMPLETE: before the answer can be complete */
} verdict;

static verdict incomplete(size_t bytes, size_t available, size_t shortest)
{
    size_t least = bytes > 0 ? bytes : shortest;
    return (verdict){INCOMPLETE, bytes, least > available ? least - available : 1};
}

/* ---- RTU ---- */

static size_t common_prefix(const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t same = 0;
    while (same < n && a[same] == b[same]) {
        same++;
    }
    return same;
}

/* The own request at these bytes: OWN_ECHO, MAYBE_ECHO while it is not complete, else NO_FRAME. */
static verdict rtu_echo(const ft_master *m, const uint8_t *bytes, size_t available)
{
    size_t whole = m->request_bytes;
    size_t same = common_prefix(bytes, m->request, available < whole ? available : whole);
    if (same == 0 || m->echo_stripped || (m->echo != FT_ECHO_SEEN && ft_is_mirrored(m->request[1]))) {
        return (verdict){NO_FRAME, 1, 0};
    }
    if (same == whole) {
        return (verdict){OWN_ECHO, whole, 0};
    }
    if (same == available && !m->last_call) {
        return (verdict){MAYBE_ECHO, 0, whole - available + RTU_SHORTEST - 1};
    }
    int short_of_last = same == whole - 1 && whole >= ECHO_SHORT_OF_LAST;
    return short_of_last ? (verdict){OWN_ECHO, same, 0} : (verdict){NO_FRAME, 1, 0};
}

static verdict rtu_answer(const ft_master *m, const uint8_t *bytes, size_t available)
{
    if (bytes[0] != m->request[0]) {
        return (verdict){NO_FRAME, 1, 0};
    }
    int length = ft_answer_length(m->request + 1, m->request_bytes - RTU_OVERHEAD, bytes + 1, available - 1);
    if (length < 0 || length > FT_MAX_PDU) {
        return (verdict){NO_FRAME, 1, 0};
    }
    if (length == 0) {
        return incomplete(0, available, RTU_SHORTEST);
    }
    size_t whole = (size_t)length + RTU_OVERHEAD;
    if (available < whole) {
        return incomplete(whole, available, whole);
    }
    return (verdict){ft_came_whole(m->ascii, bytes, whole) ? ANSWER : DAMAGED, whole, 0};
}

/* One read in 65536 has an echo that begins like an intact answer: that is an answer only on a line known to be free
 * of echo. */
static verdict rtu_verdict(const ft_master *m, const uint8_t *bytes, size_t available)
{
    verdict echo = rtu_echo(m, bytes, available);
    verdict answer = rtu_answer(m, bytes, available);
    int is_answer = answer.kind == ANSWER && m->echo == FT_ECHO_NONE;
    int may_be_both = answer.kind == INCOMPLETE && echo.kind == MAYBE_ECHO;
    return echo.kind == NO_FRAME || is_answer || may_be_both ? answer : echo;
}

/* ---- TCP ---- */

static int tcp_is_ours(const ft_master *m, const uint8_t *bytes)
{
    return m->outcome == FT_PENDING && memcmp(bytes, m->request, 2) == 0;
}

static int tcp_unit_fits(const ft_master *m, const uint8_t *bytes)
{
    return bytes[6] == m->request[6] || (bytes[6] == TCP_NO_UNIT && bytes[7] > FT_EXCEPTION_BIT);
}

/* The length field and the PDU's own length contradict each other: nothing can be skipped by such a length. */
static int tcp_length_lies(const ft_master *m, const uint8_t *bytes, size_t available, size_t whole)
{
    size_t end = available < whole ? available : whole;
    if (end <= FT_MBAP_BYTES) {
        return 0;
    }
    int length = ft_answer_length(m->request + FT_MBAP_BYTES, m->request_bytes - FT_MBAP_BYTES, bytes + FT_MBAP_BYTES,
                                  end - FT_MBAP_BYTES);
    return length > 0 && (size_t)length + FT_MBAP_BYTES != whole;
}

static verdict tcp_verdict(const ft_master *m, const uint8_t *bytes, size_t available)
{
    if (available < TCP_HEAD) {
        return incomplete(0, available, TCP_SHORTEST);
    }
    size_t whole = (size_t)TCP_HEAD + ft_u16(bytes + 4);
    int ours = tcp_is_ours(m, bytes);
    if (ft_u16(bytes + 2) != 0 || whole < TCP_SHORTEST || whole > FT_MAX_TCP || (m->hunting && !ours)
        || (ours && tcp_length_lies(m, bytes, available, whole))) {
        return (verdict){NO_FRAME, 1, 0};
    }
    if (available < whole) {
        verdict rest = incomplete(whole, available, whole);
        rest.bytes = ours ? whole : 0;
        return rest;
    }
    ours = ours && tcp_unit_fits(m, bytes)
           && ft_answers(m->request + FT_MBAP_BYTES, m->request_bytes - FT_MBAP_BYTES, bytes + FT_MBAP_BYTES,
                         whole - FT_MBAP_BYTES);
    return (verdict){ours ? ANSWER : OTHER_FRAME, whole, 0};
}

/* ---- counting what was passed over ---- */

/* An RTU frame of anyone at these bytes: > 0 its length, 0 too few bytes to tell, -1 none. */
static int rtu_frame_of(int pdu_length, const uint8_t *bytes, size_t available)
{
    if (pdu_length < 0) {
        return -1;
    }
    if (pdu_length == 0 || available < (size_t)pdu_length + RTU_OVERHEAD) {
        return 0;
    }
    return ft_crc_fits(bytes, (size_t)pdu_length + RTU_OVERHEAD) ? pdu_length + RTU_OVERHEAD : -1;
}

static int rtu_frame(const uint8_t *bytes, size_t available)
{
    int response = rtu_frame_of(ft_response_length(bytes + 1, available - 1), bytes, available);
    int request = rtu_frame_of(ft_request_length(bytes + 1, available - 1), bytes, available);
    return response > request ? response : request;
}

/* Count RTU bytes before `limit` as foreign frames or garbage. `final`: no more will come, else a rest that may become
 * a frame is left. */
static void count_passed(ft_master *m, size_t limit, int final)
{
    while (m->counted < limit) {
        int frame = rtu_frame(m->rx + m->counted, limit - m->counted);
        if (frame == 0 && !final) {
            return;
        }
        if (frame > 0) {
            m->counts.foreign++;
            m->counted += (size_t)frame;
        } else {
            m->counts.garbage_bytes++;
            m->counted++;
        }
    }
}

/* ---- the machine ---- */

static void drop(ft_master *m, size_t n)
{
    memmove(m->rx, m->rx + n, m->used - n);
    m->used -= n;
    m->scan = m->scan > n ? m->scan - n : 0;
    m->counted = m->counted > n ? m->counted - n : 0;
}

static void note_echo(ft_master *m, enum ft_echo echo)
{
    m->echo_changed |= m->echo != FT_ECHO_UNKNOWN && m->echo != echo;
    m->echo = echo;
}

/* Nothing came before, and what comes is no echo, nor what a collision has made of it. */
static int may_begin(const ft_master *m)
{
    return m->passed == 0 && (m->echo_stripped || m->echo == FT_ECHO_NONE);
}

/* Go on behind n bytes that are not the answer. */
static void pass(ft_master *m, verdict v)
{
    int tcp = m->framing == FT_TCP;
    m->began |= v.kind == DAMAGED && may_begin(m);
    m->passed += v.kind == OWN_ECHO ? 0 : 1;
    if (v.kind == OWN_ECHO) {
        m->began = 0;
        count_passed(m, m->scan, 1);
        m->counts.echoes++;
        note_echo(m, FT_ECHO_SEEN);
        m->echo_stripped = 1;
        m->heard -= v.bytes;
        m->first_ns = 0;
        m->counted = m->scan + v.bytes;
    }
    m->counts.crc_errors += v.kind == DAMAGED;
    m->counts.foreign += v.kind == OTHER_FRAME;
    m->counts.garbage_bytes += tcp && v.kind == NO_FRAME && m->outcome == FT_PENDING;
    m->hunting = (uint8_t)(tcp && v.kind == NO_FRAME);
    m->scan += v.kind == OWN_ECHO || v.kind == OTHER_FRAME ? v.bytes : 1;
    m->counted = tcp ? m->scan : m->counted;
}

static void finish(ft_master *m, enum ft_outcome outcome)
{
    m->outcome = outcome;
    m->wanted = 0;
    m->missing = 0;
    m->arriving = 0;
}

/* `heard`: something else than an answer came. A line that echoes has then not carried what was sent. */
static void count_collision(ft_master *m, int heard)
{
    m->counts.collisions += m->echo == FT_ECHO_SEEN && !m->echo_stripped && heard;
}

static void take_answer(ft_master *m, size_t bytes)
{
    int tcp = m->framing == FT_TCP;
    const uint8_t *pdu = m->rx + m->scan + (tcp ? FT_MBAP_BYTES : 1);
    m->answer_bytes = bytes - (tcp ? FT_MBAP_BYTES : RTU_OVERHEAD);
    memcpy(m->answer, pdu, m->answer_bytes);
    if (!tcp) {
        count_passed(m, m->scan, 1);
        count_collision(m, m->scan > 0);
        if (!m->echo_stripped && m->scan == 0 && !ft_is_mirrored(m->request[1])) {
            note_echo(m, FT_ECHO_NONE);
        }
    }
    m->scan += bytes;
    m->hunting = 0;
    m->counts.stale_bytes += m->used - m->scan;
    drop(m, m->scan);
    finish(m, m->answer[0] > FT_EXCEPTION_BIT ? FT_EXCEPTION : FT_ANSWERED);
}

/* Try every offset not yet tried until one is the answer, or may be and is incomplete. */
static void hunt(ft_master *m)
{
    while (m->scan < m->used) {
        const uint8_t *bytes = m->rx + m->scan;
        size_t available = m->used - m->scan;
        verdict v = m->framing == FT_TCP ? tcp_verdict(m, bytes, available) : rtu_verdict(m, bytes, available);
        if (v.kind == ANSWER) {
            take_answer(m, v.bytes);
            return;
        }
        if ((v.kind == INCOMPLETE || v.kind == MAYBE_ECHO) && !m->last_call) {
            m->arriving = v.kind == INCOMPLETE;
            m->began |= v.kind == INCOMPLETE && v.bytes > 0 && may_begin(m);
            m->wanted = v.bytes;
            m->missing = v.missing;
            return;
        }
        pass(m, v);
    }
    m->arriving = 0;
    m->wanted = 0;
    m->missing = m->framing == FT_TCP ? TCP_SHORTEST : RTU_SHORTEST;
}

/* Bytes between transactions: RTU has no use for them, TCP follows the frame boundaries through them. */
static void settle(ft_master *m)
{
    if (m->framing == FT_TCP) {
        hunt(m);
        drop(m, m->scan);
    } else {
        m->used = m->scan = m->counted = 0;
    }
}

void ft_master_init(ft_master *m, enum ft_framing framing, int64_t char_ns)
{
    memset(m, 0, sizeof *m);
    m->framing = framing;
    m->char_ns = char_ns;
    m->pause_ns = FT_CHUNK_NS;
    m->outcome = FT_TIMED_OUT;
}

void ft_master_reset(ft_master *m)
{
    ft_master_counts counts = m->counts;
    ft_ascii *ascii = m->ascii;
    ft_master_init(m, m->framing, m->char_ns);
    m->counts = counts;
    m->ascii = ascii;
}

void ft_master_begin(ft_master *m, int64_t now, const uint8_t *adu, size_t n, size_t response_bytes,
                     int64_t timeout_ns)
{
    size_t longest = response_bytes > 0 ? response_bytes : FT_MAX_RTU;
    if (m->hunting || m->framing == FT_RTU) {
        m->used = m->scan = m->counted = 0;
    }
    if (m->ascii)
        ft_ascii_forget(m->ascii);
    memcpy(m->request, adu, n);
    m->request_bytes = n;
    m->answer_bytes = 0;
    m->outcome = FT_PENDING;
    m->echo_stripped = m->hunting = m->last_call = m->began = 0;
    m->heard = m->passed = 0;
    m->first_ns = 0;
    m->deadline_ns = now + (int64_t)n * m->char_ns + timeout_ns;
    m->rest_ns = (int64_t)longest * m->char_ns + m->pause_ns;
    hunt(m);
}

static size_t take_in(ft_master *m, const uint8_t *bytes, size_t n)
{
    size_t room = FT_RX_BYTES - m->used;
    size_t taken = n < room ? n : room;
    memcpy(m->rx + m->used, bytes, taken);
    m->used += taken;
    return taken;
}

/* Keep room for a whole frame and a chunk, and count what is dropped. */
static void make_room(ft_master *m)
{
    if (m->used > FT_RX_BYTES / 2) {
        count_passed(m, m->scan, 0);
        drop(m, m->counted < m->scan ? m->counted : m->scan);
    }
}

enum ft_outcome ft_master_feed(ft_master *m, int64_t now, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        int pending = m->outcome == FT_PENDING;
        size_t taken = take_in(m, bytes, n);
        bytes += taken;
        n -= taken;
        if (pending) {
            m->heard += taken;
            hunt(m);
            m->first_ns = m->first_ns == 0 && m->heard > 0 ? now : m->first_ns;
        } else {
            m->counts.stale_bytes += taken;
        }
        if (m->outcome == FT_PENDING) {
            make_room(m);
        } else {
            settle(m);
        }
    }
    return m->outcome;
}

enum ft_outcome ft_master_expire(ft_master *m, int64_t now)
{
    return now < ft_master_deadline(m) ? m->outcome : ft_master_give_up(m);
}

enum ft_outcome ft_master_give_up(ft_master *m)
{
    if (m->outcome != FT_PENDING) {
        return m->outcome;
    }
    size_t cut_short = m->wanted;
    if (m->framing == FT_RTU) {
        m->last_call = 1;
        hunt(m);
    }
    if (m->outcome == FT_PENDING) {
        m->counts.truncated += cut_short > 0;
        if (m->framing == FT_RTU) {
            count_passed(m, m->used, 1);
            count_collision(m, m->heard > 0);
        }
        finish(m, FT_TIMED_OUT);
    }
    settle(m);
    return m->outcome;
}

int64_t ft_master_deadline(const ft_master *m)
{
    return m->outcome == FT_PENDING ? m->deadline_ns + (m->arriving ? m->rest_ns : 0) : INT64_MAX;
}

size_t ft_master_missing(const ft_master *m)
{
    return m->outcome == FT_PENDING ? m->missing : 0;
}

const uint8_t *ft_master_pdu(const ft_master *m, size_t *n)
{
    *n = m->answer_bytes;
    return m->answer;
}
