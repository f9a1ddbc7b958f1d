#include "unmark.h"

#define FT_MARK 0xFF

static void count(ft_unmark *state, uint8_t character)
{
    state->damaged++;
    if (character == 0)
        state->breaks++;
}

size_t ft_unmark_bytes(ft_unmark *state, uint8_t *bytes, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        enum ft_mark seen = state->seen;
        state->seen = FT_MARK_NONE;
        if (seen == FT_MARK_NONE && bytes[i] == FT_MARK) {
            state->seen = FT_MARK_BEGUN;
        } else if (seen == FT_MARK_BEGUN && bytes[i] == 0) {
            state->seen = FT_MARK_DAMAGED;
        } else {
            /* FF and neither FF nor 00 only comes while marking begins; the CRC refuses what was cut. */
            if (seen == FT_MARK_DAMAGED)
                count(state, bytes[i]);
            bytes[left++] = bytes[i];
        }
    }
    state->heard += left;
    return left;
}
