/* A line's port in, what waits there as its bus is to hear it, out: in loop->bytes, step by step. */
#ifndef FT_LINEPORT_H
#define FT_LINEPORT_H

#include "busloop.h"

#include <sys/types.h>

/* As read(2). Of datagrams all that wait, one behind the other. */
ssize_t ft_port_read(ft_loop *loop, ft_line *line);
/* n bytes were read. Of a line whose rate nobody knows: what comes too fast is thrown away without being looked at. */
void ft_port_stem(ft_loop *loop, ft_line *line, size_t n, int64_t now);
/* How many bytes are left of n without the terminal's marks: of a mark that is cut there may be none yet. */
ssize_t ft_port_unmark(ft_loop *loop, ft_line *line, ssize_t n);
/* How many bytes the characters of a line of ASCII are. */
ssize_t ft_port_decode(ft_loop *loop, ft_line *line, ssize_t n);

static inline void ft_count_call(ft_loop *loop, enum ft_call which)
{
    uint64_t before = atomic_load_explicit(&loop->calls[which], memory_order_relaxed);
    atomic_store_explicit(&loop->calls[which], before + 1, memory_order_relaxed);
}

#endif
