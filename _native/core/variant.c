/* Reads of other lengths for one block: some more, or a piece less at one end. */
#include "variant.h"

#include <string.h>

#include "decode.h"
#include "ns.h"

#define OVERHEAD 5       /* unit, function, byte count, CRC */
#define BITS_OF_BYTE 8
#define SPARE_MAX 32     /* four more bytes of bits or 32 registers: enough to differ from all that one unit owes */

static int reads_bits(const ft_block *block)
{
    return block->function <= FT_READ_DISCRETES;
}

/* Answers differ by whole bytes: the least step of a quantity that makes another answer. */
static int32_t step_of(const ft_block *block)
{
    return reads_bits(block) ? BITS_OF_BYTE : 1;
}

/* ---- what else may be read ---- */

static int is_neighbour(const ft_block *a, const ft_block *b)
{
    return a->device == b->device && a->unit == b->unit && a->function == b->function;
}

/* Is this register read by any block of the same device and table, and by none that is read apart? */
static int is_known(const ft_block *blocks, uint32_t count, const ft_block *block, int32_t address)
{
    int known = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_neighbour(&blocks[i], block) || address < blocks[i].address
            || address >= (int32_t)blocks[i].address + blocks[i].quantity)
            continue;
        if (blocks[i].bounds & FT_APART)
            return 0;
        known = 1;
    }
    return known;
}

/* Must the registers at `address` and in front of it not be read at once? */
static int is_seam(const ft_block *blocks, uint32_t count, const ft_block *block, int32_t address)
{
    for (uint32_t i = 0; i < count; i++)
        if (is_neighbour(&blocks[i], block) && blocks[i].address == address && (blocks[i].bounds & FT_SEAM))
            return 1;
    return 0;
}

static int32_t most_at_once(const ft_block *blocks, uint32_t count, const ft_block *block)
{
    int32_t most = block->quantity;
    for (uint32_t i = 0; i < count; i++)
        if (is_neighbour(&blocks[i], block) && blocks[i].quantity > most)
            most = blocks[i].quantity;
    return most;
}

ft_spare ft_variant_spare(const ft_block *blocks, uint32_t count, uint32_t block)
{
    const ft_block *own = &blocks[block];
    int32_t end = (int32_t)own->address + own->quantity;
    int32_t room = (int32_t)ft_least(SPARE_MAX, most_at_once(blocks, count, own) - own->quantity);
    ft_spare spare = {0, 0};
    if (own->bounds & FT_APART)
        return spare;
    while (spare.after < room && is_known(blocks, count, own, end + spare.after)
           && !is_seam(blocks, count, own, end + spare.after))
        spare.after++;
    while (spare.before < room && is_known(blocks, count, own, own->address - spare.before - 1)
           && !is_seam(blocks, count, own, own->address - spare.before))
        spare.before++;
    return spare;
}

/* ---- requests ---- */

void ft_ask_plain(const ft_block *block, ft_ask *ask)
{
    *ask = (ft_ask){.quantity = block->quantity, .request_bytes = block->request_bytes,
                    .shape = {block->unit, block->function, block->response_bytes}};
    memcpy(ask->request, block->request, FT_MAX_REQUEST);
}

/* 1: these registers of the block can be asked for without being mistaken; `ask` does. */
static int asks_for(const ft_block *block, int32_t first, int32_t quantity, const ft_guard *guard, ft_ask *ask)
{
    uint8_t pdu[5] = {block->function};
    uint8_t adu[FT_MAX_TCP];
    int32_t bytes = reads_bits(block) ? (quantity + BITS_OF_BYTE - 1) / BITS_OF_BYTE : 2 * quantity;
    *ask = (ft_ask){.first = first, .quantity = (uint16_t)quantity,
                    .shape = {block->unit, block->function, (uint16_t)(OVERHEAD + bytes)}};
    if (ft_guard_avoids(guard, ask->shape))
        return 0;
    ft_put_u16(pdu + 1, (uint16_t)(block->address + first));
    ft_put_u16(pdu + 3, ask->quantity);
    ask->request_bytes = (uint16_t)ft_frame(FT_RTU, 0, block->unit, pdu, sizeof pdu, adu);
    memcpy(ask->request, adu, ask->request_bytes);
    return 1;
}

