/* The sample: one value of one tag at one instant, 32 bytes, the only thing that crosses the ring.
 *
 *   offset  size  field      meaning
 *        0     8  time_ns    CLOCK_BOOTTIME when the frame that carried the value was complete
 *        8     8  value      raw value, unscaled; how to read it: see enum ft_type
 *       16     4  tag        index into the agent's tag table
 *       20     4  group      index of the block that read it; equal (group, time_ns) = read together
 *       24     2  type       enum ft_type
 *       26     1  quality    enum ft_quality
 *       27     1  detail     Modbus exception code with FT_Q_EXCEPTION; enum ft_fail with FT_Q_COMM_FAIL; bytes of text in
 *                            a FT_TEXT piece
 *       28     4  part       FT_TEXT: index of this 8-byte piece, FT_TEXT_LAST set on the last; else 0
 *
 * Values: signed integers are sign-extended to 64 bits, unsigned ones (BOOL, BITS and BCD too) zero-extended,
 * F32 is its bit pattern in the low 32 bits, F64 its bit pattern. A text of n bytes is ceil(n/8) records, at
 * least one, that follow each other with the same tag, group and time. A sample whose quality is not
 * FT_Q_GOOD, FT_Q_CLOCK_UNKNOWN or FT_Q_SUBSTITUTED carries no value: `value` is 0 and must not be shown.
 */
#ifndef FT_SAMPLE_H
#define FT_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

enum ft_type {
    FT_BOOL = 0, FT_U16, FT_I16, FT_U32, FT_I32, FT_U64, FT_I64, FT_F32, FT_F64, FT_BCD16, FT_BCD32, FT_TEXT, FT_BITS,
    FT_TYPE_COUNT
};

/* Byte orders, named by where the bytes A (most significant) .. D stand on the wire; 64-bit values use the same
 * four rules: CDAB reverses the words, BADC swaps the bytes of each word, DCBA does both. */
enum ft_order { FT_ABCD = 0, FT_CDAB, FT_BADC, FT_DCBA };

enum ft_quality {
    FT_Q_GOOD = 0, FT_Q_STALE, FT_Q_COMM_FAIL, FT_Q_EXCEPTION, FT_Q_OUT_OF_RANGE, FT_Q_CLOCK_UNKNOWN, FT_Q_SUBSTITUTED
};

/* Why there was no answer. An ambiguous one is a failed communication, not a stale value: nothing was learned from it, and
 * the value before it is not repeated. */
enum ft_fail { FT_FAIL_SILENCE = 0, FT_FAIL_AMBIGUOUS };

#define FT_TEXT_LAST UINT32_C(0x80000000)

typedef struct ft_sample {
    int64_t time_ns;
    uint64_t value;
    uint32_t tag;
    uint32_t group;
    uint16_t type;
    uint8_t quality;
    uint8_t detail;
    uint32_t part;
} ft_sample;

_Static_assert(sizeof(ft_sample) == 32, "the ring, the drains and NumPy agree on 32 bytes");

static inline int ft_has_value(uint8_t quality)
{
    return quality == FT_Q_GOOD || quality == FT_Q_CLOCK_UNKNOWN || quality == FT_Q_SUBSTITUTED;
}

/* How many samples n records are, as users count: the pieces of a text are one. */
static inline size_t ft_values(const ft_sample *records, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += records[i].type != FT_TEXT || (records[i].part & FT_TEXT_LAST) != 0;
    }
    return count;
}

#endif
