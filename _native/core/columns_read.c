/* One body in, its samples out, table by table; whatever the bytes say, nothing outside them is touched. */
#include "core/columns.h"

#define LONGEST_US (INT64_MAX / 1000) /* wall times beyond do not fit in nanoseconds */
#define US_PER_S 1000000
#define TEXT_PIECE 8

/* ---- body ---- */

static const uint8_t *read_planes(ft_reader *r, size_t width, size_t *count)
{
    const uint8_t *at = r->at;
    ft_item item = ft_take_bin(r, "float planes are not a bin");
    if (item.count % width)
        ft_fail(r, at, "float planes are of unequal length");
    *count = (size_t)item.count / width;
    return item.bytes;
}

static ft_reader read_stream(ft_reader *r, const char *why)
{
    ft_item item = ft_take_bin(r, why);
    return (ft_reader){.at = item.bytes, .end = item.bytes + item.count};
}

static void read_base(ft_reader *r, ft_body *body)
{
    const uint8_t *at = r->at;
    body->base_s = ft_take_int64(r, "the base time is not an integer");
    if (body->base_s > LONGEST_US / US_PER_S || body->base_s < -(LONGEST_US / US_PER_S))
        ft_fail(r, at, "the base time is beyond what nanoseconds can say");
    at = r->at;
    ft_item hashes = ft_take_bin(r, "the hashes are not a bin");
    if (hashes.count % FT_HASH_BYTES)
        ft_fail(r, at, "the hashes are not of 8 bytes each");
    body->hashes = hashes.bytes;
    body->hash_count = (size_t)hashes.count / FT_HASH_BYTES;
    body->groups_left = ft_take_array(r, 0, "the groups are not an array");
    body->groups = *r;
    for (size_t i = 0; i < body->groups_left && !r->why; i++)
        ft_skip(r);
}

/* What follows the groups; an item that is left out is empty. */
static void read_rest(ft_reader *r, ft_body *body, size_t items)
{
    size_t left = items - FT_LEAST_ITEMS;
    if (left > 0)
        body->heads = read_stream(r, "the heads are not a bin");
    if (left > 1)
        body->steps = read_stream(r, "the steps are not a bin");
    if (left > 2)
        body->text = read_stream(r, "the text is not a bin");
    body->plain = body->heads.at == body->heads.end;
    body->extra_at = (size_t)(r->at - body->start);
    for (size_t i = 3; i < left && !r->why; i++) {
        ft_skip(r);
        if (i >= FT_BODY_ITEMS - FT_LEAST_ITEMS)
            continue;
        body->extra_items++;
        body->extra_bytes = (size_t)(r->at - body->start) - body->extra_at;
    }
}

int ft_read_body(const uint8_t *bytes, size_t n, ft_body *body, ft_fault *fault)
{
    ft_reader r = {.at = bytes, .end = bytes + n};
    *body = (ft_body){.start = bytes};
    size_t items = ft_take_array(&r, FT_LEAST_ITEMS, "the body is not an array of 5 or more");
    body->floats = read_planes(&r, 4, &body->float_count);
    body->doubles = read_planes(&r, 8, &body->double_count);
    read_base(&r, body);
    if (!r.why)
        read_rest(&r, body, items);
    if (!r.why && r.at != r.end)
        ft_fail(&r, r.at, "bytes follow the body");
    return ft_settle(&r, bytes, fault);
}

/* ---- group ---- */

static void read_missing(ft_reader *r, ft_group *group)
{
    const uint8_t *at = r->at;
    ft_item item = ft_take_bin(r, "the map of cells is not a bin");
    if (item.kind == FT_BIN && item.count != (group->cells + 7) / 8)
        ft_fail(r, at, "the map of cells is not of a bit per cell");
    group->missing = item.kind == FT_BIN ? item.bytes : NULL;
}

