/* Pages of the store: whole, self-describing units of 4, 8 or 16 KiB that carry records or pieces of them.
 *
 * Every number is little-endian. docs/FORMAT.md says what the fields are for.
 *
 *   page    offset  size  field            meaning
 *                0     4  magic            "FTpg"
 *                4     1  version          FT_PAGE_VERSION
 *                5     1  kind             which file it belongs to: 1 journal, 2 schemas
 *                6     1  shift            page size = 1 << shift: 12, 13 or 14
 *                7     1  -                0
 *                8     8  epoch            of the run that wrote it; its batches and fragments are of this epoch
 *               16     8  sequence         counts the pages of the file from 1
 *               24     8  tail             acknowledgement cursor: no page before this one is needed any more
 *               32     8  samples_before   fresh samples of all records that begin on earlier pages
 *               40     8  boot_ns          CLOCK_BOOTTIME of the commit
 *               48     8  wall_ns          wall clock of the commit, as the machine believed it
 *               56     4  used             bytes in use from the start of the page
 *               60     2  pieces           how many pieces follow
 *               62     2  -                0
 *               64     .  pieces, back to back, then zeros
 *         size - 4     4  crc              CRC-32C of everything before it
 *
 *   piece        0     1  kind             what the record is; the pages do not care
 *                1     1  flags            FT_PIECE_FIRST, FT_PIECE_LAST
 *                2     2  length           bytes of the record in this piece
 *                4     4  total            bytes of the whole record
 *                8     4  offset           where this piece stands in the record
 *               12     4  samples          in the record
 *               16     4  fresh            of these, in no earlier record of the same seq
 *               20     8  seq              of the batch
 *               28     .  bytes
 */
#ifndef FT_PAGE_H
#define FT_PAGE_H

#include <stddef.h>
#include <stdint.h>

enum {
    FT_PAGE_VERSION = 1,
    FT_PAGE_HEADER = 64,
    FT_PAGE_TRAILER = 4,
    FT_PIECE_HEADER = 28,
    FT_PAGE_MIN_SHIFT = 12,
    FT_PAGE_MAX_SHIFT = 14
};

enum { FT_PIECE_FIRST = 1, FT_PIECE_LAST = 2 };

enum ft_page_status {
    FT_PAGE_GOOD = 0,
    FT_PAGE_BLANK = -1,     /* all zeros: never written */
    FT_PAGE_FOREIGN = -2,   /* no magic */
    FT_PAGE_NEWER = -3,     /* another version of the format */
    FT_PAGE_RESIZED = -4,   /* another page size */
    FT_PAGE_DAMAGED = -5    /* wrong CRC, or pieces that do not fit the page */
};

typedef struct ft_page {
    uint8_t epoch[8];
    uint64_t sequence;
    uint64_t tail;
    uint64_t samples_before;
    int64_t boot_ns;
    int64_t wall_ns;
    uint32_t used;
    uint16_t pieces;
    uint8_t kind;
    uint8_t shift;
    int32_t status;         /* enum ft_page_status; the fields above mean something only when GOOD */
    uint32_t reserved;
} ft_page;

typedef struct ft_piece {
    uint64_t sequence;      /* of the page it is on */
    uint64_t seq;
    uint32_t total;
    uint32_t offset;
    uint32_t samples;
    uint32_t fresh;
    uint32_t at;            /* where its header stands in the page */
    uint16_t length;
    uint8_t kind;
    uint8_t flags;
} ft_piece;

_Static_assert(sizeof(ft_page) == 64 && sizeof(ft_piece) == 40, "agent/store/pages.py unpacks these");

/* Packs records into pages, in memory the caller gives. */
typedef struct ft_packer {
    ft_page head;           /* of the open or next page; sequence and samples_before go up by themselves */
    uint8_t *bytes;
    size_t capacity;
    size_t page_bytes;
    size_t pages;           /* sealed */
    size_t used;            /* of the open page; 0: none is open */
    uint64_t begun;         /* fresh samples of the records that begin on the open page */
} ft_packer;

/* Starts a commit: `head` has everything but used, pieces, shift and status. */
void ft_packer_begin(ft_packer *packer, const ft_page *head, uint8_t shift, uint8_t *memory, size_t capacity);
/* Bytes of memory the packer needs in all so that a record of n bytes can be added. */
size_t ft_packer_wants(const ft_packer *packer, size_t n);
/* Bytes of a record that the open page still takes; 0 when none is open. */
size_t ft_packer_room(const ft_packer *packer);
/* Adds a record of n bytes with the kind, seq, samples and fresh of `record`; sequence and at of its first piece are
 * stored there. 0, or -1 when the memory is too small (then nothing was added). */
int ft_packer_add(ft_packer *packer, ft_piece *record, const uint8_t *payload, size_t n);
/* Seals the open page; returns how many pages there are. */
size_t ft_packer_finish(ft_packer *packer);

/* Reads the head of one page; returns and stores its status. */
int ft_page_read(ft_page *page, const uint8_t *bytes, size_t page_bytes);
/* Reads the heads of n pages that stand back to back. */
void ft_page_scan(ft_page *pages, const uint8_t *bytes, size_t page_bytes, size_t n);
/* The pieces of one page, at most `max`; how many, or an ft_page_status. */
int ft_page_pieces(ft_piece *pieces, size_t max, const uint8_t *bytes, size_t page_bytes);
/* Joins the record whose first piece's header stands at `at` of the first of n pages, with consecutive sequences.
 * Returns 0, or FT_PAGE_DAMAGED when a page is not good or a piece is not what must come next. */
int ft_page_join(uint8_t *record, size_t total, const uint8_t *bytes, size_t page_bytes, size_t n, size_t at);

#endif
