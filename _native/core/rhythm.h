/* When answers came in; when the next one will be complete, and whether that can be relied on, out. */
#ifndef FT_RHYTHM_H
#define FT_RHYTHM_H

#include <stdint.h>

/* Shorter sleeps cost more than the wake-ups they save. */
#define FT_WORTH_SLEEPING_NS INT64_C(50000)

/* How long the answer of one block takes, from the write on. */
typedef struct ft_rhythm {
    int64_t mean_ns;      /* of exactly observed answers */
    int64_t spread_ns;    /* their mean distance from the mean */
    int64_t expected_ns;  /* when to look: nearly all answers are complete by then */
    int32_t pieces_8;     /* eight times the pieces in which an answer arrives, on average */
    int32_t observed;     /* exact observations, up to FT_RHYTHM_TRUST */
    int32_t relied;       /* predictions since the last one of them */
} ft_rhythm;

/* Bytes woke us when the answer was complete: its time is known exactly. */
void ft_rhythm_observe(ft_rhythm *rhythm, int64_t took, int32_t pieces);
/* We looked at the expected time: the answer was there (over <= 0), or came `over` later. */
void ft_rhythm_adjust(ft_rhythm *rhythm, int64_t over);
/* Whether to look at expected_ns instead of waiting for bytes. */
int ft_rhythm_is_steady(const ft_rhythm *rhythm);
/* By so much a look may be late without harm. */
int64_t ft_rhythm_tolerance(const ft_rhythm *rhythm);

#endif
