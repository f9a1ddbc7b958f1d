/* One table's columns in, streams of varints, bit patterns and text out; the streams in, the table's values out. */
#include "core/columns_parts.h"

/* The first value of the same column in the latest table of this shape, where it was written in the same mode, else
 * `otherwise`. */
static uint64_t predicted(const ft_first *slot, uint32_t mode, uint64_t otherwise)
{
    return slot->mode == mode + 1 ? slot->value : otherwise;
}

static void keep(ft_first *slot, uint32_t mode, uint64_t first)
{
    slot->mode = mode + 1;
    slot->value = first;
}

/* Of the modes of a table's float columns, two to a byte. */
static size_t mode_bytes(const ft_table *table, const uint8_t *types)
{
    size_t floats = 0;
    for (size_t c = 0; c < table->columns; c++)
        if (ft_is_float(types[table->first + c]))
            floats++;
    return (floats + 1) / 2;
}

/* ---- written ---- */

static void put_numbers(ft_encoder *s, ft_first *slot, uint32_t mode, const uint64_t *values, size_t n)
{
    uint8_t *at = s->steps_end;
    s->heads_end = ft_put_varint(s->heads_end, values[0] - predicted(slot, mode, 0));
    keep(slot, mode, values[0]);
    for (size_t i = 1; i < n; i++)
        at = ft_put_varint(at, values[i] - values[i - 1]);
    s->steps_end = at;
}

static void put_floats(ft_encoder *s, ft_first *slot, const uint64_t *values, size_t n)
{
    uint32_t *at = s->floats + s->float_count;
    uint32_t before = (uint32_t)predicted(slot, FT_RAW_MODE, s->last_float);
    s->last_float = (uint32_t)values[0];
    keep(slot, FT_RAW_MODE, values[0]);
    for (size_t i = 0; i < n; i++) {
        uint32_t delta = (uint32_t)values[i] - before;
        at[i] = (delta << 1) ^ (0 - (delta >> 31));
        before = (uint32_t)values[i];
    }
    s->float_count += n;
}

static void put_doubles(ft_encoder *s, ft_first *slot, const uint64_t *values, size_t n)
{
    uint64_t *at = s->doubles + s->double_count, before = predicted(slot, FT_RAW_MODE, s->last_double);
    s->last_double = values[0];
    keep(slot, FT_RAW_MODE, values[0]);
    for (size_t i = 0; i < n; i++) {
        at[i] = ft_zigzag(values[i] - before);
        before = values[i];
    }
    s->double_count += n;
}

/* The fewest decimals that do; but those of the column's twin if they do, so that its first value predicts ours. */
static uint32_t pick_mode(ft_encoder *s, uint32_t type, const ft_first *slot, size_t n)
{
    uint32_t twin = slot->mode > 1 ? slot->mode - 1 : FT_RAW_MODE;
    if (twin != FT_RAW_MODE && ft_scale(type, s->values, n, twin - 1, s->scaled))
        return twin;
    for (uint32_t decimals = 0; decimals <= FT_MAX_DECIMALS; decimals++)
        if (ft_scale(type, s->values, n, decimals, s->scaled))
            return 1 + decimals;
    return FT_RAW_MODE;
}

static void put_texts(ft_encoder *s, const uint32_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!ft_is_value(&s->job->samples[order[i]]))
            continue;
        size_t bytes = ft_gather_text(s, order[i], s->text_end);
        s->text_end += bytes;
        s->steps_end = ft_put_varint(s->steps_end, bytes);
    }
}

static void put_float_column(ft_encoder *s, uint32_t type, ft_first *slot, size_t n)
{
    uint32_t mode = n ? pick_mode(s, type, slot, n) : FT_RAW_MODE;
    s->modes[s->mode_count / 2] |= (uint8_t)(mode << 4 * (s->mode_count % 2));
    s->mode_count++;
    if (!n)
        return;
    if (mode != FT_RAW_MODE)
        put_numbers(s, slot, mode, s->scaled, n);
    else if (type == FT_F32)
        put_floats(s, slot, s->values, n);
    else
        put_doubles(s, slot, s->values, n);
}

/* Room for the modes of a table's float columns, at the start of its heads. */
static void open_modes(ft_encoder *s, const ft_table *table)
{
    size_t bytes = mode_bytes(table, s->layout->types);
    s->modes = s->heads_end;
    s->mode_count = 0;
    s->heads_end += bytes;
    memset(s->modes, 0, bytes);
}

static void put_columns(ft_encoder *s, const ft_table *table)
{
    for (uint32_t c = 0; c < table->columns; c++) {
        size_t at = table->first + c;
        const uint32_t *order = s->order + s->start[at];
        uint32_t type = s->layout->types[at];
        if (type == FT_TEXT) {
            put_texts(s, order, s->cells[at]);
            continue;
        }
        size_t n = ft_gather_values(s, order, s->cells[at]);
        if (ft_is_float(type))
            put_float_column(s, type, &s->firsts[table->twin + c], n);
        else if (n)
            put_numbers(s, &s->firsts[table->twin + c], FT_RAW_MODE, s->values, n);
    }
}

