/* Reads and writes of registers and coils, and what other functions need of them. */
#include "job.h"

#include <string.h>

#include "sample.h"

int ft_job_write(const ft_job *j, uint8_t table, uint16_t address, uint16_t value)
{
    if (ft_bank_write(&j->server->bank, j->unit, table, address, value) != 0)
        return FT_DEVICE_FAILURE;
    ft_count(&j->server->counts[FT_COUNT_WRITTEN], 1);
    return 0;
}

void ft_job_registers(const ft_job *j, uint8_t table, uint16_t address, uint16_t quantity, uint8_t *out)
{
    ft_range range = {.unit = j->unit, .table = table, .address = address, .quantity = quantity};
    ft_bank_registers(&j->server->bank, &range, j->tick, out);
}

int ft_job_bit(const ft_job *j, uint8_t table, uint16_t address)
{
    return ft_bank_bit(&j->server->bank, j->unit, table, address, j->tick);
}

int ft_job_leaves(uint16_t address, uint16_t quantity)
{
    return (uint32_t)address + quantity > 0x10000;
}

int ft_job_echo(ft_job *j, size_t n)
{
    memcpy(j->out, j->pdu, n);
    j->out_bytes = n;
    return 0;
}

/* ---- one function code each: 0, or the exception ------------------------------------------------------------- */

static int read_bits(ft_job *j)
{
    uint8_t table = j->pdu[0] == FT_READ_COILS ? FT_COIL : FT_DISCRETE;
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (ft_job_leaves(address, quantity))
        return FT_ILLEGAL_ADDRESS;
    j->out[1] = (uint8_t)((quantity + 7) / 8);
    memset(j->out + 2, 0, j->out[1]);
    for (uint16_t i = 0; i < quantity; i++)
        j->out[2 + i / 8] |= (uint8_t)(ft_job_bit(j, table, (uint16_t)(address + i)) << (i % 8));
    j->out_bytes = 2 + (size_t)j->out[1];
    ft_count(&j->server->counts[FT_COUNT_VALUES], quantity);
    return 0;
}

static int answer_registers(ft_job *j, uint8_t table, uint16_t address, uint16_t quantity)
{
    j->out[1] = (uint8_t)(2 * quantity);
    ft_job_registers(j, table, address, quantity, j->out + 2);
    j->out_bytes = 2 + 2 * (size_t)quantity;
    ft_count(&j->server->counts[FT_COUNT_VALUES], quantity);
    return 0;
}

static int read_registers(ft_job *j)
{
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (ft_job_leaves(address, quantity))
        return FT_ILLEGAL_ADDRESS;
    return answer_registers(j, j->pdu[0] == FT_READ_HOLDING ? FT_HOLDING : FT_INPUT, address, quantity);
}

static int write_coil(ft_job *j)
{
    uint16_t value = ft_u16(j->pdu + 3);
    if (value != 0x0000 && value != 0xFF00)
        return FT_ILLEGAL_VALUE;
    int code = ft_job_write(j, FT_COIL, ft_u16(j->pdu + 1), value != 0);
    return code ? code : ft_job_echo(j, 5);
}

static int write_register(ft_job *j)
{
    int code = ft_job_write(j, FT_HOLDING, ft_u16(j->pdu + 1), ft_u16(j->pdu + 3));
    return code ? code : ft_job_echo(j, 5);
}

static int write_coils(ft_job *j)
{
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (ft_job_leaves(address, quantity))
        return FT_ILLEGAL_ADDRESS;
    for (uint16_t i = 0; i < quantity; i++) {
        int code = ft_job_write(j, FT_COIL, (uint16_t)(address + i), j->pdu[6 + i / 8] >> (i % 8) & 1);
        if (code)
            return code;
    }
    return ft_job_echo(j, 5);
}

static int store_registers(ft_job *j, uint16_t address, uint16_t quantity, const uint8_t *values)
{
    for (uint16_t i = 0; i < quantity; i++) {
        int code = ft_job_write(j, FT_HOLDING, (uint16_t)(address + i), ft_u16(values + 2 * i));
        if (code)
            return code;
    }
    return 0;
}

static int write_registers(ft_job *j)
{
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    if (ft_job_leaves(address, quantity))
        return FT_ILLEGAL_ADDRESS;
    int code = store_registers(j, address, quantity, j->pdu + 6);
    return code ? code : ft_job_echo(j, 5);
}

static int mask_register(ft_job *j)
{
    uint8_t now[2];
    uint16_t address = ft_u16(j->pdu + 1);
    uint16_t and_mask = ft_u16(j->pdu + 3);
    uint16_t or_mask = ft_u16(j->pdu + 5);
    ft_job_registers(j, FT_HOLDING, address, 1, now);
    uint16_t masked = (uint16_t)((ft_u16(now) & and_mask) | (or_mask & (uint16_t)~and_mask));
    int code = ft_job_write(j, FT_HOLDING, address, masked);
    return code ? code : ft_job_echo(j, 7);
}

static int write_and_read(ft_job *j)
{
    uint16_t from = ft_u16(j->pdu + 1);
    uint16_t quantity = ft_u16(j->pdu + 3);
    uint16_t to = ft_u16(j->pdu + 5);
    uint16_t written = ft_u16(j->pdu + 7);
    if (ft_job_leaves(from, quantity) || ft_job_leaves(to, written))
        return FT_ILLEGAL_ADDRESS;
    int code = store_registers(j, to, written, j->pdu + 10);
    return code ? code : answer_registers(j, FT_HOLDING, from, quantity);
}

ft_handler ft_data_handler(uint8_t function)
{
    switch (function) {
    case FT_READ_COILS:
    case FT_READ_DISCRETES: return read_bits;
    case FT_READ_HOLDING:
    case FT_READ_INPUT: return read_registers;
    case FT_WRITE_COIL: return write_coil;
    case FT_WRITE_REGISTER: return write_register;
    case FT_WRITE_COILS: return write_coils;
    case FT_WRITE_REGISTERS: return write_registers;
    case FT_MASK_WRITE: return mask_register;
    case FT_READ_WRITE: return write_and_read;
    default: return NULL;
    }
}
