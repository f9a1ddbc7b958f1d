/* Samples in, one message body out: tables of columns, made in a few passes over the samples and no allocation.
 *
 *   rows     every sample gets a row of its group's table: a new one when the time changes or the column is taken
 *   order    a counting sort brings the samples of a column together
 *   columns  numbers become varint deltas, full floats deltas of bit patterns in byte planes, text its bytes
 */
#include "core/columns.h"

#include <math.h>

#define NO_ROW UINT32_MAX      /* a piece of text that its first piece speaks for */
#define US_PER_S 1000000
#define MOST_VARINT 10         /* bytes of a 64-bit varint */
/* Decimals only while they are shorter than the mantissa they stand for: large full floats are multiples of 0.0001 by
 * chance, and as integers they would take more bytes than their bit patterns, whose upper bytes repeat. */
#define F32_MOST 1048576.0        /* 2^20 of 2^24 */
#define F64_MOST 70368744177664.0 /* 2^46 of 2^53 */

typedef struct state {
    const ft_layout *layout;
    const ft_encode_job *job;
    uint32_t *cells;        /* by column: how many samples ... */
    uint32_t *start;        /* ... from where in `order` ... */
    uint32_t *latest;       /* ... and 1 + the row of the latest */
    uint32_t *rows;         /* by table */
    uint32_t *row_start;    /* by table: from where in `times` */
    int64_t *now;           /* by table: time of its latest row */
    uint8_t *flagged;       /* by table: not every quality is good */
    uint32_t *first_group;  /* by schema: number of its first group in this body */
    uint32_t *row;          /* by sample */
    uint32_t *order;        /* samples by column, oldest first */
    uint32_t *by_row;       /* samples of one table by row */
    uint32_t *row_fill;     /* by row of one table */
    uint32_t *new_table;    /* rows in order of appearance: whose ... */
    int64_t *new_time;      /* ... and when */
    int64_t *times;         /* row times by table */
    uint64_t *values;       /* of one column */
    uint64_t *scaled;       /* the same as decimals */
    uint64_t *doubles;      /* full floats of all columns */
    uint32_t *floats;
    ft_first *firsts;
    uint32_t last_float;    /* first value of the full float column before this one: the next phase, often */
    uint64_t last_double;
    size_t new_count, float_count, double_count;
    uint32_t next_number;   /* of the group after the one that was written last */
    uint8_t *modes;                            /* of one table, two to a byte ... */
    size_t mode_count;                         /* ... and how many it has so far */
    uint8_t *heads, *steps, *text;             /* streams ... */
    uint8_t *heads_end, *steps_end, *text_end; /* ... and how far they are filled */
    int64_t base_s;
    ft_writer out;
} state;

/* ---- scratch ---- */

static void *carve(uint8_t *scratch, size_t *used, size_t bytes)
{
    void *at = scratch ? scratch + *used : NULL;
    *used += (bytes + 7) & ~(size_t)7;
    return at;
}

static size_t lay_out(state *s, const ft_layout *layout, size_t n, uint8_t *scratch)
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
    s->heads = s->heads_end = carve(scratch, &used, MOST_VARINT * (columns + n));
    s->steps = s->steps_end = carve(scratch, &used, MOST_VARINT * n);
    s->text = s->text_end = carve(scratch, &used, 8 * n);
    return used;
}

size_t ft_encode_scratch(const ft_layout *layout, size_t count)
{
    state s;
    return lay_out(&s, layout, count, NULL);
}

/* ---- rows and order ---- */

static int is_value(const ft_sample *sample)
{
    return ft_has_value(sample->quality);
}

/* Is this sample the next piece of the text that the one before it began? */
static int continues_text(const ft_sample *samples, size_t i)
{
    const ft_sample *now = &samples[i], *before = now - 1;
    return i > 0 && before->tag == now->tag && before->time_ns == now->time_ns &&
           before->quality == now->quality && is_value(now) && !(before->part & FT_TEXT_LAST) &&
           (now->part & ~FT_TEXT_LAST) == before->part + 1;
}

static void open_row(state *s, uint32_t table, int64_t time_ns)
{
    s->now[table] = time_ns;
    s->rows[table]++;
    s->new_table[s->new_count] = table;
    s->new_time[s->new_count++] = time_ns;
}

static int find_row(state *s, size_t i)
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

