#include "train/events.h"

#include "base/file.h"
#include "base/mem.h"
#include "test.h"

TEST(the_checksum_is_castagnolis)
{
    unsigned char zeros[32] = { 0 }, rising[32];
    for (int i = 0; i < 32; i++)
        rising[i] = (unsigned char)i;
    CHECK(events_crc("123456789", 9) == 0xE3069283, "%08x", events_crc("123456789", 9));
    CHECK(events_crc(zeros, 32) == 0x8A9136AA && events_crc(rising, 32) == 0x46DD794E, "%s", "RFC 3720's vectors");
}

TEST(records_have_the_bytes_that_tensorboard_writes)
{
    struct err e = { 0 };
    json_t *first = json_pack("{s:f,s:f,s:i}", "loss", 0.25, "rate", 1e-4, "step", 1);
    json_t *second = json_pack("{s:i,s:f,s:f,s:s,s:i}", "step", 300, "loss", -1.5e10, "held_out", 0.1, "note", "no number", "psnr", 20);
    struct text came;
    text_init(&came, 1 << 12);
    events_begin(&came, 1700000000.5);
    events_scalars(&came, 1700000001.5, 1, first);
    events_scalars(&came, 1700000300.5, 300, second);
    REQUIRE(text_ok(&came, &e));
    char *wanted;
    size_t bytes;
    REQUIRE(file_read(test_data("expected/events.bin"), 1 << 12, &wanted, &bytes, &e));
    CHECK(came.length == bytes, "%zu bytes, wanted %zu", came.length, bytes);
    for (size_t i = 0; i < bytes; i++)
        CHECK(came.s[i] == wanted[i], "byte %zu is %02x, wanted %02x", i, (unsigned char)came.s[i], (unsigned char)wanted[i]);
    mem_free(wanted);
    text_release(&came);
    json_decref(first);
    json_decref(second);
}
