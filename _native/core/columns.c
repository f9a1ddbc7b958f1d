/* Samples in, one message body out: the tables that core/columns_tables.c makes of them, as groups and streams. */
#include "core/columns_parts.h"

/* ---- groups ---- */

static size_t present_cells(const ft_encoder *s, const ft_table *table)
{
    size_t present = 0;
    for (uint32_t c = 0; c < table->columns; c++)
        present += s->cells[table->first + c];
    return present;
}

/* A bit for every cell that is there, row by row, least significant bit first; nil when all are. */
static void put_missing(ft_encoder *s, size_t t, size_t present)
{
    const ft_table *table = &s->layout->tables[t];
    size_t cells = (size_t)s->rows[t] * table->columns, bytes = (cells + 7) / 8;
    if (present == cells) {
        ft_put_nil(&s->out);
        return;
    }
    ft_put_bin_head(&s->out, bytes);
    uint8_t *bits = ft_put_room(&s->out, bytes);
    if (!bits)
        return;
    memset(bits, 0, bytes);
    for (uint32_t c = 0; c < table->columns; c++)
        for (uint32_t i = 0; i < s->cells[table->first + c]; i++) {
            size_t cell = (size_t)s->row[s->order[s->start[table->first + c] + i]] * table->columns + c;
            bits[cell / 8] |= (uint8_t)(1u << cell % 8);
        }
}

static void sort_by_row(ft_encoder *s, size_t t, const uint32_t *samples, size_t n)
{
    memset(s->row_fill, 0, 4 * ((size_t)s->rows[t] + 1));
    for (size_t i = 0; i < n; i++)
        s->row_fill[s->row[samples[i]] + 1]++;
    for (uint32_t r = 0; r < s->rows[t]; r++)
        s->row_fill[r + 1] += s->row_fill[r];
    for (size_t i = 0; i < n; i++)
        s->by_row[s->row_fill[s->row[samples[i]]]++] = samples[i];
}

static unsigned verdict(const ft_sample *sample)
{
    int counts_text = sample->type == FT_TEXT && ft_is_value(sample);
    return sample->quality * 256u + (counts_text ? 0u : sample->detail);
}

static size_t same_verdict(const ft_encoder *s, size_t from, size_t n)
{
    const ft_sample *samples = s->job->samples;
    size_t to = from + 1;
    while (to < n && verdict(&samples[s->by_row[to]]) == verdict(&samples[s->by_row[from]]))
        to++;
    return to;
}

/* quality, detail, count, ... of the cells that are there, row by row; nil when all are good. */
static void put_runs(ft_encoder *s, size_t t, size_t present)
{
    if (!s->flagged[t]) {
        ft_put_nil(&s->out);
        return;
    }
    size_t runs = 0;
    sort_by_row(s, t, s->order + s->start[s->layout->tables[t].first], present);
    for (size_t i = 0; i < present; i = same_verdict(s, i, present))
        runs++;
    ft_put_array(&s->out, 3 * runs);
    for (size_t i = 0; i < present;) {
        unsigned what = verdict(&s->job->samples[s->by_row[i]]);
        size_t to = same_verdict(s, i, present);
        ft_put_uint(&s->out, what / 256);
        ft_put_uint(&s->out, what % 256);
        ft_put_uint(&s->out, to - i);
        i = to;
    }
}

/* What stands in the list of groups; a bare number of rows for the next group when it is whole and good. */
static void put_group_head(ft_encoder *s, size_t t, uint32_t number)
{
    size_t present = present_cells(s, &s->layout->tables[t]);
    int whole = present == (size_t)s->rows[t] * s->layout->tables[t].columns && !s->flagged[t];
    if (whole && number == s->next_number && !s->job->plain) {
        ft_put_uint(&s->out, s->rows[t]);
        return;
    }
    ft_put_array(&s->out, s->job->plain ? FT_PLAIN_GROUP_ITEMS : FT_GROUP_ITEMS);
    ft_put_uint(&s->out, number);
    ft_put_uint(&s->out, s->rows[t]);
    put_missing(s, t, present);
    put_runs(s, t, present);
}

