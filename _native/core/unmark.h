/* Bytes with a terminal's marks (INPCK | PARMRK) in, the bytes that were on the wire and a count of damaged ones out.
 *
 *     FF FF      a character FF
 *     FF 00 x    a character x that came with a parity or framing error
 *     FF 00 00   the same, or a break
 *
 * Damaged characters stay where they were: a frame keeps its length, and its CRC says what it is worth.
 */
#ifndef FT_UNMARK_H
#define FT_UNMARK_H

#include <stddef.h>
#include <stdint.h>

enum ft_mark { FT_MARK_NONE = 0, FT_MARK_BEGUN, FT_MARK_DAMAGED };

typedef struct ft_unmark {
    enum ft_mark seen;  /* of a mark that the next chunk goes on with */
    uint64_t heard;     /* characters so far, ... */
    uint64_t damaged;   /* ... how many of them were marked ... */
    uint64_t breaks;    /* ... and how many of these were 00: breaks, or damaged zeros */
} ft_unmark;

/* In place; returns how many bytes are left. All zero is the state to begin with. */
size_t ft_unmark_bytes(ft_unmark *state, uint8_t *bytes, size_t n);

#endif
