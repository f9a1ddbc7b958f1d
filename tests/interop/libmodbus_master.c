/* libmodbus as an independent master: does what it can with one unit and prints what it got, one line a call.
 * Usage: libmodbus_master (PATH | HOST PORT) UNIT */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>

static void show_words(const char *call, int code, const uint16_t *words)
{
    printf("%s %d", call, code);
    for (int i = 0; i < code; i++)
        printf(" %u", words[i]);
    printf("\n");
}

static void show_bits(const char *call, int code, const uint8_t *bits)
{
    printf("%s %d ", call, code);
    for (int i = 0; i < code; i++)
        printf("%u", bits[i]);
    printf("\n");
}

static void write_and_read(modbus_t *master)
{
    uint16_t words[125] = {4711, 0, 65535};
    uint8_t bits[11] = {1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1};
    printf("write_register %d\n", modbus_write_register(master, 5, 99));
    printf("write_registers %d\n", modbus_write_registers(master, 6, 3, words));
    show_words("read_registers", modbus_read_registers(master, 5, 4, words), words);
    printf("mask %d\n", modbus_mask_write_register(master, 5, 0xFFF0, 0x000C));
    words[0] = 7;
    show_words("both", modbus_write_and_read_registers(master, 9, 1, words, 5, 5, words), words);
    printf("write_bit %d\n", modbus_write_bit(master, 4, 1));
    printf("write_bits %d\n", modbus_write_bits(master, 5, 11, bits));
    show_bits("read_bits", modbus_read_bits(master, 4, 12, bits), bits);
}

static void ask_who(modbus_t *master)
{
    uint8_t id[MODBUS_MAX_PDU_LENGTH];
    int n = modbus_report_slave_id(master, sizeof id - 1, id);
    printf("report_slave_id %d %.*s %02x\n", n, n > 0 ? n - 1 : 0, (char *)id, n > 0 ? id[n - 1] : 0);
}

static void read_all_kinds(modbus_t *master)
{
    uint16_t words[125];
    uint8_t bits[2000];
    show_words("float", modbus_read_registers(master, 100, 2, words), words);
    printf("inputs %d\n", modbus_read_input_registers(master, 0, 125, words));
    printf("coils %d\n", modbus_read_bits(master, 0, 2000, bits));
    printf("discretes %d\n", modbus_read_input_bits(master, 65527, 9, bits));
    int refused = modbus_read_registers(master, 65535, 2, words);
    printf("outside %d %s\n", refused, modbus_strerror(errno));
}

int main(int count, char **words)
{
    modbus_t *master = count == 4 ? modbus_new_tcp(words[1], atoi(words[2])) : modbus_new_rtu(words[1], 115200, 'N', 8, 1);
    modbus_set_response_timeout(master, 5, 0);
    if (master == NULL || modbus_set_slave(master, atoi(words[count - 1])) < 0 || modbus_connect(master) < 0) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    read_all_kinds(master);
    write_and_read(master);
    ask_who(master);
    modbus_close(master);
    modbus_free(master);
    return 0;
}
