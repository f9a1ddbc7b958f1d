/* Entries of nameplates, and answers made of them. */
#include "nameplate.h"

#include "modbus.h"

#include <string.h>

#define ENTRY_HEAD 4
#define HEAD 7 /* function, 14, code, conformity, more follows, next object, number of objects */
#define MEI 14

enum { ONE_OBJECT = 4, MORE_FOLLOWS = 0xFF, SINGLE_ACCESS = 0x80 };

static const uint8_t NOBODY[] = "\0\x11\0\x09" "fieldtap\xFF" "\0\x2B\0\x08" "fieldtap" "\0\x2B\1\x09" "simulator" "\0\x2B\2\1" "1";

/* The highest object of each code. */
static const uint8_t LAST_OBJECT[] = {0, 0x02, 0x7F, 0xFF, 0xFF};

static size_t entry_bytes(const uint8_t *entry)
{
    return ENTRY_HEAD + (size_t)entry[3];
}

int ft_plates_fit(const uint8_t *plates, size_t n)
{
    const uint8_t *before = NULL;
    for (size_t at = 0; at < n; at += entry_bytes(plates + at)) {
        const uint8_t *entry = plates + at;
        if (n - at < ENTRY_HEAD || n - at < entry_bytes(entry) || entry[3] == 0 || entry[3] > FT_PLATE_TEXT)
            return 0;
        if (before && memcmp(before, entry, 3) >= 0)
            return 0;
        before = entry;
    }
    return 1;
}

ft_plate ft_plate_of(const uint8_t *plates, size_t n, uint8_t unit)
{
    size_t from = 0;
    while (from < n && plates[from] < unit)
        from += entry_bytes(plates + from);
    size_t end = from;
    while (end < n && plates[end] == unit)
        end += entry_bytes(plates + end);
    return end > from ? (ft_plate){plates + from, end - from} : (ft_plate){NOBODY, sizeof NOBODY - 1};
}

/* The plate's entry for this function and object, or the first one behind it; NULL: none. */
static const uint8_t *entry_from(ft_plate plate, uint8_t function, unsigned object)
{
    for (size_t at = 0; at < plate.n; at += entry_bytes(plate.entries + at)) {
        const uint8_t *entry = plate.entries + at;
        if (entry[1] == function && entry[2] >= object)
            return entry;
    }
    return NULL;
}

size_t ft_plate_server_id(ft_plate plate, uint8_t *out)
{
    const uint8_t *entry = entry_from(plate, FT_REPORT_SERVER_ID, 0);
    if (!entry)
        return 0;
    memcpy(out, entry + ENTRY_HEAD, entry[3]);
    return entry[3];
}

/* Basic, regular or extended, as far as there are objects. */
static uint8_t conformity(ft_plate plate)
{
    uint8_t level = 1;
    if (entry_from(plate, FT_READ_DEVICE, LAST_OBJECT[1] + 1u))
        level = 2;
    if (entry_from(plate, FT_READ_DEVICE, LAST_OBJECT[2] + 1u))
        level = 3;
    return level | SINGLE_ACCESS;
}

size_t ft_plate_identification(ft_plate plate, uint8_t code, uint8_t first, uint8_t *out)
{
    const uint8_t *entry = entry_from(plate, FT_READ_DEVICE, first);
    uint8_t last = code == ONE_OBJECT ? first : LAST_OBJECT[code];
    size_t end = HEAD;
    if (!entry || entry[2] != first || first > last) {
        if (code == ONE_OBJECT)
            return 0;
        entry = entry_from(plate, FT_READ_DEVICE, 0); /* the specification begins again */
    }
    if (!entry)
        return 0;
    const uint8_t head[HEAD] = {FT_READ_DEVICE, MEI, code, conformity(plate), 0, 0, 0};
    memcpy(out, head, sizeof head);
    for (; entry && entry[2] <= last; entry = entry_from(plate, FT_READ_DEVICE, entry[2] + 1u)) {
        if (end + 2 + entry[3] > FT_MAX_PDU) {
            out[4] = MORE_FOLLOWS;
            out[5] = entry[2];
            break;
        }
        memcpy(out + end, entry + 2, 2 + (size_t)entry[3]);
        end += 2 + (size_t)entry[3];
        out[6]++;
    }
    return end;
}
