/* limn model: what files are, and what becomes of them. */
#include <stdlib.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "test.h"
#include "weights/weights.h"

/* The value at a path of keys parted by "/", as JSON text. */
static const char *fact(const json_t *facts, const char *keys)
{
    static char came[4000];
    char copy[200], *rest = copy;
    snprintf(copy, sizeof copy, "%s", keys);
    const json_t *v = facts;
    for (char *key; (key = strsep(&rest, "/"));)
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(key)) : json_object_get(v, key);
    size_t n = v ? json_dumpb(v, came, sizeof came - 1, JSON_ENCODE_ANY | JSON_COMPACT) : 0;
    came[n < sizeof came ? n : 0] = 0;
    return came;
}

static json_t *info(const char *path)
{
    int status = limn("model", "info", path, "--json", NULL);
    CHECK(status == 0, "%s: status %d: %s", path, status, complained);
    json_t *facts = json_loads(said, 0, NULL);
    CHECK(facts, "%s: %s", path, said);
    return facts;
}

#define FACT(facts, keys, want) CHECK(!strcmp(fact(facts, keys), want), "%s is %s", keys, fact(facts, keys))

TEST(sha256_is_that_of_the_standard)
{
    struct err e = { 0 };
    char whole[DIGEST_TEXT_BYTES], rest[DIGEST_TEXT_BYTES];
    const char *path = test_scratch("abc"); /* FIPS 180-2, appendix B.1 */
    REQUIRE(file_write_whole(path, "xyabc", 5, &e));
    REQUIRE(digest_file(path, 2, whole, rest, NULL, &e));
    assert_string_equal(rest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    REQUIRE(file_write_whole(path, "abc", 3, &e));
    REQUIRE(digest_file(path, 0, whole, NULL, NULL, &e));
    assert_string_equal(whole, rest);
}

TEST(a_folder_and_its_parts_are_described)
{
    json_t *f = info(test_data("models/tiny-sd1"));
    FACT(f, "kind", "\"model\"");
    FACT(f, "family", "\"sd1\"");
    FACT(f, "layout", "\"folder\"");
    FACT(f, "predicts", "\"epsilon\"");
    FACT(f, "parts/unet/parameters", "384744");
    FACT(f, "parts/unet/types", "{\"f16\":496}");
    FACT(f, "parts/vae/tensors", "252");
    FACT(f, "parts/text_encoder/types", "{\"f16\":52,\"i64\":1}");
    FACT(f, "tensors", "801");
    FACT(f, "files/1/sha256", "\"42af3de582f8258951a4582339018c2cbb1e1a7206e166109109f98f8bfd8779\""); /* sha256sum */
    FACT(f, "files/1/short", "\"42af3de582\"");
    json_decref(f);
    f = info(test_data("models/tiny-sd2"));
    FACT(f, "family", "\"sd2\"");
    FACT(f, "predicts", "\"v_prediction\"");
    json_decref(f);
    f = info(test_data("models/tiny-sd1/vae"));
    FACT(f, "kind", "\"part\"");
    FACT(f, "family", "");
    json_decref(f);
    CHECK(limn("model", "info", "--no-hash", test_data("models/tiny-sd1"), NULL) == 0 && strstr(said, "what            model, sd1") &&
              strstr(said, "384744 parameters") && !strstr(said, "sha256"), "%s%s", said, complained);
}

TEST(a_lora_is_described_by_itself)
{
    static const float numbers[8 * 768];
    static const struct weights_entry entries[] = {
        { "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight", DTYPE_F32, { 2, { 8, 768 } } },
        { "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight", DTYPE_F32, { 2, { 320, 8 } } },
        { "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.alpha", DTYPE_F32, { 0 } },
        { "lora_unet_down_blocks_0_resnets_0_conv1.hada_w1_b", DTYPE_F32, { 2, { 4, 32 } } },
        { "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", DTYPE_F32, { 2, { 2, 768 } } },
    };
    const void *data[] = { numbers, numbers, numbers, numbers, numbers };
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, test_scratch("."), "lora.safetensors", &e));
    struct weights_pair said_by_it[] = { { "ss_base_model_version", "sd_v1" } };
    REQUIRE(weights_save(path, entries, data, 5, said_by_it, 1, &e));
    json_t *f = info(path);
    FACT(f, "kind", "\"lora\"");
    FACT(f, "family", "\"sd1\"");
    FACT(f, "lora/naming", "\"kohya\"");
    FACT(f, "lora/modules", "3");
    FACT(f, "lora/kinds", "{\"lora\":2,\"loha\":1}");
    FACT(f, "lora/rank", "[2,8]");
    FACT(f, "lora/alpha", "[0,0]");
    FACT(f, "lora/parts", "{\"text_encoder\":1,\"unet\":2}");
    FACT(f, "lora/targets", "{\"feed_forward\":1,\"attention\":1,\"conv\":1}");
    FACT(f, "metadata/ss_base_model_version", "\"sd_v1\"");
    CHECK(strlen(fact(f, "files/0/weights_sha256")) == 66, "%s", fact(f, "files/0/weights_sha256"));
    json_decref(f);
}