static int assign_rows(state *s, size_t *culprit)
{
    int code = FT_ENCODED;
    size_t i = 0;
    while (i < s->job->count && (code = find_row(s, i)) == FT_ENCODED)
        i++;
    *culprit = i;
    return code;
}

static void sort_by_column(state *s)
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

static void sort_times(state *s)
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

static int64_t wall_us(const state *s, int64_t time_ns)
{
    int64_t wall_ns = (int64_t)((uint64_t)time_ns + (uint64_t)s->job->offset_ns);
    return wall_ns / 1000 - (wall_ns % 1000 < 0);
}

/* ---- streams ---- */

static uint64_t zigzag(uint64_t delta)
{
    return (delta << 1) ^ (0 - (delta >> 63));
}

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    for (; v > 0x7f; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

/* The first value of the same column in the latest table of this shape, where it was written in the same mode, else
 * `otherwise`; ours takes its place. */
static uint64_t predict(ft_first *slot, uint32_t mode, uint64_t first, uint64_t otherwise)
{
    uint64_t predicted = slot->mode == mode + 1 ? slot->value : otherwise;
    slot->mode = mode + 1;
    slot->value = first;
    return predicted;
}

static void put_numbers(state *s, ft_first *slot, uint32_t mode, const uint64_t *values, size_t n)
{
    uint8_t *at = s->steps_end;
    s->heads_end = put_varint(s->heads_end, zigzag(values[0] - predict(slot, mode, values[0], 0)));
    for (size_t i = 1; i < n; i++)
        at = put_varint(at, zigzag(values[i] - values[i - 1]));
    s->steps_end = at;
}

static void put_floats(state *s, ft_first *slot, const uint64_t *values, size_t n)
{
    uint32_t *at = s->floats + s->float_count;
    uint32_t before = (uint32_t)predict(slot, FT_RAW_MODE, values[0], s->last_float);
    s->last_float = (uint32_t)values[0];
    for (size_t i = 0; i < n; i++) {
        uint32_t delta = (uint32_t)values[i] - before;
        at[i] = (delta << 1) ^ (0 - (delta >> 31));
        before = (uint32_t)values[i];
    }
    s->float_count += n;
}

static void put_doubles(state *s, ft_first *slot, const uint64_t *values, size_t n)
{
    uint64_t *at = s->doubles + s->double_count, before = predict(slot, FT_RAW_MODE, values[0], s->last_double);
    s->last_double = values[0];
    for (size_t i = 0; i < n; i++) {
        at[i] = zigzag(values[i] - before);
        before = values[i];
    }
    s->double_count += n;
}

/* ---- floats that are decimals ---- */

static double f32_value(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float v;
    memcpy(&v, &low, sizeof v);
    return (double)v;
}

static double f64_value(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static int64_t nearest(double v)
{
    return (int64_t)(v + (v < 0 ? -0.5 : 0.5));
}

/* `scaled` becomes values * 10^decimals where that is an integer that gives back every bit; else 0. */
static int scale_f32(const uint64_t *values, size_t n, unsigned decimals, uint64_t *scaled)
{
    for (size_t i = 0; i < n; i++) {
        double product = f32_value(values[i]) * FT_POWERS[decimals];
        if (!(fabs(product) < F32_MOST))
            return 0;
        int64_t integer = nearest(product);
        float back = (float)((double)integer / FT_POWERS[decimals]);
        uint32_t bits = (uint32_t)values[i];
        if (memcmp(&back, &bits, sizeof back) != 0)
            return 0;
        scaled[i] = (uint64_t)integer;
    }
    return 1;
}

static int scale_f64(const uint64_t *values, size_t n, unsigned decimals, uint64_t *scaled)
{
    for (size_t i = 0; i < n; i++) {
        double product = f64_value(values[i]) * FT_POWERS[decimals];
        if (!(fabs(product) < F64_MOST))
            return 0;
        int64_t integer = nearest(product);
        double back = (double)integer / FT_POWERS[decimals];
        if (memcmp(&back, &values[i], sizeof back) != 0)
            return 0;
        scaled[i] = (uint64_t)integer;
    }
    return 1;
}

static int scale(state *s, uint32_t type, size_t n, unsigned decimals)
{
    return type == FT_F32 ? scale_f32(s->values, n, decimals, s->scaled) : scale_f64(s->values, n, decimals, s->scaled);
}

/* The fewest decimals that do; but those of the column's twin if they do, so that its first value predicts ours. */
static uint32_t pick_mode(state *s, uint32_t type, const ft_first *slot, size_t n)
{
    uint32_t twin = slot->mode > 1 ? slot->mode - 1 : FT_RAW_MODE;
    if (twin != FT_RAW_MODE && scale(s, type, n, twin - 1))
        return twin;
    for (unsigned decimals = 0; decimals <= FT_MAX_DECIMALS; decimals++)
        if (scale(s, type, n, decimals))
            return 1 + decimals;
    return FT_RAW_MODE;
}

/* ---- columns ---- */

static size_t text_piece(const ft_sample *piece, uint8_t *out)
{
    size_t n = piece->detail < 8 ? piece->detail : 8;
    memcpy(out, &piece->value, n);
    return n;
}

/* The bytes of the text that begins with sample i, appended to `out`. */
static size_t gather_text(const state *s, size_t i, uint8_t *out)
{
    const ft_sample *samples = s->job->samples;
    size_t n = text_piece(&samples[i], out);
    while (++i < s->job->count && samples[i].type == FT_TEXT && continues_text(samples, i))
        n += text_piece(&samples[i], out + n);
    return n;
}

static void put_texts(state *s, const uint32_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_value(&s->job->samples[order[i]]))
            continue;
        size_t bytes = gather_text(s, order[i], s->text_end);
        s->text_end += bytes;
        s->steps_end = put_varint(s->steps_end, zigzag(bytes));
    }
}

