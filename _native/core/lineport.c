#include "lineport.h"

#include "ending.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

ssize_t ft_port_unmark(ft_loop *loop, ft_line *line, ssize_t n)
{
    if (!atomic_load_explicit(&line->marked, memory_order_relaxed))
        return n;
    n = (ssize_t)ft_unmark_bytes(&line->unmark, loop->bytes, (size_t)n);
    atomic_store_explicit(&line->heard, line->unmark.heard, memory_order_relaxed);
    atomic_store_explicit(&line->damaged, line->unmark.damaged, memory_order_relaxed);
    atomic_store_explicit(&line->breaks, line->unmark.breaks, memory_order_relaxed);
    return n;
}

ssize_t ft_port_decode(ft_loop *loop, ft_line *line, ssize_t n)
{
    memcpy(loop->characters, loop->bytes, (size_t)n);
    return (ssize_t)ft_ascii_decode(&line->ascii, loop->characters, (size_t)n, loop->bytes);
}

/* The datagrams that wait, one behind the other; those for which there is no room are of no use to anybody. */
static ssize_t read_datagrams(ft_loop *loop, ft_line *line)
{
    ssize_t n = 0;
    for (int i = 0; i < FT_DATAGRAMS_MOST; i++) {
        ft_count_call(loop, FT_CALL_READ);
        ssize_t got = read(line->fd, loop->bytes + n, (size_t)(FT_READ_BYTES - n));
        if (got < 0 && !ft_is_lost_datagram(errno))
            return n > 0 ? n : got;
        if (got > 0 && n + got + FT_MAX_ASCII <= FT_READ_BYTES)
            n += got;
    }
    return n;
}

static ssize_t read_bytes(ft_loop *loop, ft_line *line)
{
    ft_count_call(loop, FT_CALL_READ);
    return read(line->fd, loop->bytes, FT_READ_BYTES);
}

ssize_t ft_port_read(ft_loop *loop, ft_line *line)
{
    return line->bus.guard.repeats ? read_datagrams(loop, line) : read_bytes(loop, line);
}

static uint64_t answers_of(const ft_bus *bus)
{
    return atomic_load_explicit(&bus->counts.n[FT_N_OK], memory_order_relaxed)
        + atomic_load_explicit(&bus->counts.n[FT_N_EXCEPTIONS], memory_order_relaxed);
}

void ft_port_stem(ft_loop *loop, ft_line *line, size_t n, int64_t now)
{
    if (line->bus.wire.char_ns || !ft_flood_swells(&line->flood, n, answers_of(&line->bus), now))
        return;
    uint64_t thrown = 0;
    ssize_t got = FT_READ_BYTES;
    for (int i = 0; i < FT_FLOOD_READS && got == FT_READ_BYTES; i++) {
        ft_count_call(loop, FT_CALL_READ);
        got = read(line->fd, loop->characters, FT_READ_BYTES);
        thrown += got > 0 ? (uint64_t)got : 0;
    }
    ft_count_for(&line->bus, line->bus.last_device, FT_N_BYTES_HEARD, thrown);
    ft_count_for(&line->bus, line->bus.last_device, FT_N_NOISE, thrown);
}
