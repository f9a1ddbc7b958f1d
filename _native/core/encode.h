/* The inverse of core/decode.h, for simulators: values to registers as they stand in an answer. */
#ifndef FT_ENCODE_H
#define FT_ENCODE_H

#include <stddef.h>
#include <stdint.h>

/* `raw` as in ft_sample.value to bytes as they stand in the answer. Returns how many registers (2 bytes each) were
 * written, -1 for TEXT or a raw value the type cannot hold. BOOL is the register 0 or 1, BITS a whole register with the
 * field at bit 0. */
int ft_encode_value(uint8_t type, uint8_t order, uint64_t raw, uint8_t *registers_out);

/* n bytes of text to (n + 1) / 2 registers, or to n with FT_TEXT_WIDE in the order; CDAB stands for ABCD and DCBA for
 * BADC, as texts have no word order. Returns how many registers. */
int ft_encode_text(uint8_t order, const uint8_t *text, size_t n, uint8_t *registers_out);

#endif