static void put_group(ft_encoder *s, size_t t)
{
    const ft_table *table = &s->layout->tables[t];
    uint32_t number = s->first_group[table->schema] + table->number;
    put_group_head(s, t, number);
    s->next_number = number + 1;
    if (s->job->plain)
        ft_put_plain(s, t);
    else
        ft_put_streams(s, t);
}

static void put_groups(ft_encoder *s)
{
    size_t groups = 0;
    for (size_t t = 0; t < s->layout->table_count; t++)
        groups += s->rows[t] > 0;
    ft_put_array(&s->out, groups);
    for (size_t t = 0; t < s->layout->table_count; t++)
        if (s->rows[t])
            put_group(s, t);
}

/* The hashes of the schemas that are used, and where their groups' numbers begin. */
static void put_hashes(ft_encoder *s)
{
    const ft_layout *layout = s->layout;
    uint32_t used = 0, groups = 0;
    memset(s->first_group, 0xff, 4 * layout->schema_count);
    for (size_t t = 0; t < layout->table_count; t++)
        if (s->rows[t])
            s->first_group[layout->tables[t].schema] = 0;
    for (size_t i = 0; i < layout->schema_count; i++)
        used += s->first_group[i] == 0;
    ft_put_bin_head(&s->out, used * FT_HASH_BYTES);
    for (size_t i = 0; i < layout->schema_count; i++) {
        if (s->first_group[i] != 0)
            continue;
        s->first_group[i] = groups;
        groups += layout->schema_groups[i];
        ft_put_bytes(&s->out, layout->hashes + i * FT_HASH_BYTES, FT_HASH_BYTES);
    }
}

/* ---- the body ---- */

/* Byte planes, the least significant first: noise together, then what compresses. */
static void float_planes(const ft_encoder *s, uint8_t *out)
{
    for (unsigned shift = 0; shift < 32; shift += 8)
        for (size_t i = 0; i < s->float_count; i++)
            *out++ = (uint8_t)(s->floats[i] >> shift);
}

static void double_planes(const ft_encoder *s, uint8_t *out)
{
    for (unsigned shift = 0; shift < 64; shift += 8)
        for (size_t i = 0; i < s->double_count; i++)
            *out++ = (uint8_t)(s->doubles[i] >> shift);
}

/* Noise: two bytes picked at random are equal about as seldom as in random bytes (7 bits of entropy or more). */
static int is_noise(const uint8_t *bytes, size_t n)
{
    uint32_t seen[256] = {0};
    uint64_t pairs = 0;
    for (size_t i = 0; i < n; i++)
        pairs += seen[bytes[i]]++;
    return pairs <= (uint64_t)n * n / 256;
}

static size_t noisy_prefix(const uint8_t *planes, size_t plane_bytes, size_t count)
{
    size_t noisy = 0;
    while (plane_bytes && noisy < count && is_noise(planes + noisy * plane_bytes, plane_bytes))
        noisy++;
    return noisy * plane_bytes;
}

/* Bytes of planes with their head. */
static size_t planes_bytes(size_t n)
{
    return n + (n == 0 ? 1 : n <= UINT8_MAX ? 2 : n <= UINT16_MAX ? 3 : 5);
}

static void put_planes_head(ft_encoder *s, size_t bytes)
{
    if (bytes)
        ft_put_bin_head(&s->out, bytes);
    else
        ft_put_nil(&s->out);
}

