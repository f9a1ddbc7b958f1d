from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from agent._native.samples cimport ft_sample

cdef extern from "core/mpack.h" nogil:
    ctypedef struct ft_reader:
        const uint8_t *at
        const uint8_t *end
        const char *why

    void ft_skip(ft_reader *r)

cdef extern from "core/columns.h" nogil:
    enum: FT_HASH_BYTES
    enum: FT_EPOCH_BYTES
    enum: FT_TYPE_COUNT
    enum: FT_ENCODED
    enum: FT_MORE_ROOM
    enum: FT_UNKNOWN_TAG
    enum: FT_WRONG_TYPE
    enum: FT_TOO_MANY

    ctypedef struct ft_column:
        uint32_t group
        uint32_t place
        uint32_t type

    ctypedef struct ft_table:
        uint32_t first
        uint32_t columns
        uint32_t twin
        uint32_t schema
        uint32_t number

    ctypedef struct ft_first:
        uint64_t value
        uint32_t mode

    ctypedef struct ft_layout:
        const ft_column *tags
        size_t tag_count
        const uint8_t *types
        size_t column_count
        const ft_table *tables
        size_t table_count
        const uint8_t *hashes
        const uint32_t *schema_groups
        size_t schema_count

    ctypedef struct ft_encode_job:
        const ft_sample *samples
        size_t count
        int64_t offset_ns
        int plain
        const uint8_t *extra
        size_t extra_bytes

    ctypedef struct ft_encoded:
        size_t bytes
        size_t noise
        size_t culprit
        int numeric

    ctypedef struct ft_envelope:
        const uint8_t *gateway
        size_t gateway_bytes
        const uint8_t *epoch
        uint64_t seq
        uint8_t flags
        size_t flags_at
        uint64_t source
        uint64_t error_ms
        uint8_t codec
        const uint8_t *body
        size_t body_bytes
        size_t bytes

    ctypedef struct ft_fault:
        const char *why
        size_t at

    ctypedef struct ft_body:
        const uint8_t *hashes
        size_t hash_count
        size_t groups_left
        int plain
        size_t extra_at
        size_t extra_bytes
        size_t extra_items

    ctypedef struct ft_group:
        size_t table
        size_t rows
        size_t cells

    size_t ft_encode_scratch(const ft_layout *layout, size_t count)
    int ft_encode(const ft_layout *layout, const ft_encode_job *job, void *scratch, uint8_t *out, size_t room,
                  ft_encoded *result)
    size_t ft_split(const ft_sample *samples, size_t count, size_t near)
    int ft_read_envelope(const uint8_t *bytes, size_t n, ft_envelope *envelope, ft_fault *fault)
    int ft_read_body(const uint8_t *bytes, size_t n, ft_body *body, ft_fault *fault)
    int ft_read_group(ft_body *body, const ft_table *tables, size_t table_count, ft_group *group, ft_fault *fault)
    int ft_read_cells(ft_body *body, const ft_table *table, const uint8_t *types, ft_group *group, ft_first *firsts,
                      ft_sample *cells, ft_fault *fault)
    size_t ft_count_samples(const ft_sample *cells, size_t count)
    void ft_write_samples(const uint8_t *body, const ft_sample *cells, size_t count, ft_sample *out)

cdef class Layout:
    cdef ft_layout layout
    cdef readonly bytes tags, types, tables, hashes, schema_groups  # what `layout` points into
    cdef uint8_t *scratch
    cdef size_t scratch_bytes
    cdef uint8_t *out
    cdef size_t out_bytes
    cdef int grow(self, uint8_t **block, size_t *have, size_t want) except -1
    cdef int run(self, const ft_encode_job *job, ft_encoded *result) except? -1
