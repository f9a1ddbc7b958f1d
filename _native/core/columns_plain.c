/* One table's columns in, the arrays of the plain format out; these arrays in, the table's values out. */
#include "core/columns_parts.h"

#include <math.h>

/* ---- written ---- */

static void plain_times(ft_encoder *s, size_t t)
{
    int64_t before = s->base_s * FT_US_PER_S, step = 0;
    ft_put_array(&s->out, s->rows[t]);
    for (uint32_t r = 0; r < s->rows[t]; r++) {
        int64_t now = ft_wall_us(s, s->times[s->row_start[t] + r]);
        ft_put_int(&s->out, (int64_t)((uint64_t)now - (uint64_t)before - (uint64_t)step));
        step = (int64_t)((uint64_t)now - (uint64_t)before);
        before = now;
    }
}

/* The true difference where msgpack can say it, so that a running sum in wide integers is right without a modulus. */
static void plain_delta(ft_writer *out, uint64_t now, uint64_t before, int is_signed)
{
    int rises = is_signed ? (int64_t)now >= (int64_t)before : now >= before;
    if (!rises)
        ft_put_int(out, (int64_t)(now - before));
    else
        ft_put_uint(out, now - before);
}

static void plain_integers(ft_encoder *s, uint32_t type, size_t n)
{
    int is_signed = type == FT_I16 || type == FT_I32 || type == FT_I64;
    uint64_t before = 0;
    ft_put_array(&s->out, n);
    for (size_t i = 0; i < n; i++) {
        plain_delta(&s->out, s->values[i], before, is_signed);
        before = s->values[i];
    }
}

/* An array of floats; bit patterns in a bin when one is NaN, because libraries do not keep a NaN's payload. */
static void plain_floats(ft_encoder *s, uint32_t type, size_t n)
{
    unsigned width = type == FT_F32 ? 4 : 8;
    int nan = 0;
    for (size_t i = 0; i < n && !nan; i++)
        nan = isnan(type == FT_F32 ? ft_f32_value(s->values[i]) : ft_f64_value(s->values[i]));
    if (nan)
        ft_put_bin_head(&s->out, n * width);
    else
        ft_put_array(&s->out, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t top = s->values[i] >> (8 * (width - 1));
        if (nan)
            ft_put_head(&s->out, (uint8_t)top, s->values[i], width - 1);
        else
            ft_put_head(&s->out, width == 4 ? 0xca : 0xcb, s->values[i], width);
    }
}

static void plain_texts(ft_encoder *s, const uint32_t *order, size_t n)
{
    size_t count = ft_gather_values(s, order, n);
    ft_put_array(&s->out, count);
    for (size_t i = 0; i < n; i++)
        if (ft_is_value(&s->job->samples[order[i]]))
            ft_put_bin(&s->out, s->text, ft_gather_text(s, order[i], s->text));
}

static void plain_columns(ft_encoder *s, const ft_table *table)
{
    ft_put_array(&s->out, table->columns);
    for (uint32_t c = 0; c < table->columns; c++) {
        size_t at = table->first + c;
        const uint32_t *order = s->order + s->start[at];
        uint32_t type = s->layout->types[at];
        if (type == FT_TEXT) {
            plain_texts(s, order, s->cells[at]);
            continue;
        }
        size_t n = ft_gather_values(s, order, s->cells[at]);
        if (ft_is_float(type))
            plain_floats(s, type, n);
        else
            plain_integers(s, type, n);
    }
}

void ft_put_plain(ft_encoder *s, size_t t)
{
    plain_times(s, t);
    plain_columns(s, &s->layout->tables[t]);
}

/* ---- read ---- */

static void plain_pattern(ft_reader *r, const ft_item *bin, ft_walk w, unsigned width)
{
    ft_reader bits = {.at = bin->bytes, .end = bin->bytes + bin->count};
    if (bin->count != ft_count_values(w) * width) {
        ft_fail(r, bin->bytes, "a bin of floats is not as long as its column");
        return;
    }
    for (ft_sample *cell = ft_step_on(&w); cell; cell = ft_step_on(&w))
        cell->value = ft_take_uint(&bits, width);
}

static void plain_value(ft_body *body, uint8_t type, ft_sample *cell, uint64_t *sum)
{
    ft_reader *r = &body->groups;
    const uint8_t *at = r->at;
    ft_item item = ft_take(r);
    if (type == FT_TEXT && (item.kind == FT_BIN || item.kind == FT_STR))
        ft_set_text(body, cell, item.bytes, item.count);
    else if (type == FT_TEXT)
        ft_fail(r, at, "a text is not a bin");
    else if (ft_is_float(type))
        cell->value = item.bits;
    else
        cell->value = *sum += item.bits;
    if (type != FT_TEXT && item.kind != (type == FT_F32 ? FT_REAL32 : type == FT_F64 ? FT_REAL64 : FT_INT))
        ft_fail(r, at, "a value is not of its column's type");
}

static void plain_column(ft_body *body, uint8_t type, ft_walk w)
{
    ft_reader *r = &body->groups;
    const uint8_t *at = r->at;
    uint64_t n = ft_count_values(w), sum = 0;
    ft_item item = ft_take(r);
    if (item.kind == FT_BIN && (ft_is_float(type))) {
        plain_pattern(r, &item, w, type == FT_F32 ? 4 : 8);
        return;
    }
    if (item.kind != FT_ARRAY || item.count != n) {
        ft_fail(r, at, "a column is not an array of as many values as it has cells");
        return;
    }
    for (ft_sample *cell = ft_step_on(&w); cell && !r->why; cell = ft_step_on(&w))
        plain_value(body, type, cell, &sum);
}

void ft_take_plain(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_sample *cells)
{
    ft_reader *r = &body->groups;
    const uint8_t *at = r->at;
    size_t columns = ft_take_array(r, 0, "the columns are not an array");
    if (columns != table->columns)
        ft_fail(r, at, "has not as many columns as its schema");
    for (size_t c = 0; c < columns && !r->why; c++)
        plain_column(body, types[table->first + c], ft_column_of(table, group, cells, c));
    group->items_left -= 2;
}
