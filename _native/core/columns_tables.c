/* Samples in, tables out: each in the row of its instant and the column of its tag, a counting sort and no allocation.
 *
 *   rows     every sample gets a row of its group's table: a new one when the time changes or the column is taken
 *   order    a counting sort brings the samples of a column together
 */
#include "core/columns_parts.h"

#define NO_ROW UINT32_MAX /* a piece of text that its first piece speaks for */

/* ---- scratch ---- */

static void *carve(uint8_t *scratch, size_t *used, size_t bytes)
{
    void *at = scratch ? scratch + *used : NULL;
    *used += (bytes + 7) & ~(size_t)7;
    return at;
}

size_t ft_lay_out(ft_encoder *s, const ft_layout *layout, size_t n, uint8_t *scratch)
{
    size_t used = 0, columns = layout->column_count, tables = layout->table_count;
    s->cells = carve(scratch, &used, 4 * columns);
    s->latest = carve(scratch, &used, 4 * columns);
    s->rows = carve(scratch, &used, 4 * tables);
    s->flagged = carve(scratch, &used, tables);
    s->firsts = carve(scratch, &used, sizeof(ft_first) * columns);
    size_t zeroed = used;
    if (scratch)
        memset(scratch, 0, zeroed);
    s->start = carve(scratch, &used, 4 * columns);
    s->row_start = carve(scratch, &used, 4 * tables);
    s->now = carve(scratch, &used, 8 * tables);
    s->first_group = carve(scratch, &used, 4 * layout->schema_count);
    s->row = carve(scratch, &used, 4 * n);
    s->order = carve(scratch, &used, 4 * n);
    s->by_row = carve(scratch, &used, 4 * n);
    s->row_fill = carve(scratch, &used, 4 * (n + 1));
    s->new_table = carve(scratch, &used, 4 * n);
    s->new_time = carve(scratch, &used, 8 * n);
    s->times = carve(scratch, &used, 8 * n);
    s->values = carve(scratch, &used, 8 * n);
    s->scaled = carve(scratch, &used, 8 * n);
    s->doubles = carve(scratch, &used, 8 * n);
    s->floats = carve(scratch, &used, 4 * n);
    /* The modes fit, too: a column of floats has at most half a byte of them, and a first value of 8 at most. */
    s->heads = s->heads_end = carve(scratch, &used, FT_MOST_VARINT * (columns + n));
    s->steps = s->steps_end = carve(scratch, &used, FT_MOST_VARINT * n);
    s->text = s->text_end = carve(scratch, &used, 8 * n);
    return used;
}

size_t ft_encode_scratch(const ft_layout *layout, size_t count)
{
    ft_encoder s;
    return ft_lay_out(&s, layout, count, NULL);
}

/* ---- rows and order ---- */

/* Is this sample the next piece of the text that the one before it began? */
static int continues_text(const ft_sample *samples, size_t i)
{
    if (i == 0)
        return 0;
    const ft_sample *now = &samples[i], *before = &samples[i - 1];
    return before->tag == now->tag && before->time_ns == now->time_ns &&
           before->quality == now->quality && ft_is_value(now) && !(before->part & FT_TEXT_LAST) &&
           (now->part & ~FT_TEXT_LAST) == before->part + 1;
}

static void open_row(ft_encoder *s, uint32_t table, int64_t time_ns)
{
    s->now[table] = time_ns;
    s->rows[table]++;
    s->new_table[s->new_count] = table;
    s->new_time[s->new_count++] = time_ns;
}

static int find_row(ft_encoder *s, size_t i)
{
    const ft_sample *sample = &s->job->samples[i];
    if (sample->tag >= s->layout->tag_count)
        return FT_UNKNOWN_TAG;
    const ft_column *column = &s->layout->tags[sample->tag];
    if (column->type != sample->type)
        return FT_WRONG_TYPE;
    s->row[i] = NO_ROW;
    if (sample->type == FT_TEXT && continues_text(s->job->samples, i))
        return FT_ENCODED;
    uint32_t table = column->group, at = column->place, row = s->rows[table];
    if (row == 0 || s->now[table] != sample->time_ns || s->latest[at] == row) {
        open_row(s, table, sample->time_ns);
        row++;
    }
    s->latest[at] = row;
    s->row[i] = row - 1;
    s->cells[at]++;
    s->flagged[table] |= sample->quality;
    return FT_ENCODED;
}

