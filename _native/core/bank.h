/* Reads and writes of registers, bits and records in, what every unit of a simulated bus holds at a tick out.
 *
 * A register holds its signal (core/signal.h), or a pattern that follows from its address; or what was written last. A
 * record of a file holds a pattern that does not change, or what was written last. */
#ifndef FT_BANK_H
#define FT_BANK_H

#include <stddef.h>
#include <stdint.h>

#include "signal.h"

#define FT_UNITS 256
#define FT_WRITTEN_SLOTS 4096             /* power of two; half of it may be used: 2048 written registers, coils, records */
#define FT_FILES 10                       /* files 1 to 10, as devices of before 2006 have */
#define FT_FILE_RECORDS 10000             /* of a register each */

typedef struct ft_written {
    uint32_t key; /* 0: free */
    uint16_t value;
} ft_written;

typedef struct ft_bank {
    const ft_signal *signals;         /* sorted by unit, table, address; none overlaps another */
    uint32_t first[FT_UNITS * 2 + 1]; /* signals of (unit, holding or input) start here */
    uint32_t written_count;
    ft_written written[FT_WRITTEN_SLOTS];
} ft_bank;

typedef struct ft_range {
    uint8_t unit;
    uint8_t table;
    uint16_t address;
    uint16_t quantity;
} ft_range;

/* `signals` must outlive the bank. Returns 0, or -1 when they are not sorted, overlap or leave their table. */
int ft_bank_init(ft_bank *bank, const ft_signal *signals, size_t count);
static inline uint8_t ft_file_table(uint16_t file) /* a file's records stand in a table of their own, beside enum ft_table */
{
    return (uint8_t)(FT_TABLE_COUNT + file);
}

/* Holding registers, coils, records. Returns 0, or -1: no more of them can be written. */
int ft_bank_write(ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address, uint16_t value);
/* 1 and *value: it was written. */
int ft_bank_written(const ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address, uint16_t *value);
/* A record of a file from 1 to FT_FILES. */
uint16_t ft_bank_record(const ft_bank *bank, uint8_t unit, uint16_t file, uint16_t record);
/* Holding or input registers, as they stand on the wire: 2 * quantity bytes. */
void ft_bank_registers(const ft_bank *bank, const ft_range *range, int64_t tick, uint8_t *out);
/* A coil or discrete input: 0 or 1. */
int ft_bank_bit(const ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address, int64_t tick);

#endif
