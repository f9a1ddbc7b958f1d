/* Payload bytes of an answer to samples. */
#include "decode.h"

#include "layout.h"
#include "modbus.h"

#include <math.h>
#include <string.h>

static int is_bit_block(const ft_block *block)
{
    return block->function == FT_READ_COILS || block->function == FT_READ_DISCRETES;
}

/* ---- blocks ---- */

static unsigned point_registers(const ft_point *point)
{
    switch (point->type) {
    case FT_TEXT:
        return ft_text_registers(point->order, point->length);
    case FT_BITS:
        return point->length;
    default:
        return ft_registers_of[point->type];
    }
}

void ft_point_extent(const ft_point *point, int32_t *start, int32_t *end)
{
    *start = point->at;
    *end = (int32_t)(point->at + point_registers(point));
    if (point->flags & FT_SCALED) {
        *start = point->scale_at < *start ? point->scale_at : *start;
        *end = point->scale_at >= *end ? point->scale_at + 1 : *end;
    }
}

static int bits_fit(const ft_point *point)
{
    int whole_value = point->length == 1 || point->length == 2 || point->length == 4;
    return whole_value && point->bits > 0 && point->bits + point->shift <= (int)(FT_REGISTER_BITS * point->length);
}

static int scale_fits(const ft_block *block, const ft_point *point)
{
    switch (point->type) {
    case FT_BOOL:
    case FT_BITS:
    case FT_TEXT:
    case FT_F32:
    case FT_F64:
        return 0;
    default:
        return point->scale_at < block->quantity;
    }
}

static int point_fits(const ft_block *block, const ft_point *point)
{
    unsigned orders = point->type == FT_TEXT ? FT_ORDERS + FT_TEXT_WIDE : FT_ORDERS;
    if (point->type >= FT_TYPE_COUNT || point->order >= orders) {
        return 0;
    }
    if (is_bit_block(block)) {
        return point->type == FT_BOOL && point->at < block->quantity && point->flags == 0;
    }
    return (point->type != FT_BITS || bits_fit(point)) && point->at + point_registers(point) <= block->quantity
        && (!(point->flags & FT_SCALED) || scale_fits(block, point));
}

int ft_block_fits(const ft_block *block, const ft_point *points, size_t point_total)
{
    if (block->function < FT_READ_COILS || block->function > FT_READ_INPUT || block->first_point > point_total
        || block->point_count > point_total - block->first_point) {
        return 0;
    }
    for (size_t i = 0; i < block->point_count; i++) {
        if (!point_fits(block, points + block->first_point + i)) {
            return 0;
        }
    }
    return 1;
}

static size_t text_pieces(size_t bytes)
{
    return bytes > FT_TEXT_PIECE ? (bytes + FT_TEXT_PIECE - 1) / FT_TEXT_PIECE : 1;
}

size_t ft_block_records(const ft_block *block, const ft_point *points)
{
    size_t records = 0;
    for (size_t i = 0; i < block->point_count; i++) {
        const ft_point *point = points + block->first_point + i;
        records += point->type == FT_TEXT ? text_pieces(point->length) : 1;
    }
    return records;
}

/* ---- decoding ---- */

/* Words and order are constants wherever this is inlined, which leaves a load and a byte swap. */
static inline __attribute__((always_inline)) uint64_t gather(const uint8_t *bytes, unsigned words, unsigned order)
{
    uint64_t value = 0;
    unsigned high = order & FT_BYTES_SWAPPED ? 1 : 0;
    for (unsigned i = 0; i < words; i++) {
        const uint8_t *word = bytes + 2 * (order & FT_WORDS_REVERSED ? words - 1 - i : i);
        value = value << FT_REGISTER_BITS | (uint64_t)word[high] << 8 | word[1 - high];
    }
    return value;
}

static uint64_t gather_any(const uint8_t *bytes, unsigned words, unsigned order)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < words; i++) {
        unsigned at = order & FT_WORDS_REVERSED ? words - 1 - i : i;
        value = value << FT_REGISTER_BITS | gather(bytes + 2 * at, 1, order & FT_BYTES_SWAPPED);
    }
    return value;
}

/* Numbers of one type and order. `spare`: bits above a signed number, filled with its sign; 0 for all others. */
static inline __attribute__((always_inline)) void gather_run(const ft_point *points, size_t n, const uint8_t *data,
                                                             ft_sample stamp, unsigned spare, unsigned words,
                                                             unsigned order, ft_sample *out)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t raw = gather(data + 2 * (size_t)points[i].at, words, order);
        stamp.value = (uint64_t)((int64_t)(raw << spare) >> spare);
        stamp.tag = points[i].tag;
        out[i] = stamp;
    }
}

