/* The end of a transaction in; samples, counters, and what is to be learned from it, out. Part of bus.c's machine. */
#ifndef FT_ENDING_H
#define FT_ENDING_H

#include "bus.h"

/* What bus->ask describes goes out now, to be answered within bus->timeout_ns: a transaction begins. */
void ft_take_line(ft_bus *bus, const uint8_t *request, int64_t now);
/* The unit owes nothing of this shape any more, or its time is over. `device` may be NULL: not one of the plan. */
void ft_forgive(ft_bus *bus, ft_shape shape, ft_device *device);
/* The transaction is over. Of a FT_TIMED_OUT one, nothing, too little or damaged bytes have come. */
void ft_end(ft_bus *bus, int64_t now, enum ft_outcome outcome);
/* All that comes off the line: late answers among it are recognised. */
void ft_hear(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n);
/* The line may still talk; wait until it has been quiet for long enough after `until`. */
void ft_settle(ft_bus *bus, int64_t until, int64_t now);
/* What must pass without a byte before the line counts as quiet after damage. */
int64_t ft_quiet_ns(const ft_bus *bus);
/* When the line will have been silent for as long as a request to this unit needs. */
int64_t ft_silent_until(const ft_bus *bus, uint8_t unit);
/* The transaction is over, and nobody may send before the shortest silence that any request needs. */
void ft_release_line(ft_bus *bus, int64_t now);
/* The device has understood what it was asked after a silence, or has not. */
void ft_judge_silence(const ft_bus *bus, ft_device *device, int is_understood);
/* The answer to what was asked may come when nobody waits for it any more. */
void ft_owe(ft_bus *bus, int64_t now);
/* What was asked for has been answered: what was asked before is passed, and where frames may double, this one may, too. */
void ft_note_answer(ft_bus *bus, int is_exception, int64_t now);
/* Nothing good came: the line must fall silent, and the answer may yet come. */
void ft_fear_late(ft_bus *bus, int64_t now);

void ft_count_for(ft_bus *bus, uint32_t device, enum ft_bus_count which, uint64_t n);
/* Bytes that were no answer, since the last call: the last device's, most likely. */
void ft_count_noise(ft_bus *bus);
/* Every tag of one device, or of all (FT_NO_BLOCK), fails; the block `except` already told. */
void ft_fail_tags(ft_bus *bus, uint32_t device, uint32_t except, int64_t now);
/* Keep the grid of one device, or of all (FT_NO_BLOCK), but forget what was missed: due is the latest time on it that is
 * not in the future. */
void ft_catch_up(ft_plan *plan, uint32_t device, int64_t now);

#endif
