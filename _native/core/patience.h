/* How long answers took in; how long to wait for the next one, and for how long a lost one is feared, out. */
#ifndef FT_PATIENCE_H
#define FT_PATIENCE_H

#include <stdint.h>

/* One device: from the end of its request to the end of its answer, the answer's own wire time apart. */
typedef struct ft_patience {
    int64_t mean_ns;
    int64_t spread_ns;  /* mean distance from the mean */
    int64_t slowest_ns; /* of some thousand answers, late ones too: no less than their 99.9th percentile */
    uint32_t seen;      /* up to FT_PATIENCE_TRUST */
} ft_patience;

/* One line: silences within answers, which are the adapter's and not the devices'. */
typedef struct ft_pieces {
    int64_t longest_ns; /* forgotten slowly */
    uint32_t seen;      /* answers, up to FT_PIECES_TRUST */
} ft_pieces;

void ft_patience_observe(ft_patience *patience, int64_t took_ns);
/* An answer took at least and at most so long: its request may have waited behind others. */
void ft_patience_observe_within(ft_patience *patience, int64_t least_ns, int64_t most_ns);
/* An answer came late, so long after its request; it is no longer awaited. */
void ft_patience_late(ft_patience *patience, int64_t took_ns);
/* The timeout of a request after `silent` ones in a row without an answer. */
int64_t ft_patience_timeout(const ft_patience *patience, const ft_pieces *pieces, uint32_t silent, int64_t ceiling_ns);
/* How long after its timeout an answer is still feared. */
int64_t ft_patience_window(const ft_patience *patience, int64_t timeout_ns);

/* The longest silence between two pieces of one answer. */
void ft_pieces_observe(ft_pieces *pieces, int64_t silence_ns);
/* After so much silence a damaged answer is over, as far as the adapter is concerned. */
int64_t ft_pieces_quiet(const ft_pieces *pieces);
/* After so much more than its wire time, at most most_ns, an answer that has begun will not be completed. */
int64_t ft_pieces_stall(const ft_pieces *pieces, int64_t most_ns);

#endif
