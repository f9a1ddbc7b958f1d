/* One request to one unit of a simulated bus in, the PDU that it answers, or the exception, out. */
#ifndef FT_JOB_H
#define FT_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "server.h"

enum {
    FT_ILLEGAL_FUNCTION = 1, FT_ILLEGAL_ADDRESS = 2, FT_ILLEGAL_VALUE = 3, FT_DEVICE_FAILURE = 4, FT_NO_PATH = 0x0B
};

typedef struct ft_job {
    ft_server *server;
    const uint8_t *pdu;
    size_t n;
    int64_t tick;
    uint8_t *out;      /* room for FT_MAX_PDU bytes; the function stands there already */
    size_t out_bytes;
    uint8_t unit;
    uint8_t keeps_silent; /* nothing is answered */
} ft_job;

/* Carries out one function whose request has the length that the table wants. Returns 0, or the exception. */
typedef int (*ft_handler)(ft_job *);

/* Who carries a function out; NULL: none of these. */
ft_handler ft_data_handler(uint8_t function);    /* registers and coils */
ft_handler ft_service_handler(uint8_t function); /* files, queues, diagnostics, identification */

/* What several handlers do. */
int ft_job_write(const ft_job *j, uint8_t table, uint16_t address, uint16_t value); /* 0, or the exception */
void ft_job_registers(const ft_job *j, uint8_t table, uint16_t address, uint16_t quantity, uint8_t *out);
int ft_job_bit(const ft_job *j, uint8_t table, uint16_t address);
int ft_job_echo(ft_job *j, size_t n); /* the answer is the request's first n bytes; 0 */
int ft_job_leaves(uint16_t address, uint16_t quantity); /* 1: the range ends beyond the last address */

#endif
