#include "crc32c.h"

#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define POLYNOMIAL UINT32_C(0x82F63B78) /* 0x1EDC6F41, bits reversed */
#define SLICES 8

/* table[k][b]: what byte b does to the CRC when k more bytes follow it. */
static uint32_t table[SLICES][256];
static uint32_t (*fastest)(uint32_t crc, const uint8_t *bytes, size_t n);

static uint32_t load_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t by_byte(uint32_t crc, const uint8_t *bytes, size_t n)
{
    while (n--)
        crc = table[0][(crc ^ *bytes++) & 0xFF] ^ crc >> 8;
    return crc;
}

static uint32_t by_slices(uint32_t crc, const uint8_t *bytes, size_t n)
{
    for (; n >= SLICES; n -= SLICES, bytes += SLICES) {
        uint32_t low = crc ^ load_le32(bytes);
        uint32_t high = load_le32(bytes + 4);
        crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^ table[4][low >> 24]
            ^ table[3][high & 0xFF] ^ table[2][high >> 8 & 0xFF] ^ table[1][high >> 16 & 0xFF] ^ table[0][high >> 24];
    }
    return by_byte(crc, bytes, n);
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *bytes, size_t n)
{
    uint64_t wide = crc, word;
    for (; n >= sizeof word; n -= sizeof word, bytes += sizeof word) {
        memcpy(&word, bytes, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    return by_byte((uint32_t)wide, bytes, n);
}

static int has_instruction(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") != 0;
}

#elif defined(__aarch64__) && defined(__AARCH64EL__)

#define CRC32_CAPABILITY (1UL << 7) /* HWCAP_CRC32 of asm/hwcap.h */

/* The instruction as text: gcc and clang spell the attribute that would allow the intrinsic differently. */
static uint32_t by_instruction(uint32_t crc, const uint8_t *bytes, size_t n)
{
    uint64_t word;
    for (; n >= sizeof word; n -= sizeof word, bytes += sizeof word) {
        memcpy(&word, bytes, sizeof word);
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    }
    return by_byte(crc, bytes, n);
}

static int has_instruction(void)
{
    return (getauxval(AT_HWCAP) & CRC32_CAPABILITY) != 0;
}

#else

#define by_instruction by_slices

static int has_instruction(void)
{
    return 0;
}

#endif

static void fill_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][byte] = crc;
    }
    for (size_t slice = 1; slice < SLICES; slice++)
        for (size_t byte = 0; byte < 256; byte++)
            table[slice][byte] = table[0][table[slice - 1][byte] & 0xFF] ^ table[slice - 1][byte] >> 8;
}

void ft_crc32c_init(void)
{
    fill_tables();
    fastest = has_instruction() ? by_instruction : by_slices;
}

uint32_t ft_crc32c(const uint8_t *bytes, size_t n)
{
    return ~fastest(UINT32_MAX, bytes, n);
}

uint32_t ft_crc32c_portable(const uint8_t *bytes, size_t n)
{
    return ~by_slices(UINT32_MAX, bytes, n);
}
