/* The plan: what Python decided, as flat arrays that C executes. agent/acquire/plan.py packs these structs with
 * the native byte order and the layouts below; nothing in them points anywhere. */
#ifndef FT_PLAN_H
#define FT_PLAN_H

#include <stdint.h>

#define FT_MAX_REQUEST 21 /* a read request is 8 bytes in RTU, 12 in TCP, 17 in ASCII */

/* What a block must not be read with, whatever else the plan reads. */
#define FT_APART 1u /* anything: nothing beyond it is read with it, nor it with another block */
#define FT_SEAM 2u  /* the register in front of it */

/* One request that is sent again and again, and what its answer holds. 80 bytes:
 * struct format "=qqqqIIIIHHBBHH21sB". */
typedef struct ft_block {
    int64_t period_ns;       /* > 0 */
    int64_t phase_ns;        /* first poll this long after start; spreads load over the period */
    int64_t timeout_ns;      /* ceiling, from the end of the request on the wire to the end of the answer's first byte */
    int64_t gap_ns;          /* silence this device wants before a request, where longer than the line's t3.5 */
    uint32_t group;          /* agent-wide index, copied into every sample of the block */
    uint32_t device;         /* index of the device within the bus, for its counters */
    uint32_t first_point;    /* its points are points[first_point .. first_point + point_count) */
    uint32_t point_count;
    uint16_t request_bytes;  /* bytes of `request` in use: the whole ADU, CRC included */
    uint16_t response_bytes; /* length of the normal answer as an ADU */
    uint8_t unit;
    uint8_t function;        /* 1 2 3 4 */
    uint16_t address;        /* first register or bit, 0-based */
    uint16_t quantity;
    uint8_t request[FT_MAX_REQUEST];
    uint8_t bounds;          /* FT_APART, FT_SEAM */
} ft_block;

_Static_assert(sizeof(ft_block) == 80, "plan.py packs 80 bytes");

/* What a point asks of its value besides its bits; a value that fails gets FT_Q_OUT_OF_RANGE. */
#define FT_SENTINEL 1u       /* `sentinel` in its registers means that there is no value */
#define FT_SENTINEL_NAN 2u   /* F32, F64: so does every NaN */
#define FT_SENTINEL_EMPTY 4u /* TEXT: so do registers that are all 0 */
#define FT_RANGE 8u          /* a value outside `least` .. `most` cannot be */
#define FT_SCALED 16u        /* integers, BCD: times ten to the power in the register `scale_at`; the sample is F64 */

#define FT_SCALE_MOST 10 /* powers of ten go from -10 to 10: SunSpec Information Model, type sunssf */

/* Added to the order of a TEXT: one character to a register, in its low byte (swapped orders: in its high byte). */
#define FT_TEXT_WIDE 4u

/* Where one tag stands in its block's answer, and which values are none. 40 bytes: struct format "=IHHBBBBHBBQdd". */
typedef struct ft_point {
    uint32_t tag;      /* agent-wide index */
    uint16_t at;       /* register, or bit for coils and discrete inputs, counted from the block's address */
    uint16_t length;   /* registers it takes (1 for coils); TEXT: bytes of text */
    uint8_t type;      /* enum ft_type, as on the wire */
    uint8_t order;     /* enum ft_order */
    uint8_t bits;      /* BITS: how many, else 0 */
    uint8_t shift;     /* BITS: from which bit, 0 = least significant, else 0 */
    uint16_t scale_at; /* SCALED: register of the power of ten, counted as `at`, in the same answer; else 0 */
    uint8_t flags;     /* FT_SENTINEL .. FT_SCALED */
    uint8_t reserved;
    uint64_t sentinel; /* the bits of the registers once they are in order, before BITS are cut out; else 0 */
    double least;      /* RANGE: of the sample's number, so before the tag's scale and offset; else 0 */
    double most;
} ft_point;

_Static_assert(sizeof(ft_point) == 40, "plan.py packs 40 bytes");

#endif
