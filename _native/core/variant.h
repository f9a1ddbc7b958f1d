/* A block whose answer must not be asked for in its own shape in; a request of another shape that reads its tags as well,
 * or nearly all of them, out. Registers are only read that the plan reads anyway, and only together where it says that the
 * device allows it (ft_block.bounds): not across a seam, nor beside what is read apart. */
#ifndef FT_VARIANT_H
#define FT_VARIANT_H

#include <stdint.h>

#include "busplan.h"
#include "guard.h"

/* What is asked of a block: all of it, or more, or less. */
typedef struct ft_ask {
    int32_t first;     /* register or bit, counted from the block's */
    uint16_t quantity;
    ft_shape shape;
    uint16_t request_bytes;
    uint8_t request[FT_MAX_REQUEST];
} ft_ask;

/* How far a block may be read beyond its ends, each in registers or bits: other blocks of the device read these, and
 * others are as long. */
ft_spare ft_variant_spare(const ft_block *blocks, uint32_t count, uint32_t block);

/* The request as the plan has it. */
void ft_ask_plain(const ft_block *block, ft_ask *ask);
/* 1: `ask` is a request (RTU) whose answer cannot be mistaken for one that is owed. Some more is read where that is
 * allowed; else a piece at one end is left out, at the other end next time (`turn`). 0: there is none. */
int ft_ask_variant(const ft_plan *plan, uint32_t block, uint32_t turn, const ft_guard *guard, ft_ask *ask);
/* Samples of the tags that are whole in the answer's data; returns how many. */
size_t ft_ask_decode(const ft_plan *plan, const ft_block *block, const ft_ask *ask, const uint8_t *data, int64_t now);

#endif