static void decode_numbers(const ft_point *points, size_t n, const uint8_t *data, ft_sample stamp, ft_sample *out)
{
    unsigned words = ft_registers_of[points->type];
    int is_signed = points->type == FT_I16 || points->type == FT_I32 || points->type == FT_I64;
    unsigned spare = is_signed ? FT_VALUE_BITS - FT_REGISTER_BITS * words : 0;
    switch (words * FT_ORDERS + points->order) {
#define RUN(words, order) \
    case (words) * FT_ORDERS + (order): \
        gather_run(points, n, data, stamp, spare, words, order, out); \
        break;
        RUN(1, FT_ABCD) RUN(1, FT_CDAB) RUN(1, FT_BADC) RUN(1, FT_DCBA)
        RUN(2, FT_ABCD) RUN(2, FT_CDAB) RUN(2, FT_BADC) RUN(2, FT_DCBA)
        RUN(4, FT_ABCD) RUN(4, FT_CDAB) RUN(4, FT_BADC) RUN(4, FT_DCBA)
#undef RUN
    default:
        break;
    }
}

/* Four bits a digit; 0 when one is above 9. */
static int bcd_value(uint64_t raw, uint64_t *value)
{
    uint64_t scale = 1;
    for (*value = 0; raw > 0; raw >>= 4, scale *= 10) {
        if ((raw & 0xF) > 9) {
            *value = 0;
            return 0;
        }
        *value += (raw & 0xF) * scale;
    }
    return 1;
}

/* One value of a type that is rare or needs more than its bytes. */
static void decode_special(const ft_point *point, const uint8_t *data, ft_sample *out)
{
    unsigned words = point_registers(point);
    uint64_t raw = gather_any(data + 2 * (size_t)point->at, words, point->order);
    if (point->type == FT_BOOL) {
        out->value = raw != 0;
    } else if (point->type == FT_BITS) {
        out->value = raw >> point->shift & (UINT64_MAX >> (FT_VALUE_BITS - point->bits));
    } else if (!bcd_value(raw, &out->value)) {
        out->quality = FT_Q_OUT_OF_RANGE;
    }
}

static uint8_t text_byte(const ft_point *point, const uint8_t *data, size_t i)
{
    return data[2 * (size_t)point->at + ft_text_at(point->order, i)];
}

/* FE is no character of ASCII and never part of UTF-8. */
static int is_padding(uint8_t byte)
{
    return byte == 0 || byte == ' ' || byte == 0xFE;
}

static int is_all_zero(const ft_point *point, const uint8_t *data)
{
    for (size_t i = 0; i < point->length; i++) {
        if (text_byte(point, data, i) != 0) {
            return 0;
        }
    }
    return 1;
}

static size_t decode_text(const ft_point *point, const uint8_t *data, ft_sample stamp, ft_sample *out)
{
    size_t length = point->length;
    if (point->flags & FT_SENTINEL_EMPTY && is_all_zero(point, data)) {
        stamp.quality = FT_Q_OUT_OF_RANGE;
        stamp.part = FT_TEXT_LAST;
        *out = stamp;
        return 1;
    }
    while (length > 0 && is_padding(text_byte(point, data, length - 1))) {
        length--;
    }
    size_t pieces = text_pieces(length);
    for (size_t piece = 0; piece < pieces; piece++) {
        uint8_t text[FT_TEXT_PIECE] = {0};
        size_t start = piece * FT_TEXT_PIECE;
        size_t n = length - start < FT_TEXT_PIECE ? length - start : FT_TEXT_PIECE;
        for (size_t i = 0; i < n; i++) {
            text[i] = text_byte(point, data, start + i);
        }
        memcpy(&stamp.value, text, sizeof text);
        stamp.detail = (uint8_t)n;
        stamp.part = (uint32_t)piece | (piece + 1 == pieces ? FT_TEXT_LAST : 0);
        out[piece] = stamp;
    }
    return pieces;
}

static uint8_t sample_type(const ft_point *point)
{
    return point->flags & FT_SCALED ? FT_F64 : point->type;
}

static ft_sample stamp_of(const ft_block *block, const ft_point *point, int64_t time_ns)
{
    return (ft_sample){.time_ns = time_ns, .tag = point->tag, .group = block->group, .type = sample_type(point)};
}

/* ---- values that are none ---- */

static const double power_of_ten[FT_SCALE_MOST + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10};

static double f32_number(uint64_t raw)
{
    uint32_t bits = (uint32_t)raw;
    float number;
    memcpy(&number, &bits, sizeof number);
    return (double)number;
}

static double f64_number(uint64_t raw)
{
    double number;
    memcpy(&number, &raw, sizeof number);
    return number;
}

static double number_of(uint16_t type, uint64_t value)
{
    switch (type) {
    case FT_F32:
        return f32_number(value);
    case FT_F64:
        return f64_number(value);
    case FT_I16:
    case FT_I32:
    case FT_I64:
        return (double)(int64_t)value;
    default:
        return (double)value;
    }
}