static void read_runs(ft_reader *r, ft_group *group)
{
    if (r->at < r->end && *r->at == 0xc0) {
        ft_skip(r);
        return;
    }
    const uint8_t *at = r->at;
    size_t items = ft_take_array(r, 0, "the qualities are not an array");
    if (items % 3)
        ft_fail(r, at, "the qualities are not in threes");
    group->runs = *r;
    group->run_count = items / 3;
    for (; items > 0 && !r->why; items--)
        ft_skip(r);
}

static void measure(ft_reader *r, const uint8_t *at, ft_body *body, const ft_table *table, ft_group *group)
{
    uint64_t cells = (uint64_t)group->rows * table->columns;
    body->cells += cells;
    if (body->cells > FT_MAX_CELLS)
        ft_fail(r, at, "has more cells than a body may have");
    group->cells = (size_t)cells;
}

static void read_group_array(ft_reader *r, ft_body *body, ft_group *group)
{
    size_t least = body->plain ? FT_PLAIN_GROUP_ITEMS : FT_GROUP_ITEMS;
    group->items_left = ft_take_array(r, least, "a group is not an array of 4 (plain: 6) or more") - FT_GROUP_ITEMS;
    body->next_number = ft_take_count(r, UINT32_MAX, "a group's number is not a count");
}

/* A bare number of rows stands for the next group, whole and good. */
int ft_read_group(ft_body *body, const ft_table *tables, size_t table_count, ft_group *group, ft_fault *fault)
{
    ft_reader *r = &body->groups;
    const uint8_t *start = r->at;
    int bare = !body->plain && r->at < r->end && (*r->at < 0x80 || *r->at >= 0xc0) && *r->at < 0xd0;
    *group = (ft_group){0};
    body->groups_left--;
    if (!bare)
        read_group_array(r, body, group);
    group->rows = (size_t)ft_take_count(r, FT_MAX_CELLS, "a group's rows are not a count within bounds");
    if (body->next_number >= table_count)
        ft_fail(r, start, "a group's number is beyond its schemas");
    if (group->rows == 0)
        ft_fail(r, start, "a group has no rows");
    group->table = (size_t)body->next_number++;
    if (!r->why)
        measure(r, start, body, &tables[group->table], group);
    if (!r->why && !bare) {
        read_missing(r, group);
        read_runs(r, group);
    }
    return ft_settle(r, body->start, fault);
}

/* ---- streams ---- */

static uint64_t take_varint(ft_reader *r)
{
    uint64_t v = 0;
    const uint8_t *at = r->at;
    for (unsigned shift = 0; shift < 64 && r->at < r->end && !r->why; shift += 7) {
        uint8_t byte = *r->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    ft_fail(r, at, r->at < r->end ? "a varint is longer than 64 bits" : "a stream ends too early");
    return 0;
}

static uint64_t unzigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

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
    return unzigzag(v);
}

/* ---- rows and qualities ---- */

static uint64_t take_step(ft_body *body)
{
    if (body->plain)
        return (uint64_t)ft_take_int64(&body->groups, "a row's time is not an integer");
    return unzigzag(take_varint(&body->heads));
}

static void lay_row(const ft_table *table, const uint8_t *types, const ft_group *group, size_t row, int64_t us,
                    ft_sample *cells)
{
    for (size_t c = 0; c < table->columns; c++) {
        size_t cell = row * table->columns + c;
        int there = !group->missing || (group->missing[cell / 8] >> cell % 8 & 1);
        cells[cell] = (ft_sample){.time_ns = us * 1000, .tag = (uint32_t)(table->first + c),
                                  .group = (uint32_t)group->table,
                                  .type = there ? types[table->first + c] : (uint16_t)FT_TYPE_COUNT};
    }
}

static void read_rows(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_sample *cells)
{
    ft_reader *r = body->plain ? &body->groups : &body->heads;
    uint64_t now = (uint64_t)(body->base_s * US_PER_S), step = 0;
    const uint8_t *start = r->at;
    if (body->plain && ft_take_array(r, group->rows, "has fewer times than rows") != group->rows)
        ft_fail(r, start, "has more times than rows");
    for (size_t row = 0; row < group->rows && !r->why; row++) {
        const uint8_t *at = r->at;
        step += take_step(body);
        now += step;
        if ((int64_t)now > LONGEST_US || (int64_t)now < -LONGEST_US)
            ft_fail(r, at, "a row's time is beyond what nanoseconds can say");
        else
            lay_row(table, types, group, row, (int64_t)now, cells);
    }
}

