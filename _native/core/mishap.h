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
#define FT_MISHAP_WORDS (3u + FT_MISHAP_BYTES / 8u)

enum ft_mishap_kind {
    FT_MISHAP_NONE = 0,
    FT_MISHAP_SILENCE,   /* no byte came in time */
    FT_MISHAP_PIECE,     /* an answer began, and was not complete in time */
    FT_MISHAP_NOISE,     /* only bytes came that do not answer */
    FT_MISHAP_CRC,       /* an answer came damaged */
    FT_MISHAP_EXCEPTION, /* the device refused; detail is its code */
    FT_MISHAP_AMBIGUOUS  /* an exception that may have been an answer to another request */
};

typedef struct ft_mishap {
    _Atomic uint32_t version; /* odd while it is written */
    _Atomic uint64_t words[FT_MISHAP_WORDS];
} ft_mishap;

/* What was asked for when it happened. */
typedef struct ft_mishap_asked {
    uint8_t unit;
    uint8_t function;
    uint16_t address;
    uint16_t quantity;
} ft_mishap_asked;

typedef struct ft_mishap_seen {
    int64_t time_ns;
    enum ft_mishap_kind kind;
    ft_mishap_asked asked;
    uint8_t detail;
    uint8_t n;     /* bytes that came, as far as they are kept */
    uint8_t bytes[FT_MISHAP_BYTES];
} ft_mishap_seen;

void ft_mishap_note(ft_mishap *mishap, const ft_mishap_seen *seen);
void ft_mishap_read(const ft_mishap *mishap, ft_mishap_seen *out);

#endif
