#include "page.h"

#include <string.h>

#include "crc32c.h"

static const uint8_t MAGIC[4] = {'F', 'T', 'p', 'g'};

static void put(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *from, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

static size_t minimum(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Bytes of a record on a page that holds nothing else. */
static size_t page_takes(size_t page_bytes)
{
    return page_bytes - FT_PAGE_HEADER - FT_PIECE_HEADER - FT_PAGE_TRAILER;
}

/* ---- packing ------------------------------------------------------------------------------------------------ */

static uint8_t *open_page(const ft_packer *packer)
{
    return packer->bytes + packer->pages * packer->page_bytes;
}

static void seal(ft_packer *packer)
{
    uint8_t *page = open_page(packer);
    size_t body = packer->page_bytes - FT_PAGE_TRAILER;
    memcpy(page, MAGIC, sizeof MAGIC);
    page[4] = FT_PAGE_VERSION;
    page[5] = packer->head.kind;
    page[6] = packer->head.shift;
    memcpy(page + 8, packer->head.epoch, 8);
    put(page + 16, packer->head.sequence, 8);
    put(page + 24, packer->head.tail, 8);
    put(page + 32, packer->head.samples_before, 8);
    put(page + 40, (uint64_t)packer->head.boot_ns, 8);
    put(page + 48, (uint64_t)packer->head.wall_ns, 8);
    put(page + 56, packer->used, 4);
    put(page + 60, packer->head.pieces, 2);
    put(page + body, ft_crc32c(page, body), 4);
    packer->pages++;
    packer->used = 0;
    packer->head.sequence++;
    packer->head.samples_before += packer->begun;
}

static void start_page(ft_packer *packer)
{
    memset(open_page(packer), 0, packer->page_bytes);
    packer->used = FT_PAGE_HEADER;
    packer->head.pieces = 0;
    packer->begun = 0;
}

static void write_piece(uint8_t *to, const ft_piece *piece)
{
    to[0] = piece->kind;
    to[1] = piece->flags;
    put(to + 2, piece->length, 2);
    put(to + 4, piece->total, 4);
    put(to + 8, piece->offset, 4);
    put(to + 12, piece->samples, 4);
    put(to + 16, piece->fresh, 4);
    put(to + 20, piece->seq, 8);
}

/* Puts as much of the record as the open page takes; returns how many bytes that was. */
static size_t add_piece(ft_packer *packer, ft_piece *piece, const uint8_t *payload)
{
    size_t left = piece->total - piece->offset;
    size_t length = minimum(left, ft_packer_room(packer));
    uint8_t *to = open_page(packer) + packer->used;
    piece->length = (uint16_t)length;
    piece->flags = (uint8_t)((piece->offset ? 0 : FT_PIECE_FIRST) | (length == left ? FT_PIECE_LAST : 0));
    piece->sequence = packer->head.sequence;
    piece->at = (uint32_t)packer->used;
    write_piece(to, piece);
    if (length)
        memcpy(to + FT_PIECE_HEADER, payload + piece->offset, length);
    packer->used += FT_PIECE_HEADER + length;
    packer->head.pieces++;
    packer->begun += piece->offset ? 0 : piece->fresh;
    return length;
}

void ft_packer_begin(ft_packer *packer, const ft_page *head, uint8_t shift, uint8_t *memory, size_t capacity)
{
    memset(packer, 0, sizeof *packer);
    packer->head = *head;
    packer->head.shift = shift;
    packer->page_bytes = (size_t)1 << shift;
    packer->bytes = memory;
    packer->capacity = capacity;
}

size_t ft_packer_wants(const ft_packer *packer, size_t n)
{
    size_t pages = packer->pages + (packer->used != 0) + n / page_takes(packer->page_bytes) + 1;
    return pages * packer->page_bytes;
}

size_t ft_packer_room(const ft_packer *packer)
{
    size_t taken = packer->used + FT_PIECE_HEADER + FT_PAGE_TRAILER;
    return packer->used && taken < packer->page_bytes ? packer->page_bytes - taken : 0;
}

int ft_packer_add(ft_packer *packer, ft_piece *record, const uint8_t *payload, size_t n)
{
    if (n > UINT32_MAX || packer->capacity < ft_packer_wants(packer, n))
        return -1;
    ft_piece piece = *record;
    piece.total = (uint32_t)n;
    piece.offset = 0;
    do {
        if (packer->used && !ft_packer_room(packer))
            seal(packer);
        if (!packer->used)
            start_page(packer);
        piece.offset += (uint32_t)add_piece(packer, &piece, payload);
        if (piece.flags & FT_PIECE_FIRST)
            *record = piece;
    } while (piece.offset < piece.total);
    return 0;
}

size_t ft_packer_finish(ft_packer *packer)
{
    if (packer->used)
        seal(packer);
    return packer->pages;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void read_piece(ft_piece *piece, const uint8_t *from, uint64_t sequence, size_t at)
{
    piece->sequence = sequence;
    piece->kind = from[0];
    piece->flags = from[1];
    piece->length = (uint16_t)get(from + 2, 2);
    piece->total = (uint32_t)get(from + 4, 4);
    piece->offset = (uint32_t)get(from + 8, 4);
    piece->samples = (uint32_t)get(from + 12, 4);
    piece->fresh = (uint32_t)get(from + 16, 4);
    piece->seq = get(from + 20, 8);
    piece->at = (uint32_t)at;
}

static void read_head(ft_page *page, const uint8_t *bytes)
{
    page->kind = bytes[5];
    page->shift = bytes[6];
    memcpy(page->epoch, bytes + 8, 8);
    page->sequence = get(bytes + 16, 8);
    page->tail = get(bytes + 24, 8);
    page->samples_before = get(bytes + 32, 8);
    page->boot_ns = (int64_t)get(bytes + 40, 8);
    page->wall_ns = (int64_t)get(bytes + 48, 8);
    page->used = (uint32_t)get(bytes + 56, 4);
    page->pieces = (uint16_t)get(bytes + 60, 2);
}

static int is_blank(const uint8_t *bytes, size_t n)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* A right CRC only says that the page is as it was written: nothing here may trust what was written. */
static int pieces_fit(const uint8_t *bytes, const ft_page *page, size_t body)
{
    size_t at = FT_PAGE_HEADER;
    for (unsigned i = 0; i < page->pieces; i++) {
        if (at + FT_PIECE_HEADER > body)
            return 0;
        at += FT_PIECE_HEADER + (size_t)get(bytes + at + 2, 2);
    }
    return at == page->used && at <= body;
}

static int status_of(const ft_page *page, const uint8_t *bytes, size_t page_bytes)
{
    size_t body = page_bytes - FT_PAGE_TRAILER;
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return is_blank(bytes, page_bytes) ? FT_PAGE_BLANK : FT_PAGE_FOREIGN;
    if (bytes[4] != FT_PAGE_VERSION)
        return FT_PAGE_NEWER;
    if (page->shift < FT_PAGE_MIN_SHIFT || page->shift > FT_PAGE_MAX_SHIFT)
        return FT_PAGE_DAMAGED;
    if (page_bytes != (size_t)1 << page->shift)
        return FT_PAGE_RESIZED;
    if (get(bytes + body, 4) != ft_crc32c(bytes, body) || !pieces_fit(bytes, page, body))
        return FT_PAGE_DAMAGED;
    return FT_PAGE_GOOD;
}

int ft_page_read(ft_page *page, const uint8_t *bytes, size_t page_bytes)
{
    memset(page, 0, sizeof *page);
    read_head(page, bytes);
    page->status = status_of(page, bytes, page_bytes);
    return page->status;
}

void ft_page_scan(ft_page *pages, const uint8_t *bytes, size_t page_bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ft_page_read(pages + i, bytes + i * page_bytes, page_bytes);
}

int ft_page_pieces(ft_piece *pieces, size_t max, const uint8_t *bytes, size_t page_bytes)
{
    ft_page page;
    size_t at = FT_PAGE_HEADER;
    if (ft_page_read(&page, bytes, page_bytes) != FT_PAGE_GOOD)
        return page.status;
    if (page.pieces > max)
        return FT_PAGE_DAMAGED;
    for (unsigned i = 0; i < page.pieces; i++) {
        read_piece(pieces + i, bytes + at, page.sequence, at);
        at += FT_PIECE_HEADER + (size_t)pieces[i].length;
    }
    return (int)page.pieces;
}

/* One page's piece of the record: whether it is the one that must come next. */
static int is_next(const ft_piece *piece, const ft_piece *first, size_t done)
{
    return piece->seq == first->seq && piece->kind == first->kind && piece->total == first->total
        && piece->offset == done && piece->length <= piece->total - done;
}

int ft_page_join(uint8_t *record, size_t total, const uint8_t *bytes, size_t page_bytes, size_t n, size_t at)
{
    ft_page page;
    ft_piece first = {0}, piece;
    size_t done = 0;
    uint64_t sequence = 0;
    uint8_t epoch[8] = {0};
    for (size_t i = 0; i < n; i++, bytes += page_bytes, at = FT_PAGE_HEADER, sequence++) {
        if (ft_page_read(&page, bytes, page_bytes) != FT_PAGE_GOOD || at < FT_PAGE_HEADER
            || at + FT_PIECE_HEADER > page.used)
            return FT_PAGE_DAMAGED;
        read_piece(&piece, bytes + at, page.sequence, at);
        if (i == 0) {
            first = piece;
            sequence = page.sequence;
            memcpy(epoch, page.epoch, sizeof epoch);
        }
        if (page.sequence != sequence || memcmp(page.epoch, epoch, sizeof epoch) != 0 || first.total != total
            || !is_next(&piece, &first, done) || at + FT_PIECE_HEADER + piece.length > page.used)
            return FT_PAGE_DAMAGED;
        memcpy(record + done, bytes + at + FT_PIECE_HEADER, piece.length);
        done += piece.length;
    }
    return done == total ? FT_PAGE_GOOD : FT_PAGE_DAMAGED;
}
