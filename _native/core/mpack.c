/* Bytes of msgpack in, one item at a time out; what cannot be is said with where it stood. */
#include "mpack.h"

static ft_item take_fixed(ft_reader *r, uint8_t head)
{
    if (head < 0x80)
        return (ft_item){.kind = FT_INT, .bits = head};
    if (head >= 0xe0)
        return (ft_item){.kind = FT_INT, .bits = (uint64_t)ft_sign_extend(head, 1), .negative = 1};
    if (head < 0x90)
        return ft_take_sized(r, FT_MAP, 2u * (head & 0x0fu));
    if (head < 0xa0)
        return ft_take_sized(r, FT_ARRAY, head & 0x0fu);
    return ft_take_sized(r, FT_STR, head & 0x1fu);
}

static ft_item take_ext(ft_reader *r, uint64_t bytes)
{
    return ft_take_sized(r, FT_OTHER, bytes + 1); /* its type byte */
}

ft_item ft_take(ft_reader *r)
{
    const uint8_t *start = r->at;
    uint8_t head = (uint8_t)ft_take_uint(r, 1);
    if (r->why)
        return (ft_item){.kind = FT_BAD};
    if (head < 0xc0 || head >= 0xe0)
        return take_fixed(r, head);
    switch (head) {
    case 0xc0: return (ft_item){.kind = FT_NIL};
    case 0xc2: case 0xc3: return (ft_item){.kind = FT_OTHER};
    case 0xc4: case 0xc5: case 0xc6: return ft_take_sized(r, FT_BIN, ft_take_uint(r, 1u << (head - 0xc4)));
    case 0xc7: case 0xc8: case 0xc9: return take_ext(r, ft_take_uint(r, 1u << (head - 0xc7)));
    case 0xca: return ft_take_number(r, FT_REAL32, 4, 0);
    case 0xcb: return ft_take_number(r, FT_REAL64, 8, 0);
    case 0xcc: case 0xcd: case 0xce: case 0xcf: return ft_take_number(r, FT_INT, 1u << (head - 0xcc), 0);
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: return ft_take_number(r, FT_INT, 1u << (head - 0xd0), 1);
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return take_ext(r, UINT64_C(1) << (head - 0xd4));
    case 0xd9: case 0xda: case 0xdb: return ft_take_sized(r, FT_STR, ft_take_uint(r, 1u << (head - 0xd9)));
    case 0xdc: case 0xdd: return ft_take_sized(r, FT_ARRAY, ft_take_uint(r, 2u << (head - 0xdc)));
    case 0xde: case 0xdf: return ft_take_sized(r, FT_MAP, 2u * ft_take_uint(r, 2u << (head - 0xde)));
    default: break;
    }
    ft_fail(r, start, "starts with c1, which msgpack does not use");
    return (ft_item){.kind = FT_BAD};
}

void ft_skip(ft_reader *r)
{
    uint64_t items = 1; /* a count instead of recursion: no depth can exhaust the stack */
    while (items > 0 && !r->why) {
        ft_item item = ft_take(r);
        items--;
        if (item.kind == FT_ARRAY || item.kind == FT_MAP)
            items += item.count;
    }
}

size_t ft_take_array(ft_reader *r, size_t least, const char *why)
{
    const uint8_t *start = r->at;
    ft_item item = ft_take(r);
    if (item.kind != FT_ARRAY || item.count < least) {
        ft_fail(r, start, why);
        return 0;
    }
    return (size_t)item.count;
}

uint64_t ft_take_count(ft_reader *r, uint64_t most, const char *why)
{
    const uint8_t *start = r->at;
    ft_item item = ft_take(r);
    if (item.kind != FT_INT || item.negative || item.bits > most) {
        ft_fail(r, start, why);
        return 0;
    }
    return item.bits;
}

int64_t ft_take_int64(ft_reader *r, const char *why)
{
    const uint8_t *start = r->at;
    ft_item item = ft_take(r);
    if (item.kind != FT_INT || (!item.negative && item.bits > INT64_MAX)) {
        ft_fail(r, start, why);
        return 0;
    }
    return (int64_t)item.bits;
}

ft_item ft_take_bin(ft_reader *r, const char *why)
{
    const uint8_t *start = r->at;
    ft_item item = ft_take(r);
    if (item.kind == FT_NIL)
        return (ft_item){.kind = FT_NIL, .bytes = start};
    if (item.kind != FT_BIN) {
        ft_fail(r, start, why);
        return (ft_item){.kind = FT_BAD, .bytes = start};
    }
    return item;
}
