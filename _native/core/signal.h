/* What a simulated register holds: a pure function of (unit, table, address, type, tick), so that a receiver can
 * tell a right value from a wrong one by the tag's definition and the time alone. agent/simulate/signal.py computes
 * the same; tests hold the two against each other.
 *
 *   h    = mix(unit << 24 | table << 16 | address), 64 bits; all sums below are modulo 2^64
 *   tick = wall clock / 100 ms
 *
 *   BOOL              bit 0 of mix(h + ((tick + h % 16) >> 4)): holds for 1.6 s
 *   U16 I16           (h + tick) mod 2^16; BITS are cut out of it, so tags that share a register agree
 *   U32 I32           (h + tick * 0x00010001) mod 2^32: every register of the value changes with every tick, so a
 *   U64 I64           h + tick * 0x0001000100010001      value torn over two reads is recognised
 *   F32               ((h + tick) mod 2^24) / 4, exact
 *   F64               ((h + tick) mod 2^52) / 4, exact
 *   BCD16 BCD32       (h + tick) mod 10^4, mod 10^8
 *   powers of ten     -(h mod 4), and never another: it scales values that are read with it
 *   TEXT              byte i = ALPHABET[byte i % 8 of mix(h + ((tick + h % 64) >> 6) + (i / 8) * GOLDEN) % 64]
 */
#ifndef FT_SIGNAL_H
#define FT_SIGNAL_H

#include <stddef.h>
#include <stdint.h>

#include "sample.h"

#define FT_TICK_NS INT64_C(100000000)
#define FT_SIGNAL_MAX_REGISTERS 125 /* no read carries more, so no tag is longer */

enum ft_table { FT_HOLDING = 0, FT_INPUT, FT_COIL, FT_DISCRETE, FT_TABLE_COUNT };

#define FT_SIGNAL_POWER FT_TYPE_COUNT /* a signal's type beside those of values: a register that others are scaled by */

/* A value that is more than one plain 16-bit register. 10 bytes: struct format "=HHHBBBB". */
typedef struct ft_signal {
    uint16_t address;
    uint16_t registers;
    uint16_t text_bytes; /* TEXT only, else 0 */
    uint8_t unit;
    uint8_t table; /* enum ft_table: holding or input */
    uint8_t type;  /* enum ft_type, or FT_SIGNAL_POWER */
    uint8_t order; /* enum ft_order; FT_TEXT_WIDE added for such texts */
} ft_signal;

_Static_assert(sizeof(ft_signal) == 10, "simulator.py packs 10 bytes");

#define FT_GOLDEN UINT64_C(0x9E3779B97F4A7C15)

/* splitmix64's step: every bit of the result depends on every bit of x, and consecutive x look unrelated. */
static inline uint64_t ft_mix(uint64_t x)
{
    x += FT_GOLDEN;
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

uint64_t ft_signal_identity(uint8_t unit, uint8_t table, uint16_t address);

/* A value as ft_sample carries it; not for TEXT and BITS. */
uint64_t ft_signal_value(uint8_t type, uint64_t identity, int64_t tick);

/* The signal's registers as they stand on the wire, 2 * signal->registers bytes. */
void ft_signal_registers(const ft_signal *signal, int64_t tick, uint8_t *out);

#endif
