/* CRC-16/MODBUS: polynomial A001 reflected, start value FFFF, no final xor; low byte first on the wire. */
#ifndef FT_CRC_H
#define FT_CRC_H

#include <stddef.h>
#include <stdint.h>

uint16_t ft_crc16(const uint8_t *bytes, size_t n);

#endif