/* The planes and what stands before them; gives how many bytes from `start` on are noise. */
static size_t put_planes(ft_encoder *s, const uint8_t *start, size_t items)
{
    ft_put_array(&s->out, items);
    put_planes_head(s, 4 * s->float_count);
    uint8_t *floats = ft_put_room(&s->out, 4 * s->float_count);
    put_planes_head(s, 8 * s->double_count);
    uint8_t *doubles = ft_put_room(&s->out, 8 * s->double_count);
    if (!floats || !doubles)
        return 0;
    float_planes(s, floats);
    double_planes(s, doubles);
    size_t noise = noisy_prefix(floats, s->float_count, 4), more = 0;
    if (noise == 4 * s->float_count)
        more = noisy_prefix(doubles, s->double_count, 8);
    if (more)
        return (size_t)(doubles - start) + more;
    return noise ? (size_t)(floats - start) + noise : 0;
}

static void put_stream(ft_encoder *s, const uint8_t *stream, const uint8_t *end)
{
    if (end == stream)
        ft_put_nil(&s->out);
    else
        ft_put_bin(&s->out, stream, (size_t)(end - stream));
}

static void put_base(ft_encoder *s)
{
    ft_put_int(&s->out, s->base_s);
    put_hashes(s);
    put_groups(s);
}

/* How many of a body's items are there: empty ones at its end are left out. */
static size_t count_items(const ft_encoder *s)
{
    if (s->job->extra_bytes)
        return FT_BODY_ITEMS;
    if (s->text_end > s->text)
        return FT_BODY_ITEMS - 2;
    if (s->steps_end > s->steps)
        return FT_BODY_ITEMS - 3;
    return s->heads_end > s->heads ? FT_BODY_ITEMS - 4 : FT_LEAST_ITEMS;
}

static void put_rest(ft_encoder *s, size_t items)
{
    if (items > FT_LEAST_ITEMS)
        put_stream(s, s->heads, s->heads_end);
    if (items > FT_LEAST_ITEMS + 1)
        put_stream(s, s->steps, s->steps_end);
    if (items > FT_LEAST_ITEMS + 2)
        put_stream(s, s->text, s->text_end);
    ft_put_bytes(&s->out, s->job->extra, s->job->extra_bytes);
}

/* The body begins with the planes, so that its noise is in one piece that a compressor can be spared. The groups
 * come after them but fill them: they are written first, and moved (a few dozen bytes). */
static size_t put_items(ft_encoder *s)
{
    uint8_t *start = s->out.at;
    put_base(s);
    size_t moved = (size_t)(s->out.at - start), items = count_items(s);
    size_t planes = 1 + planes_bytes(4 * s->float_count) + planes_bytes(8 * s->double_count);
    if (!ft_put_room(&s->out, planes))
        return 0;
    memmove(start + planes, start, moved);
    ft_writer end = s->out;
    s->out.at = start;
    size_t noise = put_planes(s, start, items);
    s->out.at = end.at;
    put_rest(s, items);
    return noise;
}

static int put_body(ft_encoder *s, uint8_t *out, size_t room, ft_encoded *result)
{
    size_t most = room < FT_MAX_BODY_BYTES ? room : FT_MAX_BODY_BYTES;
    s->out = (ft_writer){.at = out, .end = out + most};
    result->noise = put_items(s);
    result->numeric = s->text_end == s->text && !s->job->extra_bytes && !s->job->plain;
    result->bytes = (size_t)(s->out.at - out);
    if (!s->out.full)
        return FT_ENCODED;
    return room < FT_MAX_BODY_BYTES ? FT_MORE_ROOM : FT_TOO_MANY;
}

int ft_encode(const ft_layout *layout, const ft_encode_job *job, void *scratch, uint8_t *out, size_t room,
              ft_encoded *result)
{
    ft_encoder s = {.layout = layout, .job = job};
    *result = (ft_encoded){0};
    if (job->count > FT_MAX_CELLS)
        return FT_TOO_MANY;
    ft_lay_out(&s, layout, job->count, scratch);
    int code = ft_fill_tables(&s, &result->culprit);
    return code == FT_ENCODED ? put_body(&s, out, room, result) : code;
}
