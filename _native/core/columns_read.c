/* One body in, its samples out, table by table; whatever the bytes say, nothing outside them is touched. */
#include "core/columns_parts.h"

#define LONGEST_US (INT64_MAX / 1000) /* wall times beyond do not fit in nanoseconds */
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
    if (body->base_s > LONGEST_US / FT_US_PER_S || body->base_s < -(LONGEST_US / FT_US_PER_S))
        ft_fail(r, at, "the base time is beyond what nanoseconds can say");
    at = r->at;
    ft_item hashes = ft_take_bin(r, "the hashes are not a bin");
    if (hashes.count % FT_HASH_BYTES)
        ft_fail(r, at, "the hashes are not of 8 bytes each");
    if (hashes.count / FT_HASH_BYTES > FT_MAX_SCHEMAS)
        ft_fail(r, at, "names more than 4096 schemas");
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
    const ft_reader nothing = {.at = r.end, .end = r.end}; /* a stream that is left out */
    *body = (ft_body){.start = bytes, .heads = nothing, .steps = nothing, .text = nothing};
    size_t items = ft_take_array(&r, FT_LEAST_ITEMS, "the body is not an array of 5 or more");
    body->floats = read_planes(&r, 4, &body->float_count);
    body->doubles = read_planes(&r, 8, &body->double_count);
    read_base(&r, body);
    if (!r.why)
        read_rest(&r, body, items);
    if (!r.why && r.at != r.end)
        ft_fail(&r, r.at, "bytes follow the body");
    return ft_tell_fault(&r, bytes, fault);
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
    return ft_tell_fault(r, body->start, fault);
}

/* ---- rows and qualities ---- */

static uint64_t take_step(ft_body *body)
{
    if (body->plain)
        return (uint64_t)ft_take_int64(&body->groups, "a row's time is not an integer");
    return ft_take_varint(&body->heads);
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
    uint64_t now = (uint64_t)(body->base_s * FT_US_PER_S), step = 0;
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

/* ---- cells ---- */

static int all_well(const ft_body *body, const ft_group *group, ft_fault *fault)
{
    const uint8_t *start = body->start;
    return ft_tell_fault(&group->runs, start, fault) || ft_tell_fault(&body->groups, start, fault) ||
           ft_tell_fault(&body->heads, start, fault) || ft_tell_fault(&body->steps, start, fault);
}

int ft_read_cells(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_first *firsts,
                  ft_sample *cells, ft_fault *fault)
{
    ft_modes modes = {0};
    if (!body->plain)
        modes = ft_take_modes(body, table, types);
    read_rows(body, table, types, group, cells);
    if (all_well(body, group, fault))
        return -1;
    read_qualities(group, cells);
    if (all_well(body, group, fault))
        return -1;
    if (body->plain)
        ft_take_plain(body, table, types, group, cells);
    else
        ft_take_streams(body, table, types, group, modes, firsts, cells);
    for (; group->items_left > 0 && !body->groups.why; group->items_left--)
        ft_skip(&body->groups);
    return all_well(body, group, fault) ? -1 : 0;
}

/* ---- samples ---- */

static int is_text_value(const ft_sample *cell)
{
    return cell->type == FT_TEXT && ft_is_value(cell);
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
    for (size_t i = 0; i < pieces; i++, out++) {
        *out = *cell;
        out->value = 0;
        out->detail = (uint8_t)(left < TEXT_PIECE ? left : TEXT_PIECE);
        out->part = (uint32_t)i | (i + 1 == pieces ? FT_TEXT_LAST : 0);
        memcpy(&out->value, text + i * TEXT_PIECE, out->detail);
        left -= out->detail;
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