TEST(what_cannot_be_described_is_told)
{
    struct err e = { 0 };
    static const float number[1];
    struct weights_entry entry = { "weight", DTYPE_F32, { 1, { 1 } } };
    char path[PATH_MAX_BYTES]; /* kept over the calls below */
    REQUIRE(path_join(path, test_scratch("."), "strange.safetensors", &e));
    REQUIRE(weights_save(path, &entry, (const void *const[]){ number }, 1, NULL, 0, &e));
    json_t *f = info(path);
    FACT(f, "kind", "\"unknown\"");
    CHECK(strstr(fact(f, "why"), "the first is"), "%s", fact(f, "why"));
    json_decref(f);
    CHECK(limn("model", "info", "/nowhere/at/all", NULL) == 1 && strstr(complained, "no such file or folder"), "%s", complained);
    REQUIRE(file_write_whole(path, "rubbish", 7, &e));
    CHECK(limn("model", "info", path, NULL) == 1 && strstr(complained, "strange.safetensors"), "%s", complained);
    CHECK(limn("model", "info", NULL) == 2, "%s", complained);
}

TEST(a_model_is_converted_and_merged_from_the_command_line)
{
    struct err e = { 0 };
    char one[PATH_MAX_BYTES], two[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    REQUIRE(path_join(one, test_scratch("."), "one.safetensors", &e) && path_join(two, test_scratch("."), "two.safetensors", &e) &&
            path_join(folder, test_scratch("."), "made", &e));
    CHECK(limn("model", "convert", "-q", test_data("models/tiny-sd1"), one, "--type", "f32", NULL) == 0, "%s", complained);
    json_t *f = info(one);
    FACT(f, "kind", "\"model\"");
    FACT(f, "family", "\"sd1\"");
    FACT(f, "parts/unet/types", "{\"f32\":496}");
    FACT(f, "metadata/modelspec.prediction_type", "\"epsilon\"");
    json_decref(f);
    CHECK(limn("model", "merge", "-q", one, one, "-o", two, "--weight", "0.3", NULL) == 0, "%s", complained);
    CHECK(limn("model", "merge", "-q", one, one, "-o", two, NULL) == 2 && strstr(complained, "is there already"), "%s", complained);
    CHECK(limn("model", "merge", "-q", one, one, "-o", folder, "--blocks", "1,x", NULL) == 2 && strstr(complained, "\"x\""), "%s",
          complained);
    CHECK(limn("model", "convert", "-q", two, folder, "--config", test_data("models/tiny-sd1"), NULL) == 0, "%s", complained);
    f = info(folder);
    FACT(f, "layout", "\"folder\"");
    FACT(f, "parts/vae/tensors", "252");
    json_decref(f);
    char png[PATH_MAX_BYTES];
    REQUIRE(path_join(png, test_scratch("."), "picture.png", &e));
    CHECK(limn("generate", "-q", "--model", one, "--config", folder, "--vae", two, "--steps", "1", "-o", png, "an apple", NULL) == 0,
          "%s", complained);
    CHECK(path_exists(png), "no picture");
}
