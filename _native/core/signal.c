/* (unit, table, address, type, tick) in, the value of a simulated register out. */
#include "signal.h"

#include <string.h>

#include "encode.h"
#include "sample.h"

#define STEP32 UINT64_C(0x00010001)
#define STEP64 UINT64_C(0x0001000100010001)

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

uint64_t ft_signal_identity(uint8_t unit, uint8_t table, uint16_t address)
{
    return ft_mix((uint64_t)unit << 24 | (uint64_t)table << 16 | address);
}

static uint64_t f32_bits(uint64_t quarters)
{
    float value = (float)quarters / 4.0F;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t f64_bits(uint64_t quarters)
{
    double value = (double)quarters / 4.0;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

uint64_t ft_signal_value(uint8_t type, uint64_t identity, int64_t tick)
{
    uint64_t now = (uint64_t)tick;
    uint64_t sum = identity + now;
    switch (type) {
    case FT_BOOL: return ft_mix(identity + ((now + identity % 16) >> 4)) & 1;
    case FT_SIGNAL_POWER: return (uint64_t)-(int64_t)(identity % 4);
    case FT_I16: return (uint64_t)(int64_t)(int16_t)(uint16_t)sum;
    case FT_U32: return (uint32_t)(identity + now * STEP32);
    case FT_I32: return (uint64_t)(int64_t)(int32_t)(uint32_t)(identity + now * STEP32);
    case FT_U64:
    case FT_I64: return identity + now * STEP64;
    case FT_F32: return f32_bits(sum & 0xFFFFFF);
    case FT_F64: return f64_bits(sum & UINT64_C(0xFFFFFFFFFFFFF));
    case FT_BCD16: return sum % 10000;
    case FT_BCD32: return sum % 100000000;
    default: return (uint16_t)sum;
    }
}

static void text(uint64_t identity, int64_t tick, uint8_t *out, size_t n)
{
    uint64_t slow = identity + (((uint64_t)tick + identity % 64) >> 6);
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)ALPHABET[(ft_mix(slow + (uint64_t)(i / 8) * FT_GOLDEN) >> (8 * (i % 8))) % 64];
}

void ft_signal_registers(const ft_signal *signal, int64_t tick, uint8_t *out)
{
    uint64_t identity = ft_signal_identity(signal->unit, signal->table, signal->address);
    if (signal->type == FT_TEXT) {
        uint8_t characters[2 * FT_SIGNAL_MAX_REGISTERS];
        text(identity, tick, characters, signal->text_bytes);
        (void)ft_encode_text(signal->order, characters, signal->text_bytes, out);
    } else {
        uint8_t type = signal->type == FT_SIGNAL_POWER ? FT_I16 : signal->type;
        (void)ft_encode_value(type, signal->order, ft_signal_value(signal->type, identity, tick), out);
    }
}