static void put_times(ft_encoder *s, size_t t)
{
    int64_t before = s->base_s * FT_US_PER_S, step = 0;
    for (uint32_t r = 0; r < s->rows[t]; r++) {
        int64_t now = ft_wall_us(s, s->times[s->row_start[t] + r]);
        s->heads_end = ft_put_varint(s->heads_end, (uint64_t)now - (uint64_t)before - (uint64_t)step);
        step = (int64_t)((uint64_t)now - (uint64_t)before);
        before = now;
    }
}

void ft_put_streams(ft_encoder *s, size_t t)
{
    open_modes(s, &s->layout->tables[t]);
    put_times(s, t);
    put_columns(s, &s->layout->tables[t]);
}

/* ---- read ---- */

static uint32_t next_float(ft_body *body)
{
    size_t at = body->float_next++;
    uint32_t v = 0;
    for (unsigned plane = 0; plane < 4; plane++)
        v |= (uint32_t)body->floats[plane * body->float_count + at] << (8 * plane);
    return (v >> 1) ^ (0 - (v & 1));
}

static uint64_t next_double(ft_body *body)
{
    size_t at = body->double_next++;
    uint64_t v = 0;
    for (unsigned plane = 0; plane < 8; plane++)
        v |= (uint64_t)body->doubles[plane * body->double_count + at] << (8 * plane);
    return ft_unzigzag(v);
}

static void read_numbers(ft_body *body, ft_walk w, ft_first *slot, uint32_t mode)
{
    ft_sample *cell = ft_step_on(&w);
    uint64_t v = predicted(slot, mode, 0);
    ft_reader *r = &body->heads;
    for (int first = 1; cell && !r->why; cell = ft_step_on(&w), first = 0) {
        v += ft_take_varint(r);
        if (first)
            keep(slot, mode, v);
        cell->value = mode == FT_RAW_MODE ? v : ft_decimal_bits(cell->type, v, mode - 1);
        r = &body->steps;
    }
}

static void read_patterns(ft_body *body, ft_walk w, ft_first *slot)
{
    uint64_t n = ft_count_values(w);
    ft_sample *cell = ft_step_on(&w);
    int wide = cell && cell->type == FT_F64;
    uint64_t *last = wide ? &body->last_double : &body->last_float;
    uint64_t v = predicted(slot, FT_RAW_MODE, *last);
    if (n > (wide ? body->double_count - body->double_next : body->float_count - body->float_next)) {
        ft_fail(&body->heads, body->heads.at, "has fewer floats than its groups say");
        return;
    }
    for (int first = 1; cell; cell = ft_step_on(&w), first = 0) {
        v = wide ? v + next_double(body) : (uint32_t)(v + next_float(body));
        if (first)
            keep(slot, FT_RAW_MODE, *last = v);
        cell->value = v;
    }
}

ft_modes ft_take_modes(ft_body *body, const ft_table *table, const uint8_t *types)
{
    size_t bytes = mode_bytes(table, types);
    ft_modes modes = {.bytes = body->heads.at};
    if ((size_t)(body->heads.end - body->heads.at) < bytes)
        ft_fail(&body->heads, body->heads.at, "has fewer modes than columns of floats");
    else
        body->heads.at += bytes;
    return modes;
}

static void read_float_column(ft_body *body, ft_modes *modes, ft_walk w, ft_first *slot)
{
    const uint8_t *at = modes->bytes + modes->next / 2;
    uint32_t mode = *at >> 4 * (modes->next % 2) & 0x0f;
    modes->next++;
    if (mode > 1 + FT_MAX_DECIMALS)
        ft_fail(&body->heads, at, "a mode is not one that this reader knows");
    else if (mode == FT_RAW_MODE)
        read_patterns(body, w, slot);
    else
        read_numbers(body, w, slot, mode);
}

static void read_texts(ft_body *body, ft_walk w)
{
    for (ft_sample *cell = ft_step_on(&w); cell && !body->steps.why; cell = ft_step_on(&w)) {
        uint64_t n = ft_take_varint(&body->steps);
        if ((uint64_t)(body->text.end - body->text.at) < n) {
            ft_fail(&body->steps, body->steps.at, "a text is longer than the bytes that are left");
            return;
        }
        ft_set_text(body, cell, body->text.at, n);
        body->text.at += n;
    }
}

static void read_column(ft_body *body, uint8_t type, ft_modes *modes, ft_walk w, ft_first *slot)
{
    if (type == FT_TEXT)
        read_texts(body, w);
    else if (ft_is_float(type))
        read_float_column(body, modes, w, slot);
    else
        read_numbers(body, w, slot, FT_RAW_MODE);
}

void ft_take_streams(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_modes modes,
                     ft_first *firsts, ft_sample *cells)
{
    for (size_t c = 0; c < table->columns && !body->heads.why && !body->steps.why; c++)
        read_column(body, types[table->first + c], &modes, ft_column_of(table, group, cells, c), &firsts[table->twin + c]);
}
