#include "core/envelope.h"

int ft_tell_fault(const ft_reader *r, const uint8_t *start, ft_fault *fault)
{
    if (!r->why)
        return 0;
    fault->why = r->why;
    fault->at = (size_t)(r->at - start);
    return -1;
}

static void read_key(ft_reader *r, const uint8_t *start, ft_envelope *e)
{
    const uint8_t *at = r->at;
    ft_item item = ft_take(r);
    if (item.kind != FT_STR)
        ft_fail(r, at, "the gateway is not a string");
    e->gateway = item.bytes;
    e->gateway_bytes = (size_t)item.count;
    at = r->at;
    item = ft_take_bin(r, "the epoch is not 8 bytes");
    if (item.kind != FT_BIN || item.count != FT_EPOCH_BYTES)
        ft_fail(r, at, "the epoch is not 8 bytes");
    e->epoch = item.bytes;
    e->seq = ft_take_count(r, UINT64_MAX, "the seq is not a count");
    e->flags_at = (size_t)(r->at - start);
    at = r->at;
    e->flags = (uint8_t)ft_take_uint(r, 1);
    if (e->flags > 0x7f)
        ft_fail(r, at, "the flags are not a number below 128");
}

static void read_clock(ft_reader *r, ft_envelope *e)
{
    size_t items = ft_take_array(r, 2, "the clock is not [source, error_ms]");
    e->source = ft_take_count(r, UINT64_MAX, "the clock's source is not a count");
    e->error_ms = ft_take_count(r, UINT64_MAX, "the clock's error_ms is not a count");
    for (; items > 2 && !r->why; items--)
        ft_skip(r);
}

static void read_payload(ft_reader *r, ft_envelope *e)
{
    e->codec = (uint8_t)ft_take_count(r, 1, "the codec is neither 0 (none) nor 1 (zlib)");
    e->body = r->at;
    if (e->codec == 0) {
        ft_skip(r);
        e->body_bytes = (size_t)(r->at - e->body);
        return;
    }
    ft_item item = ft_take_bin(r, "the compressed body is not a bin");
    e->body = item.bytes;
    e->body_bytes = (size_t)item.count;
}

int ft_read_envelope(const uint8_t *bytes, size_t n, ft_envelope *e, ft_fault *fault)
{
    ft_reader r = {.at = bytes, .end = bytes + n};
    *e = (ft_envelope){0};
    size_t items = ft_take_array(&r, 2, "is not a batch: no msgpack array of 8");
    const uint8_t *at = r.at;
    if (!r.why && ft_take_count(&r, UINT64_MAX, "the version is not a count") != FT_FORMAT_VERSION)
        ft_fail(&r, at, "is of a version that this reader does not know");
    if (items < 8)
        ft_fail(&r, bytes, "is not a batch: no msgpack array of 8");
    read_key(&r, bytes, e);
    read_clock(&r, e);
    read_payload(&r, e);
    for (; items > 8 && !r.why; items--)
        ft_skip(&r);
    e->bytes = (size_t)(r.at - bytes);
    return ft_tell_fault(&r, bytes, fault);
}
