/* Polls that are due in, the one that goes next over a link and when another one may, out. Part of link.c's machine. */
#ifndef FT_LINKTURN_H
#define FT_LINKTURN_H

#include "link.h"

/* The most urgent block that its device takes now, or FT_NO_BLOCK and when the first one may go. */
uint32_t ft_linkturn_choose(const ft_link *link, int64_t now, int64_t *first_ready);

#endif
