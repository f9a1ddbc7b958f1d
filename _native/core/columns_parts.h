/* What the units that make and read a body share with each other; core/columns.h is what they offer. */
#ifndef FT_COLUMNS_PARTS_H
#define FT_COLUMNS_PARTS_H

#include "core/columns.h"
#include "core/varint.h"

#define FT_US_PER_S 1000000

/* ---- writing ---- */

/* A body in the making; all arrays are in the caller's scratch memory. */
typedef struct ft_encoder {
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
} ft_encoder;

/* columns_tables.c */
size_t ft_lay_out(ft_encoder *s, const ft_layout *layout, size_t n, uint8_t *scratch);
int ft_fill_tables(ft_encoder *s, size_t *culprit); /* an enum ft_encode_result */
int64_t ft_wall_us(const ft_encoder *s, int64_t time_ns);
size_t ft_gather_values(ft_encoder *s, const uint32_t *order, size_t n);
size_t ft_gather_text(const ft_encoder *s, size_t i, uint8_t *out);

static inline int ft_is_value(const ft_sample *sample)
{
    return ft_has_value(sample->quality);
}

static inline int ft_is_float(uint32_t type)
{
    return type == FT_F32 || type == FT_F64;
}

/* columns_streams.c and columns_plain.c */
void ft_put_streams(ft_encoder *s, size_t table);
void ft_put_plain(ft_encoder *s, size_t table);

/* ---- reading ---- */

/* The cells of one column that carry a value, one after the other. */
typedef struct ft_walk {
    ft_sample *next;
    ft_sample *end;
    size_t stride;
} ft_walk;

static inline ft_sample *ft_step_on(ft_walk *w)
{
    while (w->next < w->end) {
        ft_sample *cell = w->next;
        w->next = (size_t)(w->end - cell) > w->stride ? cell + w->stride : w->end;
        if (cell->type != FT_TYPE_COUNT && ft_is_value(cell))
            return cell;
    }
    return NULL;
}

static inline ft_walk ft_column_of(const ft_table *table, const ft_group *group, ft_sample *cells, size_t column)
{
    return (ft_walk){
        .next = cells + (group->cells ? column : 0), .end = cells + group->cells, .stride = table->columns};
}

static inline uint64_t ft_count_values(ft_walk w)
{
    uint64_t n = 0;
    while (ft_step_on(&w))
        n++;
    return n;
}

/* A text's cell says where its bytes are in the body, and how many. */
static inline void ft_set_text(const ft_body *body, ft_sample *cell, const uint8_t *bytes, uint64_t n)
{
    cell->value = n ? (uint64_t)(bytes - body->start) : 0; /* where nothing is, there need be no stream */
    cell->part = (uint32_t)n;
}

/* The modes of a group's float columns, two to a byte, low half first. */
typedef struct ft_modes {
    const uint8_t *bytes;
    size_t next;
} ft_modes;

/* columns_streams.c and columns_plain.c; what is wrong is kept in the body's readers */
ft_modes ft_take_modes(ft_body *body, const ft_table *table, const uint8_t *types);
void ft_take_streams(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_modes modes,
                     ft_first *firsts, ft_sample *cells);
void ft_take_plain(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_sample *cells);

#endif
