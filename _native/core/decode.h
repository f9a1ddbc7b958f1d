/* Register and bit payloads to samples. `points` is always the bus's whole array: a block's points are
 * points[block->first_point ..]. A block must have passed ft_block_fits() once before it is decoded. */
#ifndef FT_DECODE_H
#define FT_DECODE_H

#include "plan.h"
#include "sample.h"

#include <stddef.h>
#include <stdint.h>

#define FT_TEXT_PIECE 8 /* bytes of text in one sample; they stand in `value` in memory order, unused ones are 0 */

/* 1 when every point of the block has a known type and order and lies within the block's quantity; 0: never decode it.
 * point_total: length of the whole array. */
int ft_block_fits(const ft_block *block, const ft_point *points, size_t point_total);

/* What must be read for a point's value, in registers or bits of its block: the first, and one past the last. The power
 * of ten of a scaled value belongs to it. */
void ft_point_extent(const ft_point *point, int32_t *start, int32_t *end);

/* Most samples a decode of the block can give: one a tag, texts one for each 8 bytes. */
size_t ft_block_records(const ft_block *block, const ft_point *points);

/* The data bytes of an answer to function 1-4 (after its byte count), (quantity + 7) / 8 or 2 * quantity of them,
 * to samples in the order of the points. Returns how many. FT_Q_OUT_OF_RANGE and no value: BCD with a nibble above 9,
 * a sentinel, a number outside its range, a power of ten that is none. A text ends before its last NUL, space or FE
 * bytes. */
size_t ft_decode(const ft_block *block, const ft_point *points, const uint8_t *data, int64_t time_ns, ft_sample *out);

/* One sample a tag that says why there is no value. Returns how many. */
size_t ft_decode_failed(const ft_block *block, const ft_point *points, uint8_t quality, uint8_t detail, int64_t time_ns,
                        ft_sample *out);

#endif
