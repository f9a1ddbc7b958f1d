/* What went wrong last in, with the bytes that came, for any thread to read out.
 *
 * One thread writes. A reader that is overtaken tries again; the writer never waits.
 */
#ifndef FT_MISHAP_H
#define FT_MISHAP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FT_MISHAP_BYTES 32u /* the head of an answer says what it was */
#define FT_MISHAP_WORDS (2u + FT_MISHAP_BYTES / 8u)

enum ft_mishap_kind {
    FT_MISHAP_NONE = 0,
    FT_MISHAP_SILENCE,   /* no byte came in time */
    FT_MISHAP_PIECE,     /* something came, but no whole answer */
    FT_MISHAP_CRC,       /* an answer came damaged */
    FT_MISHAP_EXCEPTION, /* the device refused; detail is its code */
    FT_MISHAP_AMBIGUOUS  /* an exception that may have been an answer to another request */
};

typedef struct ft_mishap {
    _Atomic uint32_t version; /* odd while it is written */
    _Atomic uint64_t words[FT_MISHAP_WORDS];
} ft_mishap;

typedef struct ft_mishap_seen {
    int64_t time_ns;
    enum ft_mishap_kind kind;
    uint8_t detail;
    uint8_t n;     /* bytes that came, as far as they are kept */
    uint8_t bytes[FT_MISHAP_BYTES];
} ft_mishap_seen;

void ft_mishap_note(ft_mishap *mishap, const ft_mishap_seen *seen);
void ft_mishap_read(const ft_mishap *mishap, ft_mishap_seen *out);

#endif
