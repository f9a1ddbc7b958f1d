/* A descriptor in, whether what it carries travels in datagrams, out; and which of its errors are no more than a lost one. */
#ifndef FT_DATAGRAM_H
#define FT_DATAGRAM_H

#include <errno.h>
#include <sys/socket.h>

/* Read in one look at most; more are waiting for nobody. */
#define FT_DATAGRAMS_MOST 64

static inline int ft_is_datagrams(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
}

/* What the network says of a datagram that was sent before: the next one may arrive. */
static inline int ft_is_lost_datagram(int why)
{
    return why == ECONNREFUSED || why == EHOSTUNREACH || why == ENETUNREACH || why == EHOSTDOWN || why == ENETDOWN;
}

#endif