static int asks_for_more(const ft_block *block, ft_spare spare, const ft_guard *guard, ft_ask *ask)
{
    int32_t step = step_of(block);
    for (int32_t more = step; more <= spare.after; more += step)
        if (asks_for(block, 0, block->quantity + more, guard, ask))
            return 1;
    for (int32_t more = step; more <= spare.before; more += step)
        if (asks_for(block, -more, block->quantity + more, guard, ask))
            return 1;
    return 0;
}

/* ---- a piece less ---- */

/* The cut nearest to `cut`, downwards or upwards, that goes through no tag, nor through a byte of bits. */
static int32_t clean_cut(const ft_plan *plan, const ft_block *block, int32_t cut, int upwards)
{
    int32_t step = step_of(block);
    int moved = 1;
    cut = (upwards ? cut + step - 1 : cut) / step * step;
    while (moved) {
        moved = 0;
        for (uint32_t i = 0; i < block->point_count; i++) {
            int32_t start;
            int32_t end;
            ft_point_extent(&plan->points[block->first_point + i], &start, &end);
            if (reads_bits(block) || cut <= start || cut >= end)
                continue;
            cut = upwards ? end : start;
            moved = 1;
        }
    }
    return cut;
}

/* Where the longest allowed piece without the block's last tag ends; 0: none is. */
static int32_t head_end(const ft_plan *plan, const ft_block *block, const ft_guard *guard, ft_ask *ask)
{
    int32_t end = clean_cut(plan, block, block->quantity - 1, 0);
    while (end > 0 && !asks_for(block, 0, end, guard, ask))
        end = clean_cut(plan, block, end - 1, 0);
    return end;
}

static int32_t tail_start(const ft_plan *plan, const ft_block *block, const ft_guard *guard, ft_ask *ask)
{
    int32_t start = clean_cut(plan, block, 1, 1);
    while (start < block->quantity && !asks_for(block, start, block->quantity - start, guard, ask))
        start = clean_cut(plan, block, start + 1, 1);
    return start;
}

/* Every tag must be in one of the two pieces, or some would never be read on a bus that is always late. */
static int asks_for_less(const ft_plan *plan, const ft_block *block, uint32_t turn, const ft_guard *guard, ft_ask *ask)
{
    ft_ask head;
    ft_ask tail;
    int32_t end = head_end(plan, block, guard, &head);
    int32_t start = tail_start(plan, block, guard, &tail);
    if (end == 0 || start >= block->quantity || start > end)
        return 0;
    *ask = turn % 2 ? tail : head;
    return 1;
}

int ft_ask_variant(const ft_plan *plan, uint32_t block, uint32_t turn, const ft_guard *guard, ft_ask *ask)
{
    const ft_block *own = &plan->blocks[block];
    return asks_for_more(own, plan->turns[block].spare, guard, ask) || asks_for_less(plan, own, turn, guard, ask);
}

/* ---- answers ---- */

/* The data of the whole block, as far as it was asked for. */
static void place_data(const ft_block *block, const ft_ask *ask, const uint8_t *data, uint8_t *whole)
{
    int32_t step = reads_bits(block) ? BITS_OF_BYTE : 1;
    int32_t width = reads_bits(block) ? 1 : 2;
    int32_t room = (block->quantity + step - 1) / step * width;
    int32_t bytes = ask->shape.bytes - OVERHEAD;
    int32_t at = ask->first / step * width;
    int32_t from = at < 0 ? -at : 0;
    int32_t n = (int32_t)ft_least(bytes - from, room - (at + from));
    memcpy(whole + at + from, data + from, (size_t)n);
}

size_t ft_ask_decode(const ft_plan *plan, const ft_block *block, const ft_ask *ask, const uint8_t *data, int64_t now)
{
    uint8_t whole[FT_MAX_PDU] = {0};
    ft_block one = *block;
    size_t n = 0;
    if (ask->first == 0 && ask->quantity == block->quantity)
        return ft_decode(block, plan->points, data, now, plan->scratch);
    place_data(block, ask, data, whole);
    one.point_count = 1;
    for (uint32_t i = 0; i < block->point_count; i++) {
        int32_t start;
        int32_t end;
        ft_point_extent(&plan->points[block->first_point + i], &start, &end);
        one.first_point = block->first_point + i;
        if (start >= ask->first && end <= ask->first + ask->quantity)
            n += ft_decode(&one, plan->points, whole, now, plan->scratch + n);
    }
    return n;
}
