/* Characters of a Modbus ASCII line in, the bytes of an RTU line on which the same was said out; and RTU frames in, their
 * characters out. So everything behind the line's edge, matching, guard and policy, knows RTU frames alone.
 *
 *     : 01 03 02 00 07 F3 CR LF    <->    01 03 02 00 07 CRC
 *
 * A frame's bytes are given out while it comes, the checksum (LRC) decides at the CR which CRC follows: the right one, or
 * one that cannot fit. A character that belongs to no frame becomes a byte 00, which is no device's address: the line is
 * heard to talk. A colon always begins a frame. Digits may be of either case, and the LF may be missing: what came until
 * the CR tells all.
 * Bytes of a frame that was cut short, and what follows it, may have a CRC that fits by chance, one in 65,536. So the
 * frames that came whole are remembered, and a reader takes those alone.
 */
#ifndef FT_ASCII_H
#define FT_ASCII_H

#include <stddef.h>
#include <stdint.h>

#include "modbus.h"

#define FT_MAX_ASCII 513        /* colon, two digits each for unit, PDU and LRC, CR, LF */
#define FT_ASCII_DIGITS 2       /* characters that a byte takes */
#define FT_ASCII_BYTES (FT_MAX_PDU + 2) /* unit, PDU, LRC */
#define FT_ASCII_WHOLE 8u       /* an answer, and what else a chunk may bring behind it */
#define FT_ASCII_HEAD 32u       /* the beginning of what came, as it came, for people to look at */
/* Modbus over Serial Line V1.02, 2.5.2.1: so long may a device pause between two characters of a frame. */
#define FT_ASCII_PAUSE_NS INT64_C(1000000000)

enum ft_ascii_state { FT_ASCII_OUTSIDE = 0, FT_ASCII_HIGH, FT_ASCII_LOW, FT_ASCII_ENDED };

typedef struct ft_ascii {
    enum ft_ascii_state state;     /* what comes next: a first digit, a second one, perhaps a LF */
    uint8_t high;                  /* LOW: the digit before, in its place */
    size_t n;                      /* bytes[0 .. n) of the frame have come; the last may be its LRC */
    uint8_t bytes[FT_ASCII_BYTES];
    uint32_t ended;                /* frames that came whole since ft_ascii_forget(); the last of them: */
    size_t whole_bytes[FT_ASCII_WHOLE];
    uint8_t whole[FT_ASCII_WHOLE][FT_ASCII_BYTES]; /* unit, PDU, LRC */
    size_t head_n;                 /* characters since ft_ascii_forget(), as far as they are kept: */
    uint8_t head[FT_ASCII_HEAD];
} ft_ascii;

/* `out` holds n + 1 bytes; returns how many it has. All zero is the state to begin with. */
size_t ft_ascii_decode(ft_ascii *line, const uint8_t *characters, size_t n, uint8_t *out);
/* Forget what came: what is asked now was not answered before. */
void ft_ascii_forget(ft_ascii *line);
/* Whether these n bytes, CRC included, are a frame that came whole. `line` NULL: this is RTU, where the CRC alone tells. */
int ft_came_whole(const ft_ascii *line, const uint8_t *frame, size_t n);

/* The characters of an RTU frame of n bytes, CRC included; `out` holds FT_MAX_ASCII. Returns how many. */
size_t ft_ascii_encode(const uint8_t *frame, size_t n, uint8_t *out);
/* ft_frame() for every framing; `out` holds FT_MAX_ASCII. */
size_t ft_frame_any(enum ft_framing framing, uint16_t transaction, uint8_t unit, const uint8_t *pdu, size_t n,
                    uint8_t *out);

#endif
