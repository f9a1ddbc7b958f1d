/* CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of the store's pages. */
#ifndef FT_CRC32C_H
#define FT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Fills the tables and looks whether the processor has an instruction for it; call once before anything else. */
void ft_crc32c_init(void);

/* The CRC of n bytes, by the fastest way this machine has. */
uint32_t ft_crc32c(const uint8_t *bytes, size_t n);

/* The same by tables alone, as it runs where the processor has no instruction. */
uint32_t ft_crc32c_portable(const uint8_t *bytes, size_t n);

#endif
