#include "train/events.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

uint32_t events_crc(const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) { /* bit by bit: a record is short */
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

static void add_number(struct text *out, uint64_t v, int bytes)
{
    unsigned char low[8];
    for (int i = 0; i < bytes; i++)
        low[i] = (unsigned char)(v >> 8 * i);
    text_add_bytes(out, low, (size_t)bytes);
}

static void add_varint(struct text *out, uint64_t v)
{
    do {
        unsigned char byte = (unsigned char)((v & 0x7F) | (v > 0x7F ? 0x80 : 0));
        text_add_bytes(out, &byte, 1);
        v >>= 7;
    } while (v);
}

static void add_key(struct text *out, int field, int wire)
{
    add_varint(out, (uint64_t)(field << 3 | wire));
}

static void add_bytes(struct text *out, int field, const void *data, size_t bytes)
{
    add_key(out, field, WIRE_BYTES);
    add_varint(out, bytes);
    text_add_bytes(out, data, bytes);
}

static void add_double(struct text *out, int field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    add_key(out, field, WIRE_64);
    add_number(out, bits, 8);
}

/* A checksum over data that holds checksums would be weak: so it is turned and moved. */
static uint32_t masked_crc(const void *data, size_t bytes)
{
    uint32_t crc = events_crc(data, bytes);
    return (crc >> 15 | crc << 17) + 0xA282EAD8;
}

static void add_record(struct text *out, struct text *event)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)event->length >> 8 * i);
    text_add_bytes(out, length, sizeof length);
    add_number(out, masked_crc(length, sizeof length), 4);
    text_add_bytes(out, text_string(event), event->length);
    add_number(out, masked_crc(text_string(event), event->length), 4);
    out->failed |= event->failed;
    text_release(event);
}

enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE_VALUE = 2 };
enum { RECORD_MAX_BYTES = 1 << 16 };

void events_begin(struct text *out, double time)
{
    static const char version[] = "brain.Event:2";
    struct text event;
    text_init(&event, RECORD_MAX_BYTES);
    add_double(&event, EVENT_WALL_TIME, time);
    add_bytes(&event, EVENT_FILE_VERSION, version, sizeof version - 1);
    add_record(out, &event);
}

void events_scalars(struct text *out, double time, int64_t step, const json_t *numbers)
{
    struct text event, summary, value;
    text_init(&event, RECORD_MAX_BYTES);
    text_init(&summary, RECORD_MAX_BYTES);
    text_init(&value, RECORD_MAX_BYTES);
    const char *name;
    const json_t *number;
    json_object_foreach((json_t *)(uintptr_t)numbers, name, number) {
        if (!json_is_number(number) || !strcmp(name, "step"))
            continue;
        float v = (float)json_number_value(number);
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        text_clear(&value);
        add_bytes(&value, VALUE_TAG, name, strlen(name));
        add_key(&value, VALUE_SIMPLE_VALUE, WIRE_32);
        add_number(&value, bits, 4);
        add_bytes(&summary, SUMMARY_VALUE, text_string(&value), value.length);
    }
    add_double(&event, EVENT_WALL_TIME, time);
    add_key(&event, EVENT_STEP, WIRE_VARINT);
    add_varint(&event, (uint64_t)step);
    add_bytes(&event, EVENT_SUMMARY, text_string(&summary), summary.length);
    event.failed |= summary.failed || value.failed;
    add_record(out, &event);
    text_release(&summary);
    text_release(&value);
}
