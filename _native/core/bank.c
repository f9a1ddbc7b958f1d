#include "bank.h"

#include <string.h>

#include "encode.h"
#include "layout.h"
#include "modbus.h"
#include "sample.h"

/* ---- what is there ------------------------------------------------------------------------------------------- */

/* Orders signals; only holding (0) and input (1) registers have any. */
static uint32_t place(const ft_signal *signal)
{
    return (uint32_t)signal->unit << 17 | (uint32_t)signal->table << 16 | signal->address;
}

static int fits(const ft_signal *signal)
{
    uint8_t registers[2 * FT_SIGNAL_MAX_REGISTERS];
    if (signal->table > FT_INPUT || signal->registers == 0 || signal->registers > FT_SIGNAL_MAX_REGISTERS)
        return 0;
    if ((uint32_t)signal->address + signal->registers > 0x10000)
        return 0;
    if (signal->type == FT_TEXT)
        return signal->text_bytes > 0 && signal->registers == ft_text_registers(signal->order, signal->text_bytes);
    uint8_t type = signal->type == FT_SIGNAL_POWER ? FT_I16 : signal->type;
    return ft_encode_value(type, signal->order, 0, registers) == signal->registers;
}

static int all_fit(const ft_signal *signals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!fits(&signals[i]))
            return 0;
        if (i + 1 < count && place(&signals[i]) + signals[i].registers > place(&signals[i + 1]))
            return 0;
    }
    return 1;
}

int ft_bank_init(ft_bank *bank, const ft_signal *signals, size_t count)
{
    uint32_t at = 0;
    memset(bank, 0, sizeof *bank);
    if (!all_fit(signals, count))
        return -1;
    bank->signals = signals;
    for (uint32_t home = 0; home < FT_UNITS * 2; home++) {
        bank->first[home] = at;
        while (at < count && place(&signals[at]) >> 16 == home)
            at++;
    }
    bank->first[FT_UNITS * 2] = at;
    return 0;
}

/* ---- what was written ---------------------------------------------------------------------------------------- */

/* Never 0. A table has 4 bits: two beside the address, two on top of the unit. */
static uint32_t written_key(uint8_t unit, uint8_t table, uint16_t address)
{
    return UINT32_C(1) << 31 | (uint32_t)(table >> 2) << 26 | (uint32_t)unit << 18 | (uint32_t)(table & 3) << 16 | address;
}

/* The slot of what was written, or the free one where it would go. */
static uint32_t written_slot(const ft_bank *bank, uint32_t key)
{
    uint32_t at = key * UINT32_C(2654435761) >> 20; /* multiplicative hash, 12 bits: FT_WRITTEN_SLOTS */
    while (bank->written[at].key != 0 && bank->written[at].key != key)
        at = (at + 1) % FT_WRITTEN_SLOTS;
    return at;
}

static const ft_written *find_written(const ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address)
{
    const ft_written *slot = &bank->written[written_slot(bank, written_key(unit, table, address))];
    return slot->key ? slot : NULL;
}

int ft_bank_write(ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address, uint16_t value)
{
    uint32_t key = written_key(unit, table, address);
    ft_written *slot = &bank->written[written_slot(bank, key)];
    if (slot->key == 0) {
        if (bank->written_count >= FT_WRITTEN_SLOTS / 2)
            return -1;
        bank->written_count++;
        slot->key = key;
    }
    slot->value = value;
    return 0;
}

int ft_bank_written(const ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address, uint16_t *value)
{
    const ft_written *slot = find_written(bank, unit, table, address);
    if (slot)
        *value = slot->value;
    return slot != NULL;
}

/* ---- what is read -------------------------------------------------------------------------------------------- */

/* Where the first signal stands that reaches past `address`. */
static uint32_t first_signal_past(const ft_bank *bank, uint32_t home, uint16_t address)
{
    uint32_t low = bank->first[home];
    uint32_t high = bank->first[home + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const ft_signal *signal = &bank->signals[middle];
        if ((uint32_t)signal->address + signal->registers <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The part of `signal` that lies in the range, copied to its place in `out`. */
static void overlay_signal(const ft_signal *signal, int64_t tick, const ft_range *range, uint8_t *out)
{
    uint8_t registers[2 * FT_SIGNAL_MAX_REGISTERS];
    uint32_t address = range->address, end = address + range->quantity;
    uint32_t from = signal->address > address ? signal->address : address;
    uint32_t signal_end = (uint32_t)signal->address + signal->registers;
    uint32_t to = signal_end < end ? signal_end : end;
    ft_signal_registers(signal, tick, registers);
    memcpy(out + 2 * (from - address), registers + 2 * (from - signal->address), 2 * (to - from));
}

static void overlay_written(const ft_bank *bank, const ft_range *range, uint8_t *out)
{
    for (uint16_t i = 0; i < range->quantity; i++) {
        const ft_written *slot = find_written(bank, range->unit, range->table, (uint16_t)(range->address + i));
        if (slot)
            ft_put_u16(out + 2 * i, slot->value);
    }
}

void ft_bank_registers(const ft_bank *bank, const ft_range *range, int64_t tick, uint8_t *out)
{
    uint32_t home = (uint32_t)range->unit * 2 + range->table;
    uint32_t range_end = (uint32_t)range->address + range->quantity;
    for (uint16_t i = 0; i < range->quantity; i++) {
        uint64_t identity = ft_signal_identity(range->unit, range->table, (uint16_t)(range->address + i));
        ft_put_u16(out + 2 * i, (uint16_t)(identity + (uint64_t)tick));
    }
    for (uint32_t i = first_signal_past(bank, home, range->address);
         i < bank->first[home + 1] && bank->signals[i].address < range_end; i++)
        overlay_signal(&bank->signals[i], tick, range, out);
    if (bank->written_count > 0)
        overlay_written(bank, range, out);
}

int ft_bank_bit(const ft_bank *bank, uint8_t unit, uint8_t table, uint16_t address, int64_t tick)
{
    const ft_written *slot = bank->written_count > 0 ? find_written(bank, unit, table, address) : NULL;
    if (slot)
        return slot->value != 0;
    return (int)ft_signal_value(FT_BOOL, ft_signal_identity(unit, table, address), tick);
}

uint16_t ft_bank_record(const ft_bank *bank, uint8_t unit, uint16_t file, uint16_t record)
{
    uint8_t table = ft_file_table(file);
    uint16_t value = (uint16_t)ft_signal_identity(unit, table, record);
    (void)ft_bank_written(bank, unit, table, record, &value);
    return value;
}
