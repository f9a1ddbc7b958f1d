/* Modbus ASCII as a notation of RTU frames. */
#include "ascii.h"

#include <string.h>

#include "crc.h"

#define NO_UNIT 0x00
#define SHORTEST 3 /* unit, function, LRC */
#define NO_DIGIT (-1)

static const char DIGITS[] = "0123456789ABCDEF";

static int digit(uint8_t character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'A' && character <= 'F')
        return character - 'A' + 10;
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    return NO_DIGIT;
}

/* The two's complement of the sum: bytes and LRC add up to 0. */
static uint8_t sum_of(const uint8_t *bytes, size_t n)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum;
}

/* ---- characters in ---- */

static size_t begin(ft_ascii *line)
{
    line->state = FT_ASCII_HIGH;
    line->n = 0;
    return 0;
}

static size_t noise(ft_ascii *line, uint8_t *out)
{
    line->state = FT_ASCII_OUTSIDE;
    out[0] = NO_UNIT;
    return 1;
}

/* One more byte: the one before it was not the LRC. */
static size_t take_byte(ft_ascii *line, uint8_t byte, uint8_t *out)
{
    if (line->n == FT_ASCII_BYTES)
        return noise(line, out);
    line->state = FT_ASCII_HIGH;
    line->bytes[line->n++] = byte;
    if (line->n == 1)
        return 0;
    out[0] = line->bytes[line->n - 2];
    return 1;
}

static void remember(ft_ascii *line)
{
    uint32_t at = line->ended++ % FT_ASCII_WHOLE;
    memcpy(line->whole[at], line->bytes, line->n);
    line->whole_bytes[at] = line->n;
}

static size_t end(ft_ascii *line, uint8_t *out)
{
    uint16_t crc = ft_crc16(line->bytes, line->n - 1);
    if (sum_of(line->bytes, line->n) == 0)
        remember(line);
    else
        crc = (uint16_t)~crc;
    line->state = FT_ASCII_ENDED;
    out[0] = (uint8_t)crc;
    out[1] = (uint8_t)(crc >> 8);
    return FT_CRC_BYTES;
}

static size_t take(ft_ascii *line, uint8_t character, uint8_t *out)
{
    int value = digit(character);
    if (character == ':')
        return begin(line);
    if (character == '\n' && line->state == FT_ASCII_ENDED) {
        line->state = FT_ASCII_OUTSIDE;
        return 0;
    }
    if (character == '\r' && line->state == FT_ASCII_HIGH && line->n >= SHORTEST)
        return end(line, out);
    if (value == NO_DIGIT || line->state == FT_ASCII_OUTSIDE || line->state == FT_ASCII_ENDED)
        return noise(line, out);
    if (line->state == FT_ASCII_LOW)
        return take_byte(line, (uint8_t)(line->high | value), out);
    line->high = (uint8_t)(value << 4);
    line->state = FT_ASCII_LOW;
    return 0;
}

static void keep_head(ft_ascii *line, const uint8_t *characters, size_t n)
{
    size_t room = FT_ASCII_HEAD - line->head_n;
    size_t kept = n < room ? n : room;
    memcpy(line->head + line->head_n, characters, kept);
    line->head_n += kept;
}

size_t ft_ascii_decode(ft_ascii *line, const uint8_t *characters, size_t n, uint8_t *out)
{
    size_t given = 0;
    keep_head(line, characters, n);
    for (size_t i = 0; i < n; i++)
        given += take(line, characters[i], out + given);
    return given;
}

/* ---- whole frames ---- */

void ft_ascii_forget(ft_ascii *line)
{
    line->ended = 0;
    line->head_n = 0;
}

int ft_came_whole(const ft_ascii *line, const uint8_t *frame, size_t n)
{
    size_t bytes = n - FT_CRC_BYTES; /* unit and PDU */
    if (!ft_crc_fits(frame, n))
        return 0;
    if (!line)
        return 1;
    for (uint32_t i = 0; i < line->ended && i < FT_ASCII_WHOLE; i++)
        if (line->whole_bytes[i] == bytes + 1 && memcmp(line->whole[i], frame, bytes) == 0)
            return 1;
    return 0;
}

/* ---- characters out ---- */

static size_t put_byte(uint8_t byte, uint8_t *out)
{
    out[0] = (uint8_t)DIGITS[byte >> 4];
    out[1] = (uint8_t)DIGITS[byte & 0xF];
    return FT_ASCII_DIGITS;
}

size_t ft_ascii_encode(const uint8_t *frame, size_t n, uint8_t *out)
{
    size_t bytes = n - FT_CRC_BYTES;
    size_t at = 0;
    out[at++] = ':';
    for (size_t i = 0; i < bytes; i++)
        at += put_byte(frame[i], out + at);
    at += put_byte((uint8_t)-sum_of(frame, bytes), out + at);
    out[at++] = '\r';
    out[at++] = '\n';
    return at;
}

size_t ft_frame_any(enum ft_framing framing, uint16_t transaction, uint8_t unit, const uint8_t *pdu, size_t n,
                    uint8_t *out)
{
    uint8_t frame[FT_MAX_RTU];
    if (framing != FT_ASCII)
        return ft_frame(framing, transaction, unit, pdu, n, out);
    return ft_ascii_encode(frame, ft_frame(FT_RTU, transaction, unit, pdu, n, frame), out);
}