static void read_run(ft_reader *r, const ft_group *group, ft_sample *cells, size_t *cell)
{
    const uint8_t *at = r->at;
    uint8_t quality = (uint8_t)ft_take_count(r, FT_Q_SUBSTITUTED, "a quality is not one that this reader knows");
    uint8_t detail = (uint8_t)ft_take_count(r, UINT8_MAX, "a quality's detail is not a byte");
    uint64_t count = ft_take_count(r, FT_MAX_CELLS, "a run of qualities is not a count within bounds");
    for (; count > 0 && *cell < group->cells && !r->why; ++*cell) {
        if (cells[*cell].type == FT_TYPE_COUNT)
            continue;
        cells[*cell].quality = quality;
        cells[*cell].detail = detail;
        count--;
    }
    if (count > 0)
        ft_fail(r, at, "has more qualities than cells");
}

static void read_qualities(ft_group *group, ft_sample *cells)
{
    size_t cell = 0;
    for (size_t i = 0; i < group->run_count && !group->runs.why; i++)
        read_run(&group->runs, group, cells, &cell);
    for (; group->run_count && cell < group->cells; cell++)
        if (cells[cell].type != FT_TYPE_COUNT)
            ft_fail(&group->runs, group->runs.at, "has fewer qualities than cells");
}

/* ---- columns ---- */

/* The cells of one column that carry a value, one after the other. */
typedef struct walk {
    ft_sample *next;
    ft_sample *end;
    size_t stride;
} walk;

static ft_sample *step_on(walk *w)
{
    while (w->next < w->end) {
        ft_sample *cell = w->next;
        w->next = (size_t)(w->end - cell) > w->stride ? cell + w->stride : w->end;
        if (cell->type != FT_TYPE_COUNT && ft_has_value(cell->quality))
            return cell;
    }
    return NULL;
}

static walk column_of(const ft_table *table, const ft_group *group, ft_sample *cells, size_t column)
{
    return (walk){.next = cells + (group->cells ? column : 0), .end = cells + group->cells, .stride = table->columns};
}

static uint64_t count_values(walk w)
{
    uint64_t n = 0;
    while (step_on(&w))
        n++;
    return n;
}

static uint64_t predicted(const ft_first *slot, uint32_t mode, uint64_t otherwise)
{
    return slot->mode == mode + 1 ? slot->value : otherwise;
}

static void keep(ft_first *slot, uint32_t mode, uint64_t first)
{
    slot->mode = mode + 1;
    slot->value = first;
}

static void read_numbers(ft_body *body, walk w, ft_first *slot, uint32_t mode)
{
    ft_sample *cell = step_on(&w);
    uint64_t v = predicted(slot, mode, 0);
    ft_reader *r = &body->heads;
    for (int first = 1; cell && !r->why; cell = step_on(&w), first = 0) {
        v += unzigzag(take_varint(r));
        if (first)
            keep(slot, mode, v);
        cell->value = mode == FT_RAW_MODE ? v : ft_decimal_bits(cell->type, v, mode - 1);
        r = &body->steps;
    }
}

static void read_patterns(ft_body *body, walk w, ft_first *slot)
{
    uint64_t n = count_values(w);
    ft_sample *cell = step_on(&w);
    int wide = cell && cell->type == FT_F64;
    uint64_t *last = wide ? &body->last_double : &body->last_float;
    uint64_t v = predicted(slot, FT_RAW_MODE, *last);
    if (n > (wide ? body->double_count - body->double_next : body->float_count - body->float_next)) {
        ft_fail(&body->heads, body->heads.at, "has fewer floats than its groups say");
        return;
    }
    for (int first = 1; cell; cell = step_on(&w), first = 0) {
        v = wide ? v + next_double(body) : (uint32_t)(v + next_float(body));
        if (first)
            keep(slot, FT_RAW_MODE, *last = v);
        cell->value = v;
    }
}

