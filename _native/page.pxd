from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "core/crc32c.h" nogil:
    void ft_crc32c_init()
    uint32_t ft_crc32c(const uint8_t *bytes, size_t n)
    uint32_t ft_crc32c_portable(const uint8_t *bytes, size_t n)

cdef extern from "core/page.h" nogil:
    enum:
        FT_PAGE_HEADER
        FT_PAGE_TRAILER
        FT_PIECE_HEADER
        FT_PAGE_MIN_SHIFT
        FT_PAGE_MAX_SHIFT
        FT_PAGE_GOOD
    ctypedef struct ft_page:
        uint8_t epoch[8]
        uint64_t sequence
        uint64_t tail
        uint64_t samples_before
        int64_t boot_ns
        int64_t wall_ns
        uint32_t used
        uint16_t pieces
        uint8_t kind
        uint8_t shift
        int32_t status
        uint32_t reserved
    ctypedef struct ft_piece:
        uint64_t sequence
        uint64_t seq
        uint32_t total
        uint32_t offset
        uint32_t samples
        uint32_t fresh
        uint32_t at
        uint16_t length
        uint8_t kind
        uint8_t flags
    ctypedef struct ft_packer:
        ft_page head
        uint8_t *bytes
        size_t capacity
        size_t page_bytes
        size_t pages
    void ft_packer_begin(ft_packer *packer, const ft_page *head, uint8_t shift, uint8_t *memory, size_t capacity)
    size_t ft_packer_wants(const ft_packer *packer, size_t n)
    size_t ft_packer_room(const ft_packer *packer)
    int ft_packer_add(ft_packer *packer, ft_piece *record, const uint8_t *payload, size_t n)
    size_t ft_packer_finish(ft_packer *packer)
    void ft_page_scan(ft_page *pages, const uint8_t *bytes, size_t page_bytes, size_t n)
    int ft_page_pieces(ft_piece *pieces, size_t max, const uint8_t *bytes, size_t page_bytes)
    int ft_page_join(uint8_t *record, size_t total, const uint8_t *bytes, size_t page_bytes, size_t n, size_t at)

cdef class Packer:
    cdef ft_packer packer
    cdef uint8_t *memory
    cdef size_t capacity
    cdef int reserve(self, size_t wanted) except -1