/* The number times its power of ten; 0 when the power is none. Division keeps decimals exact where 1e-1 is not. */
static int scale(const ft_point *point, const uint8_t *data, ft_sample *sample)
{
    unsigned swapped = point->order & FT_BYTES_SWAPPED;
    int power = (int16_t)(uint16_t)gather_any(data + 2 * (size_t)point->scale_at, 1, swapped);
    if (power < -FT_SCALE_MOST || power > FT_SCALE_MOST) {
        return 0;
    }
    double number = number_of(point->type, sample->value);
    number = power < 0 ? number / power_of_ten[-power] : number * power_of_ten[power];
    memcpy(&sample->value, &number, sizeof number);
    return 1;
}

static int is_sentinel(const ft_point *point, const uint8_t *data, const ft_sample *sample)
{
    if (point->flags & FT_SENTINEL
        && gather_any(data + 2 * (size_t)point->at, point_registers(point), point->order) == point->sentinel) {
        return 1;
    }
    return point->flags & FT_SENTINEL_NAN && isnan(number_of(point->type, sample->value));
}

static int is_plausible(const ft_point *point, const ft_sample *sample)
{
    double number = number_of(sample_type(point), sample->value);
    return !(point->flags & FT_RANGE) || (number >= point->least && number <= point->most);
}

/* What the point's flags make of a value that was decoded from its bits alone. */
static void judge(const ft_point *point, const uint8_t *data, ft_sample *sample)
{
    sample->type = sample_type(point);
    if (sample->quality != FT_Q_GOOD || is_sentinel(point, data, sample)
        || (point->flags & FT_SCALED && !scale(point, data, sample)) || !is_plausible(point, sample)) {
        sample->quality = FT_Q_OUT_OF_RANGE;
        sample->value = 0;
    }
}

static void judge_all(const ft_point *points, size_t n, const uint8_t *data, ft_sample *samples)
{
    for (size_t i = 0; i < n; i++) {
        judge(points + i, data, samples + i);
    }
}

static size_t decode_bits(const ft_block *block, const ft_point *points, const uint8_t *data, int64_t time_ns,
                          ft_sample *out)
{
    for (size_t i = 0; i < block->point_count; i++) {
        out[i] = stamp_of(block, points + i, time_ns);
        out[i].value = data[points[i].at / 8] >> points[i].at % 8 & 1;
    }
    return block->point_count;
}

static size_t same_kind(const ft_point *points, size_t n)
{
    size_t same = 1;
    while (same < n && points[same].type == points->type && points[same].order == points->order
           && !points[same].flags == !points->flags) {
        same++;
    }
    return same;
}

static size_t decode_run(const ft_block *block, const ft_point *points, size_t n, const uint8_t *data, int64_t time_ns,
                         ft_sample *out)
{
    ft_sample stamp = stamp_of(block, points, time_ns);
    size_t written = 0;
    stamp.type = points->type; /* judge_all() knows whose samples have another */
    switch (points->type) {
    case FT_TEXT:
        for (size_t i = 0; i < n; i++) {
            stamp.tag = points[i].tag;
            written += decode_text(points + i, data, stamp, out + written);
        }
        return written;
    case FT_BOOL:
    case FT_BITS:
    case FT_BCD16:
    case FT_BCD32:
        for (size_t i = 0; i < n; i++) {
            out[i] = stamp;
            out[i].tag = points[i].tag;
            decode_special(points + i, data, out + i);
        }
        break;
    default:
        decode_numbers(points, n, data, stamp, out);
    }
    if (points->flags) { /* a run has them at all its points or at none */
        judge_all(points, n, data, out);
    }
    return n;
}

size_t ft_decode(const ft_block *block, const ft_point *points, const uint8_t *data, int64_t time_ns, ft_sample *out)
{
    const ft_point *point = points + block->first_point;
    size_t left = block->point_count;
    size_t written = 0;
    if (is_bit_block(block)) {
        return decode_bits(block, point, data, time_ns, out);
    }
    while (left > 0) {
        size_t n = same_kind(point, left);
        written += decode_run(block, point, n, data, time_ns, out + written);
        point += n;
        left -= n;
    }
    return written;
}

size_t ft_decode_failed(const ft_block *block, const ft_point *points, uint8_t quality, uint8_t detail, int64_t time_ns,
                        ft_sample *out)
{
    for (size_t i = 0; i < block->point_count; i++) {
        const ft_point *point = points + block->first_point + i;
        out[i] = stamp_of(block, point, time_ns);
        out[i].quality = quality;
        out[i].detail = detail;
        out[i].part = point->type == FT_TEXT ? FT_TEXT_LAST : 0;
    }
    return block->point_count;
}