/* The modes of a group's float columns, two to a byte, low half first. */
typedef struct modes {
    const uint8_t *bytes;
    size_t next;
} modes;

static modes read_modes(ft_body *body, const ft_table *table, const uint8_t *types)
{
    size_t floats = 0;
    modes m = {.bytes = body->heads.at};
    for (size_t c = 0; c < table->columns; c++)
        floats += types[table->first + c] == FT_F32 || types[table->first + c] == FT_F64;
    if ((size_t)(body->heads.end - body->heads.at) < (floats + 1) / 2)
        ft_fail(&body->heads, body->heads.at, "has fewer modes than columns of floats");
    else
        body->heads.at += (floats + 1) / 2;
    return m;
}

static void read_float_column(ft_body *body, modes *m, walk w, ft_first *slot)
{
    const uint8_t *at = m->bytes + m->next / 2;
    uint32_t mode = *at >> 4 * (m->next % 2) & 0x0f;
    m->next++;
    if (mode > 1 + FT_MAX_DECIMALS)
        ft_fail(&body->heads, at, "a mode is not one that this reader knows");
    else if (mode == FT_RAW_MODE)
        read_patterns(body, w, slot);
    else
        read_numbers(body, w, slot, mode);
}

static void set_text(const ft_body *body, ft_sample *cell, const uint8_t *bytes, uint64_t n)
{
    cell->value = n ? (uint64_t)(bytes - body->start) : 0; /* where nothing is, there need be no stream */
    cell->part = (uint32_t)n;
}

static void read_texts(ft_body *body, walk w)
{
    for (ft_sample *cell = step_on(&w); cell && !body->steps.why; cell = step_on(&w)) {
        uint64_t n = unzigzag(take_varint(&body->steps));
        if ((uint64_t)(body->text.end - body->text.at) < n) {
            ft_fail(&body->steps, body->steps.at, "a text is longer than the bytes that are left");
            return;
        }
        set_text(body, cell, body->text.at, n);
        body->text.at += n;
    }
}

static void read_column(ft_body *body, uint8_t type, modes *m, walk w, ft_first *slot)
{
    if (type == FT_TEXT)
        read_texts(body, w);
    else if (type == FT_F32 || type == FT_F64)
        read_float_column(body, m, w, slot);
    else
        read_numbers(body, w, slot, FT_RAW_MODE);
}

/* ---- plain columns ---- */

static void plain_pattern(ft_reader *r, const ft_item *bin, walk w, unsigned width)
{
    ft_reader bits = {.at = bin->bytes, .end = bin->bytes + bin->count};
    if (bin->count != count_values(w) * width) {
        ft_fail(r, bin->bytes, "a bin of floats is not as long as its column");
        return;
    }
    for (ft_sample *cell = step_on(&w); cell; cell = step_on(&w))
        cell->value = ft_take_uint(&bits, width);
}

static void plain_value(ft_body *body, uint8_t type, ft_sample *cell, uint64_t *sum)
{
    ft_reader *r = &body->groups;
    const uint8_t *at = r->at;
    ft_item item = ft_take(r);
    if (type == FT_TEXT && (item.kind == FT_BIN || item.kind == FT_STR))
        set_text(body, cell, item.bytes, item.count);
    else if (type == FT_TEXT)
        ft_fail(r, at, "a text is not a bin");
    else if (type == FT_F32 || type == FT_F64)
        cell->value = item.bits;
    else
        cell->value = *sum += item.bits;
    if (type != FT_TEXT && item.kind != (type == FT_F32 ? FT_REAL32 : type == FT_F64 ? FT_REAL64 : FT_INT))
        ft_fail(r, at, "a value is not of its column's type");
}