static size_t gather_values(state *s, const uint32_t *order, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const ft_sample *sample = &s->job->samples[order[i]];
        if (is_value(sample))
            s->values[count++] = sample->value;
    }
    return count;
}

static void put_float_column(state *s, uint32_t type, ft_first *slot, size_t n)
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
static void open_modes(state *s, const ft_table *table)
{
    size_t floats = 0;
    for (uint32_t c = 0; c < table->columns; c++)
        floats += s->layout->types[table->first + c] == FT_F32 || s->layout->types[table->first + c] == FT_F64;
    s->modes = s->heads_end;
    s->mode_count = 0;
    s->heads_end += (floats + 1) / 2;
    memset(s->modes, 0, (floats + 1) / 2);
}

static void put_columns(state *s, const ft_table *table)
{
    for (uint32_t c = 0; c < table->columns; c++) {
        size_t at = table->first + c;
        const uint32_t *order = s->order + s->start[at];
        uint32_t type = s->layout->types[at];
        if (type == FT_TEXT) {
            put_texts(s, order, s->cells[at]);
            continue;
        }
        size_t n = gather_values(s, order, s->cells[at]);
        if (type == FT_F32 || type == FT_F64)
            put_float_column(s, type, &s->firsts[table->twin + c], n);
        else if (n)
            put_numbers(s, &s->firsts[table->twin + c], FT_RAW_MODE, s->values, n);
    }
}

static void put_times(state *s, size_t t)
{
    int64_t before = s->base_s * US_PER_S, step = 0;
    for (uint32_t r = 0; r < s->rows[t]; r++) {
        int64_t now = wall_us(s, s->times[s->row_start[t] + r]);
        s->heads_end = put_varint(s->heads_end, zigzag((uint64_t)now - (uint64_t)before - (uint64_t)step));
        step = (int64_t)((uint64_t)now - (uint64_t)before);
        before = now;
    }
}

/* ---- the plain format's columns ---- */

static void plain_times(state *s, size_t t)
{
    int64_t before = s->base_s * US_PER_S, step = 0;
    ft_put_array(&s->out, s->rows[t]);
    for (uint32_t r = 0; r < s->rows[t]; r++) {
        int64_t now = wall_us(s, s->times[s->row_start[t] + r]);
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

static void plain_integers(state *s, uint32_t type, size_t n)
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
static void plain_floats(state *s, uint32_t type, size_t n)
{
    unsigned width = type == FT_F32 ? 4 : 8;
    int nan = 0;
    for (size_t i = 0; i < n && !nan; i++)
        nan = isnan(type == FT_F32 ? f32_value(s->values[i]) : f64_value(s->values[i]));
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

static void plain_texts(state *s, const uint32_t *order, size_t n)
{
    size_t count = gather_values(s, order, n);
    ft_put_array(&s->out, count);
    for (size_t i = 0; i < n; i++)
        if (is_value(&s->job->samples[order[i]]))
            ft_put_bin(&s->out, s->text, gather_text(s, order[i], s->text));
}

static void plain_columns(state *s, const ft_table *table)
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
        size_t n = gather_values(s, order, s->cells[at]);
        if (type == FT_F32 || type == FT_F64)
            plain_floats(s, type, n);
        else
            plain_integers(s, type, n);
    }
}

/* ---- groups ---- */

static size_t present_cells(const state *s, const ft_table *table)
{
    size_t present = 0;
    for (uint32_t c = 0; c < table->columns; c++)
        present += s->cells[table->first + c];
    return present;
}

/* A bit for every cell that is there, row by row, least significant bit first; nil when all are. */
static void put_missing(state *s, size_t t, size_t present)
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

static void sort_by_row(state *s, size_t t, const uint32_t *samples, size_t n)
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
    int counts_text = sample->type == FT_TEXT && is_value(sample);
    return sample->quality * 256u + (counts_text ? 0u : sample->detail);
}

