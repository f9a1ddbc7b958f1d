/* Batches: samples in, a message body out, and back. docs/FORMAT.md draws every byte; here is how it is made.
 *
 * Writing: ft_encode() takes samples in any order, sorts them into tables (one per group of tags that are read
 * together: rows are instants, columns are tags) and writes one body. It allocates nothing: the caller brings
 * scratch memory and room for the body, and brings more when it is told FT_MORE_ROOM.
 *
 * Reading: ft_read_body() finds the parts of what core/envelope.h found in a message, ft_read_group() fills one table
 * at a time, ft_write_samples() turns it into samples. All of them stay inside the bytes they are given, whatever these
 * say. */
#ifndef FT_COLUMNS_H
#define FT_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

#include "core/decimals.h"
#include "core/envelope.h"
#include "core/mpack.h"
#include "core/sample.h"

#define FT_HASH_BYTES 8
#define FT_LEAST_ITEMS 5                   /* of a body's array: up to the groups ... */
#define FT_BODY_ITEMS 10                   /* ... and with streams, gaps and schemas */
#define FT_GROUP_ITEMS 4                   /* of a group's array: its head ... */
#define FT_PLAIN_GROUP_ITEMS 6             /* ... and with its columns */
#define FT_RAW_MODE 0                      /* a float column's mode: 0 bit patterns, else 1 + decimals */
#define FT_MAX_CELLS ((size_t)1 << 20)     /* rows x columns of one body: bounds what a reader must hold (32 MiB) */
#define FT_MAX_SCHEMAS ((size_t)4096)      /* that one body names: bounds what a reader says is missing */
#define FT_MAX_BODY_BYTES ((size_t)1 << 23) /* of one body, inflated: the same bound for its bytes */

enum ft_encode_result {
    FT_ENCODED = 0,
    FT_MORE_ROOM = -1,     /* `out` is too small */
    FT_UNKNOWN_TAG = -2,   /* `culprit` is a sample whose tag is not in the table */
    FT_WRONG_TYPE = -3,    /* `culprit` is a sample that is not of its tag's type */
    FT_TOO_MANY = -4,      /* more than FT_MAX_CELLS or FT_MAX_BODY_BYTES: split the samples */
};

/* One tag's column. 12 bytes: struct format "=III". */
typedef struct ft_column {
    uint32_t group; /* index of its table: every tag has one home */
    uint32_t place; /* position in the row of all columns */
    uint32_t type;  /* enum ft_type */
} ft_column;

/* One group's table. 20 bytes: struct format "=IIIII". */
typedef struct ft_table {
    uint32_t first;   /* its columns are columns first .. first + columns when all groups stand in a row */
    uint32_t columns;
    uint32_t twin;    /* where its shape's first values start: groups with equal lists of types share them */
    uint32_t schema;  /* which schema describes it ... */
    uint32_t number;  /* ... and its position there */
} ft_table;

/* What a gateway's batches look like; made once, read-only afterwards. */
typedef struct ft_layout {
    const ft_column *tags; /* by tag number */
    size_t tag_count;
    const uint8_t *types;  /* by position in the row of all columns */
    size_t column_count;
    const ft_table *tables;
    size_t table_count;
    const uint8_t *hashes; /* FT_HASH_BYTES each, by schema */
    const uint32_t *schema_groups; /* how many groups each schema describes */
    size_t schema_count;
} ft_layout;

typedef struct ft_encode_job {
    const ft_sample *samples;
    size_t count;
    int64_t offset_ns;    /* wall time = sample time + offset_ns */
    int plain;
    const uint8_t *extra; /* gaps and schemas: two msgpack items, or nothing */
    size_t extra_bytes;
} ft_encode_job;

typedef struct ft_encoded {
    size_t bytes;   /* of the body */
    size_t noise;   /* so many bytes at its start are noise that no compressor shrinks */
    size_t culprit; /* index of the sample at fault */
    int numeric;    /* nothing but numbers: repeats are runs of zeros, not words */
} ft_encoded;

/* Bytes of scratch that ft_encode needs for `count` samples. */
size_t ft_encode_scratch(const ft_layout *layout, size_t count);
int ft_encode(const ft_layout *layout, const ft_encode_job *job, void *scratch, uint8_t *out, size_t room,
              ft_encoded *result);

/* Where to cut `count` samples so that no row and no text is torn: the first such place from `near` on, else the
 * last before it; 0 when there is none. */
size_t ft_split(const ft_sample *samples, size_t count, size_t near);

/* All readers return 0, or -1 with the fault filled in. */

/* A body that is being read: the streams move on as groups are taken. */
typedef struct ft_body {
    const uint8_t *start;
    const uint8_t *hashes;
    size_t hash_count;
    int64_t base_s;
    int plain;
    size_t groups_left;
    uint64_t next_number;          /* of the group after the one that was read last */
    size_t extra_items;
    uint64_t cells;                /* rows x columns so far, against FT_MAX_CELLS */
    ft_reader groups;              /* stands before the next group */
    ft_reader heads, steps, text;
    const uint8_t *floats;         /* planes of float_count bytes */
    size_t float_count, float_next;
    const uint8_t *doubles;
    size_t double_count, double_next;
    uint64_t last_float, last_double; /* first values of the full float columns that were read last */
    size_t extra_at, extra_bytes;  /* gaps and schemas: up to two msgpack items */
} ft_body;

/* The first value of a column, for the next table of that shape; zeroed before the first group of a body. */
typedef struct ft_first {
    uint64_t value;
    uint32_t mode;   /* 1 + the mode it was written in; 0: none yet */
    uint32_t unused;
} ft_first;

typedef struct ft_group {
    size_t table;           /* index into the tables */
    size_t rows;
    size_t cells;           /* rows x columns */
    const uint8_t *missing; /* a bit per cell that is there, or NULL: all are */
    ft_reader runs;
    size_t run_count;       /* 0: all are good */
    size_t items_left;      /* of the group's msgpack array */
} ft_group;

int ft_read_body(const uint8_t *bytes, size_t n, ft_body *body, ft_fault *fault);
/* The head of the next group: who it is and how many cells it has. The tables are those of the body's hashes. */
int ft_read_group(ft_body *body, const ft_table *tables, size_t table_count, ft_group *group, ft_fault *fault);
/* Its cells, row by row, into room for group->cells; `tag` is the position in the row of all columns. A missing cell
 * gets type FT_TYPE_COUNT; a text has its place in the body as value and its length as part. */
int ft_read_cells(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_first *firsts,
                  ft_sample *cells, ft_fault *fault);
size_t ft_count_samples(const ft_sample *cells, size_t count);
void ft_write_samples(const uint8_t *body, const ft_sample *cells, size_t count, ft_sample *out);

#endif
