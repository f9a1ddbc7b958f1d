/* Answers and silences on a connection in, how many requests may be under way on it at once out. Part of link.c's machine. */
#ifndef FT_WIDTH_H
#define FT_WIDTH_H

#include "link.h"

/* A new connection. */
void ft_width_begin(ft_link *link);
/* Flight `at` was answered. */
void ft_width_learn(ft_link *link, uint32_t at);
/* A poll of this device was not, until its timeout was over. */
void ft_width_narrow(ft_link *link, const ft_flight *flight, const ft_device *device, int64_t now);
/* The device has shown that it takes one at a time. */
void ft_width_one(ft_link *link);
/* Whether polls of this device are under way, or anything at all. */
int ft_width_is_asked(const ft_link *link, uint32_t device, int by_polls);
/* Whether requests that are overdue give their places to others: those were answered lately, as far as any were lost. */
int ft_width_gives_way(const ft_link *link);
/* Whether the device that the block reads takes one more request now. */
int ft_width_takes_more(const ft_link *link, const ft_block *block);
/* The connection is lost: that may have been because of a second request. */
void ft_width_closed(ft_link *link);

#endif