static size_t same_verdict(const state *s, size_t from, size_t n)
{
    const ft_sample *samples = s->job->samples;
    size_t to = from + 1;
    while (to < n && verdict(&samples[s->by_row[to]]) == verdict(&samples[s->by_row[from]]))
        to++;
    return to;
}

/* quality, detail, count, ... of the cells that are there, row by row; nil when all are good. */
static void put_runs(state *s, size_t t, size_t present)
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
static void put_group_head(state *s, size_t t, uint32_t number)
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

static void put_group(state *s, size_t t)
{
    const ft_table *table = &s->layout->tables[t];
    uint32_t number = s->first_group[table->schema] + table->number;
    put_group_head(s, t, number);
    s->next_number = number + 1;
    if (s->job->plain) {
        plain_times(s, t);
        plain_columns(s, table);
    } else {
        open_modes(s, table);
        put_times(s, t);
        put_columns(s, table);
    }
}

static void put_groups(state *s)
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
static void put_hashes(state *s)
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
static void float_planes(const state *s, uint8_t *out)
{
    for (unsigned shift = 0; shift < 32; shift += 8)
        for (size_t i = 0; i < s->float_count; i++)
            *out++ = (uint8_t)(s->floats[i] >> shift);
}

static void double_planes(const state *s, uint8_t *out)
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

static void put_planes_head(state *s, size_t bytes)
{
    if (bytes)
        ft_put_bin_head(&s->out, bytes);
    else
        ft_put_nil(&s->out);
}

/* The planes and what stands before them; gives how many bytes from `start` on are noise. */
static size_t put_planes(state *s, const uint8_t *start, size_t items)
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

static void put_stream(state *s, const uint8_t *stream, const uint8_t *end)
{
    if (end == stream)
        ft_put_nil(&s->out);
    else
        ft_put_bin(&s->out, stream, (size_t)(end - stream));
}

static void put_base(state *s)
{
    ft_put_int(&s->out, s->base_s);
    put_hashes(s);
    put_groups(s);
}

/* How many of a body's items are there: empty ones at its end are left out. */
static size_t count_items(const state *s)
{
    if (s->job->extra_bytes)
        return FT_BODY_ITEMS;
    if (s->text_end > s->text)
        return FT_BODY_ITEMS - 2;
    if (s->steps_end > s->steps)
        return FT_BODY_ITEMS - 3;
    return s->heads_end > s->heads ? FT_BODY_ITEMS - 4 : FT_LEAST_ITEMS;
}

static void put_rest(state *s, size_t items)
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
static size_t put_items(state *s)
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

static uint64_t count_cells(const state *s)
{
    uint64_t cells = 0;
    for (size_t t = 0; t < s->layout->table_count; t++)
        cells += (uint64_t)s->rows[t] * s->layout->tables[t].columns;
    return cells;
}

static int put_body(state *s, uint8_t *out, size_t room, ft_encoded *result)
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
    state s = {.layout = layout, .job = job};
    *result = (ft_encoded){0};
    if (job->count > FT_MAX_CELLS)
        return FT_TOO_MANY;
    lay_out(&s, layout, job->count, scratch);
    int code = assign_rows(&s, &result->culprit);
    if (code != FT_ENCODED)
        return code;
    if (count_cells(&s) > FT_MAX_CELLS)
        return FT_TOO_MANY;
    sort_by_column(&s);
    sort_times(&s);
    s.base_s = job->count ? wall_us(&s, job->samples[0].time_ns) / US_PER_S : 0;
    return put_body(&s, out, room, result);
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