static void plain_column(ft_body *body, uint8_t type, walk w)
{
    ft_reader *r = &body->groups;
    const uint8_t *at = r->at;
    uint64_t n = count_values(w), sum = 0;
    ft_item item = ft_take(r);
    if (item.kind == FT_BIN && (type == FT_F32 || type == FT_F64)) {
        plain_pattern(r, &item, w, type == FT_F32 ? 4 : 8);
        return;
    }
    if (item.kind != FT_ARRAY || item.count != n) {
        ft_fail(r, at, "a column is not an array of as many values as it has cells");
        return;
    }
    for (ft_sample *cell = step_on(&w); cell && !r->why; cell = step_on(&w))
        plain_value(body, type, cell, &sum);
}

static void plain_columns(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group,
                          ft_sample *cells)
{
    ft_reader *r = &body->groups;
    const uint8_t *at = r->at;
    size_t columns = ft_take_array(r, 0, "the columns are not an array");
    if (columns != table->columns)
        ft_fail(r, at, "has not as many columns as its schema");
    for (size_t c = 0; c < columns && !r->why; c++)
        plain_column(body, types[table->first + c], column_of(table, group, cells, c));
    group->items_left -= 2;
}

static void stream_columns(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group,
                           modes m, ft_first *firsts, ft_sample *cells)
{
    for (size_t c = 0; c < table->columns && !body->heads.why && !body->steps.why; c++)
        read_column(body, types[table->first + c], &m, column_of(table, group, cells, c), &firsts[table->twin + c]);
}

static int all_well(const ft_body *body, const ft_group *group, ft_fault *fault)
{
    const uint8_t *start = body->start;
    return ft_settle(&group->runs, start, fault) || ft_settle(&body->groups, start, fault) ||
           ft_settle(&body->heads, start, fault) || ft_settle(&body->steps, start, fault);
}

int ft_read_cells(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_first *firsts,
                  ft_sample *cells, ft_fault *fault)
{
    modes m = {0};
    if (!body->plain)
        m = read_modes(body, table, types);
    read_rows(body, table, types, group, cells);
    if (all_well(body, group, fault))
        return -1;
    read_qualities(group, cells);
    if (all_well(body, group, fault))
        return -1;
    if (body->plain)
        plain_columns(body, table, types, group, cells);
    else
        stream_columns(body, table, types, group, m, firsts, cells);
    for (; group->items_left > 0 && !body->groups.why; group->items_left--)
        ft_skip(&body->groups);
    return all_well(body, group, fault) ? -1 : 0;
}

/* ---- samples ---- */

static int is_text_value(const ft_sample *cell)
{
    return cell->type == FT_TEXT && ft_has_value(cell->quality);
}

static size_t pieces_of(const ft_sample *cell)
{
    return is_text_value(cell) && cell->part ? (cell->part + TEXT_PIECE - 1) / TEXT_PIECE : 1;
}

size_t ft_count_samples(const ft_sample *cells, size_t count)
{
    size_t samples = 0;
    for (size_t i = 0; i < count; i++)
        if (cells[i].type != FT_TYPE_COUNT)
            samples += pieces_of(&cells[i]);
    return samples;
}

static ft_sample *write_text(const uint8_t *text, const ft_sample *cell, ft_sample *out)
{
    size_t pieces = pieces_of(cell), left = cell->part;
    for (size_t i = 0; i < pieces; i++, text += TEXT_PIECE, left -= out[-1].detail) {
        *out = *cell;
        out->value = 0;
        out->detail = (uint8_t)(left < TEXT_PIECE ? left : TEXT_PIECE);
        out->part = (uint32_t)i | (i + 1 == pieces ? FT_TEXT_LAST : 0);
        if (out->detail)
            memcpy(&out->value, text, out->detail);
        out++;
    }
    return out;
}

void ft_write_samples(const uint8_t *body, const ft_sample *cells, size_t count, ft_sample *out)
{
    for (size_t i = 0; i < count; i++) {
        if (cells[i].type == FT_TYPE_COUNT)
            continue;
        if (is_text_value(&cells[i])) {
            out = write_text(body + cells[i].value, &cells[i], out);
            continue;
        }
        *out = cells[i];
        out++->part = cells[i].type == FT_TEXT ? FT_TEXT_LAST : 0;
    }
}