static int assign_rows(ft_encoder *s, size_t *culprit)
{
    int code = FT_ENCODED;
    size_t i = 0;
    while (i < s->job->count && (code = find_row(s, i)) == FT_ENCODED)
        i++;
    *culprit = i;
    return code;
}

static void sort_by_column(ft_encoder *s)
{
    const ft_sample *samples = s->job->samples;
    const ft_column *tags = s->layout->tags;
    uint32_t sum = 0, *next = s->latest; /* which has done its work */
    for (size_t c = 0; c < s->layout->column_count; c++) {
        s->start[c] = next[c] = sum;
        sum += s->cells[c];
    }
    for (size_t i = 0; i < s->job->count; i++)
        if (s->row[i] != NO_ROW)
            s->order[next[tags[samples[i].tag].place]++] = (uint32_t)i;
}

static void sort_times(ft_encoder *s)
{
    uint32_t sum = 0;
    for (size_t t = 0; t < s->layout->table_count; t++) {
        s->row_start[t] = sum;
        sum += s->rows[t];
        s->rows[t] = 0;
    }
    for (size_t i = 0; i < s->new_count; i++) {
        uint32_t table = s->new_table[i];
        s->times[s->row_start[table] + s->rows[table]++] = s->new_time[i];
    }
}

static uint64_t count_cells(const ft_encoder *s)
{
    uint64_t cells = 0;
    for (size_t t = 0; t < s->layout->table_count; t++)
        cells += (uint64_t)s->rows[t] * s->layout->tables[t].columns;
    return cells;
}

int ft_fill_tables(ft_encoder *s, size_t *culprit)
{
    int code = assign_rows(s, culprit);
    if (code != FT_ENCODED)
        return code;
    if (count_cells(s) > FT_MAX_CELLS)
        return FT_TOO_MANY;
    sort_by_column(s);
    sort_times(s);
    s->base_s = s->job->count ? ft_wall_us(s, s->job->samples[0].time_ns) / FT_US_PER_S : 0;
    return FT_ENCODED;
}

/* ---- what is in them ---- */

int64_t ft_wall_us(const ft_encoder *s, int64_t time_ns)
{
    int64_t wall_ns = (int64_t)((uint64_t)time_ns + (uint64_t)s->job->offset_ns);
    return wall_ns / 1000 - (wall_ns % 1000 < 0);
}

static size_t text_piece(const ft_sample *piece, uint8_t *out)
{
    size_t n = piece->detail < 8 ? piece->detail : 8;
    memcpy(out, &piece->value, n);
    return n;
}

/* The bytes of the text that begins with sample i, appended to `out`. */
size_t ft_gather_text(const ft_encoder *s, size_t i, uint8_t *out)
{
    const ft_sample *samples = s->job->samples;
    size_t n = text_piece(&samples[i], out);
    while (++i < s->job->count && samples[i].type == FT_TEXT && continues_text(samples, i))
        n += text_piece(&samples[i], out + n);
    return n;
}

size_t ft_gather_values(ft_encoder *s, const uint32_t *order, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const ft_sample *sample = &s->job->samples[order[i]];
        if (ft_is_value(sample))
            s->values[count++] = sample->value;
    }
    return count;
}

size_t ft_split(const ft_sample *samples, size_t count, size_t near)
{
    for (size_t i = near; i > 0 && i < count; i++)
        if (samples[i].time_ns != samples[i - 1].time_ns || samples[i].group != samples[i - 1].group)
            return i;
    for (size_t i = near; i > 0; i--)
        if (i < count && (samples[i].time_ns != samples[i - 1].time_ns || samples[i].group != samples[i - 1].group))
            return i;
    return 0;
}
