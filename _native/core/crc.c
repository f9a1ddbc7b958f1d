/* Bytes to CRC-16/MODBUS, eight at a time: as fast as carry-less multiplication below 64 bytes, and on every CPU. */
#include "crc.h"

#define STEP(c) (((c) >> 1) ^ (((c) & 1) ? 0xA001 : 0))

/* Pj: the register that holds 1, shifted j times. The CRC is linear, so bit b of a byte that is followed by k more
 * bytes contributes P(8 * (k + 1) - b), and a table entry is the xor of what its bits contribute. */
enum {
    P1 = 0xA001, P2 = STEP(P1), P3 = STEP(P2), P4 = STEP(P3), P5 = STEP(P4), P6 = STEP(P5), P7 = STEP(P6),
    P8 = STEP(P7), P9 = STEP(P8), P10 = STEP(P9), P11 = STEP(P10), P12 = STEP(P11), P13 = STEP(P12), P14 = STEP(P13),
    P15 = STEP(P14), P16 = STEP(P15), P17 = STEP(P16), P18 = STEP(P17), P19 = STEP(P18), P20 = STEP(P19),
    P21 = STEP(P20), P22 = STEP(P21), P23 = STEP(P22), P24 = STEP(P23), P25 = STEP(P24), P26 = STEP(P25),
    P27 = STEP(P26), P28 = STEP(P27), P29 = STEP(P28), P30 = STEP(P29), P31 = STEP(P30), P32 = STEP(P31),
    P33 = STEP(P32), P34 = STEP(P33), P35 = STEP(P34), P36 = STEP(P35), P37 = STEP(P36), P38 = STEP(P37),
    P39 = STEP(P38), P40 = STEP(P39), P41 = STEP(P40), P42 = STEP(P41), P43 = STEP(P42), P44 = STEP(P43),
    P45 = STEP(P44), P46 = STEP(P45), P47 = STEP(P46), P48 = STEP(P47), P49 = STEP(P48), P50 = STEP(P49),
    P51 = STEP(P50), P52 = STEP(P51), P53 = STEP(P52), P54 = STEP(P53), P55 = STEP(P54), P56 = STEP(P55),
    P57 = STEP(P56), P58 = STEP(P57), P59 = STEP(P58), P60 = STEP(P59), P61 = STEP(P60), P62 = STEP(P61),
    P63 = STEP(P62), P64 = STEP(P63)
};

#define BIT(i, b, p) ((((i) >> (b)) & 1) ? (p) : 0)
#define ENTRY(i, a, b, c, d, e, f, g, h) \
    BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^ BIT(i, 5, f) ^ BIT(i, 6, g) \
        ^ BIT(i, 7, h)
#define FOUR(i, ...) \
    ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__), ENTRY((i) + 2, __VA_ARGS__), ENTRY((i) + 3, __VA_ARGS__)
#define SIXTEEN(i, ...) \
    FOUR(i, __VA_ARGS__), FOUR((i) + 4, __VA_ARGS__), FOUR((i) + 8, __VA_ARGS__), FOUR((i) + 12, __VA_ARGS__)
#define SIXTY_FOUR(i, ...) \
    SIXTEEN(i, __VA_ARGS__), SIXTEEN((i) + 16, __VA_ARGS__), SIXTEEN((i) + 32, __VA_ARGS__), \
    SIXTEEN((i) + 48, __VA_ARGS__)
#define TABLE(...) \
    {SIXTY_FOUR(0, __VA_ARGS__), SIXTY_FOUR(64, __VA_ARGS__), SIXTY_FOUR(128, __VA_ARGS__), \
     SIXTY_FOUR(192, __VA_ARGS__)}

static const uint16_t after[8][256] = { /* after[k][byte]: what a byte does that k more bytes follow */
    TABLE(P8, P7, P6, P5, P4, P3, P2, P1),
    TABLE(P16, P15, P14, P13, P12, P11, P10, P9),
    TABLE(P24, P23, P22, P21, P20, P19, P18, P17),
    TABLE(P32, P31, P30, P29, P28, P27, P26, P25),
    TABLE(P40, P39, P38, P37, P36, P35, P34, P33),
    TABLE(P48, P47, P46, P45, P44, P43, P42, P41),
    TABLE(P56, P55, P54, P53, P52, P51, P50, P49),
    TABLE(P64, P63, P62, P61, P60, P59, P58, P57)
};

uint16_t ft_crc16(const uint8_t *bytes, size_t n)
{
    uint16_t crc = 0xFFFF;
    for (; n >= 8; bytes += 8, n -= 8) {
        crc = (uint16_t)(after[7][bytes[0] ^ (crc & 0xFF)] ^ after[6][bytes[1] ^ (crc >> 8)] ^ after[5][bytes[2]]
                         ^ after[4][bytes[3]] ^ after[3][bytes[4]] ^ after[2][bytes[5]] ^ after[1][bytes[6]]
                         ^ after[0][bytes[7]]);
    }
    for (; n > 0; bytes++, n--) {
        crc = (uint16_t)((crc >> 8) ^ after[0][(crc ^ *bytes) & 0xFF]);
    }
    return crc;
}
