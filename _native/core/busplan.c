#include "busplan.h"

#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "modbus.h"
#include "variant.h"

/* What the answer holds is within a PDU, and with it all that is decoded. */
static int can_be_asked(const ft_block *block)
{
    uint8_t pdu[5] = {block->function};
    ft_put_u16(pdu + 3, block->quantity);
    return ft_request_length(pdu, sizeof pdu) == (int)sizeof pdu;
}

static int block_is_sound(const ft_block *block, const ft_point *points, uint32_t point_count, uint32_t device_count)
{
    return block->period_ns > 0 && block->phase_ns >= 0 && block->timeout_ns > 0 && block->gap_ns >= 0
        && block->device < device_count && block->function >= FT_READ_COILS && block->function <= FT_READ_INPUT
        && block->request_bytes > 0 && block->request_bytes <= FT_MAX_REQUEST && block->response_bytes <= FT_MAX_TCP
        && can_be_asked(block) && ft_block_fits(block, points, point_count);
}

/* The first unsound block, or -1. */
static int64_t first_unsound(const ft_block *blocks, uint32_t block_count, const ft_point *points, uint32_t point_count,
                             uint32_t device_count)
{
    for (uint32_t i = 0; i < block_count; i++)
        if (!block_is_sound(&blocks[i], points, point_count, device_count))
            return i;
    return -1;
}

static uint32_t most_records(const ft_block *blocks, uint32_t block_count, const ft_point *points)
{
    size_t most_so_far = 1;
    for (uint32_t i = 0; i < block_count; i++) {
        size_t records = ft_block_records(&blocks[i], points);
        if (records > most_so_far)
            most_so_far = records;
    }
    return (uint32_t)most_so_far;
}

ft_plan *ft_plan_new(const ft_block *blocks, uint32_t block_count, const ft_point *points, uint32_t point_count,
                     uint32_t device_count, int64_t *bad)
{
    *bad = first_unsound(blocks, block_count, points, point_count, device_count);
    if (*bad >= 0)
        return NULL;
    ft_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    plan->block_count = block_count;
    plan->point_count = point_count;
    plan->device_count = device_count;
    plan->most_records = most_records(blocks, block_count, points);
    plan->blocks = calloc(block_count + 1u, sizeof *plan->blocks);
    plan->points = calloc(point_count + 1u, sizeof *plan->points);
    plan->turns = calloc(block_count + 1u, sizeof *plan->turns);
    plan->devices = calloc(device_count + 1u, sizeof *plan->devices);
    plan->scratch = calloc(plan->most_records, sizeof *plan->scratch);
    if (!plan->blocks || !plan->points || !plan->turns || !plan->devices || !plan->scratch) {
        ft_plan_free(plan);
        return NULL;
    }
    for (uint32_t i = 0; i < block_count; i++)
        plan->turns[i].spare = ft_variant_spare(blocks, block_count, i);
    if (block_count)
        memcpy(plan->blocks, blocks, block_count * sizeof *blocks);
    if (point_count)
        memcpy(plan->points, points, point_count * sizeof *points);
    return plan;
}

void ft_plan_free(ft_plan *plan)
{
    while (plan) {
        ft_plan *next = plan->next;
        free(plan->blocks);
        free(plan->points);
        free(plan->turns);
        free(plan->devices);
        free(plan->scratch);
        free(plan);
        plan = next;
    }
}

const ft_block *ft_plan_block_of(const ft_plan *plan, uint8_t unit)
{
    for (uint32_t i = 0; plan && i < plan->block_count; i++)
        if (plan->blocks[i].unit == unit)
            return &plan->blocks[i];
    return NULL;
}
