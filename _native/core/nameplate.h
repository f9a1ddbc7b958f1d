/* What units of a simulated bus say of themselves, packed, in; the answers to functions 17 and 43/14 out.
 *
 * Packed: entries one behind the other, sorted by unit, function, object:
 *
 *   byte 0  unit
 *        1  function: 17 or 43
 *        2  object of function 43, else 0
 *        3  length of the text, 1 to FT_PLATE_TEXT
 *        4  text
 */
#ifndef FT_NAMEPLATE_H
#define FT_NAMEPLATE_H

#include <stddef.h>
#include <stdint.h>

#define FT_PLATE_TEXT 244 /* longest object that fits into an answer of function 43 */

/* The entries of one unit. */
typedef struct ft_plate {
    const uint8_t *entries;
    size_t n;
} ft_plate;

/* 1 when these bytes are entries in order. */
int ft_plates_fit(const uint8_t *plates, size_t n);
/* A unit without entries is "fieldtap", "simulator", "1". */
ft_plate ft_plate_of(const uint8_t *plates, size_t n, uint8_t unit);
/* Returns how many bytes; 0: the unit does not have the function. */
size_t ft_plate_server_id(ft_plate plate, uint8_t *out);
/* The objects of a code (1 basic, 2 regular, 3 extended, from `first` on; 4 just `first`) that fit into one answer, which
 * says where to go on. Returns its length; 0: there is no such object, or none at all. */
size_t ft_plate_identification(ft_plate plate, uint8_t code, uint8_t first, uint8_t *out);

#endif
