/* Prompts to pieces and rows of tokens, against tests/reference/make_prompts.py. */
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "generate/chunk.h"
#include "test.h"
#include "weights/weights.h"

enum { LENGTH = 77 };

static json_t *cases(void)
{
    struct err e = { 0 };
    json_t *j = json_read(test_data("prompts/cases.json"), &e);
    if (!j)
        fail_msg("%s", e.text);
    return j;
}

static const char *text_of(const json_t *c, const char *key)
{
    return json_string_value(json_object_get(c, key));
}

static enum prompt_syntax syntax_of(const json_t *c)
{
    return strcmp(text_of(c, "syntax"), "comfy") ? PROMPT_A1111 : PROMPT_COMFY;
}

TEST(pieces_weights_and_loras_are_those_of_both_programs)
{
    json_t *all = cases(), *c, *wanted;
    size_t i, k;
    json_array_foreach(all, i, c) {
        struct err e = { 0 };
        struct prompt p;
        const char *name = text_of(c, "name");
        const json_t *pieces = json_object_get(c, "pieces"), *loras = json_object_get(c, "loras");
        REQUIRE(prompt_parse(&p, syntax_of(c), text_of(c, "text"), &e));
        CHECK(p.count == json_array_size(pieces), "%s: %zu pieces, wanted %zu", name, p.count, json_array_size(pieces));
        json_array_foreach(pieces, k, wanted) {
            const struct prompt_piece *came = &p.pieces[k];
            const char *text = json_string_value(json_array_get(wanted, 1)), *rest = json_string_value(json_array_get(wanted, 2));
            CHECK((int)came->kind == json_integer_value(json_array_get(wanted, 0)) && !strcmp(came->text, text) &&
                      !strcmp(came->rest, rest), "%s, piece %zu: %d \"%s\" \"%s\", wanted \"%s\" \"%s\"", name, k,
                  (int)came->kind, came->text, came->rest, text, rest);
            CHECK_NEAR(came->weight, json_number_value(json_array_get(wanted, 3)), 1e-12, "%s, piece %zu", name, k);
        }
        CHECK(p.lora_count == json_array_size(loras), "%s: %zu LoRAs", name, p.lora_count);
        json_array_foreach(loras, k, wanted) {
            CHECK(!strcmp(p.loras[k].name, json_string_value(json_array_get(wanted, 0))), "%s: %s", name, p.loras[k].name);
            CHECK_NEAR(p.loras[k].unet, json_number_value(json_array_get(wanted, 1)), 0, "%s, LoRA %zu", name, k);
            CHECK_NEAR(p.loras[k].text, json_number_value(json_array_get(wanted, 2)), 0, "%s, LoRA %zu", name, k);
        }
        prompt_release(&p);
    }
    json_decref(all);
}

static void compare_rows(const json_t *c, const struct chunk_rows *came, const struct clip_tokenizer *t)
{
    const char *name = text_of(c, "name");
    const json_t *rows = json_object_get(c, "rows"), *weights = json_object_get(c, "weights"), *row;
    size_t i, vectors = 0;
    CHECK((size_t)came->count == json_array_size(rows), "%s: %lld rows, wanted %zu", name, (long long)came->count,
          json_array_size(rows));
    json_array_foreach(rows, i, row)
        for (size_t k = 0; k < LENGTH; k++) {
            bool padding = k >= json_array_size(row);
            int32_t id = padding ? clip_tokenizer_pad(t) : (int32_t)json_integer_value(json_array_get(row, k));
            double weight = padding ? 1 : json_number_value(json_array_get(json_array_get(weights, i), k));
            CHECK(came->ids[i * LENGTH + k] == id, "%s: id %d at %zu of row %zu, wanted %d", name, came->ids[i * LENGTH + k], k,
                  i, id);
            CHECK_NEAR(came->weights[i * LENGTH + k], weight, 1e-6, "%s: at %zu of row %zu", name, k, i);
            vectors += came->vectors[i * LENGTH + k] != NULL;
        }
    json_array_foreach(json_object_get(c, "vectors"), i, row) {
        size_t at = (size_t)(json_integer_value(json_array_get(row, 0)) * LENGTH + json_integer_value(json_array_get(row, 1)));
        CHECK(came->vectors[at] != NULL, "%s: no vector at %zu", name, at);
        CHECK_NEAR(came->vectors[at][0], json_number_value(json_array_get(row, 2)), 1e-6, "%s, at %zu", name, at);
    }
    CHECK(vectors == i, "%s: %zu vectors, wanted %zu", name, vectors, i);
}

TEST(rows_are_those_of_both_programs)
{
    json_t *all = cases(), *c;
    struct err e = { 0 };
    struct inversions *known = inversions_new(&e);
    REQUIRE(known != NULL);
    REQUIRE(inversions_add(known, test_data("prompts/embeddings"), &e));
    size_t i;
    json_array_foreach(all, i, c) {
        char folder[200];
        struct prompt p;
        struct chunk_rows rows;
        snprintf(folder, sizeof folder, "models/%s/tokenizer", text_of(c, "model"));
        struct clip_tokenizer *t = clip_tokenizer_open(test_data(folder), &e);
        REQUIRE(t != NULL);
        struct chunk_source source = { t, LENGTH, 48, "clip_l", known, NULL, false };
        REQUIRE(prompt_parse(&p, syntax_of(c), text_of(c, "text"), &e));
        REQUIRE(chunk_rows_make(&rows, &p, syntax_of(c), &source, &e));
        compare_rows(c, &rows, t);
        chunk_rows_release(&rows);
        prompt_release(&p);
        clip_tokenizer_free(t);
    }
    inversions_free(known);
    json_decref(all);
}

/* "((...a...))" */
static char *nested(int depth)
{
    static char text[1000];
    memset(text, '(', (size_t)depth);
    text[depth] = 'a';
    memset(text + depth + 1, ')', (size_t)depth);
    text[2 * depth + 1] = 0;
    return text;
}

TEST(what_cannot_be_read_is_an_error_that_says_so)
{
    static const struct { enum prompt_syntax syntax; const char *text; enum err_code code; const char *part; } bad[] = {
        { PROMPT_COMFY, "a\xff", ERR_FORMAT, "not valid UTF-8" },
        { PROMPT_COMFY, "(a:nan)", ERR_LIMIT, "the weight nan of \"(a:nan)\"" },
        { PROMPT_COMFY, "b (a:1e4) c", ERR_LIMIT, "the weight 10000 of \"(a:1e4)\": at most 1000" },
        { PROMPT_A1111, "(a:1.2.3)", ERR_FORMAT, "the weight \"1.2.3\" is not a number" },
        { PROMPT_A1111, "((a:900):2)", ERR_LIMIT, "the weight 1800 of \"a\"" },
        { PROMPT_A1111, "a [b:c:0.5] d", ERR_FORMAT, "\"[b:c:0.5]\": words that change between steps" },
        { PROMPT_A1111, "a [b: 3]", ERR_FORMAT, "\"[b: 3]\"" },
        { PROMPT_A1111, "[cat|(dog:1.2)]", ERR_FORMAT, "\"[cat|(dog:1.2)]\"" },
        { PROMPT_A1111, "a cat AND a dog", ERR_FORMAT, "AND: several prompts" },
        { PROMPT_A1111, "<hypernet:x:1> a", ERR_FORMAT, "hypernetworks are not supported" },
        { PROMPT_A1111, "<lora:x:big>", ERR_FORMAT, "<lora:x:big>: \"big\" is not a number" },
        { PROMPT_A1111, "<lora:x:dyn=3>", ERR_FORMAT, "\"dyn=3\" is not known" },
        { PROMPT_COMFY, "<lora::1>", ERR_FORMAT, "<lora::1> names no LoRA" },
        { PROMPT_COMFY, "<lora:x:1:2:3>", ERR_FORMAT, "more than two numbers" },
        { PROMPT_COMFY, "<lora:x:1e9>", ERR_LIMIT, "at most 1000" },
    };
    struct err e = { 0 };
    struct prompt p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(prompt_parse(&p, bad[i].syntax, bad[i].text, &e), bad[i].code, bad[i].part);
    for (int syntax = PROMPT_COMFY; syntax <= PROMPT_A1111; syntax++) {
        REQUIRE(prompt_parse(&p, (enum prompt_syntax)syntax, nested(PROMPT_MAX_NESTING), &e));
        prompt_release(&p);
        CHECK_FAILS(prompt_parse(&p, (enum prompt_syntax)syntax, nested(PROMPT_MAX_NESTING + 1), &e), ERR_LIMIT,
                    "more than 64 brackets");
    }
}

TEST(plain_takes_every_character_as_a_word)
{
    struct err e = { 0 };
    struct prompt p;
    const char *text = "a (b:1.2) [c] <lora:x:1> embedding:y BREAK";
    REQUIRE(prompt_parse(&p, PROMPT_PLAIN, text, &e));
    CHECK(p.count == 1 && !p.lora_count && !strcmp(p.pieces[0].text, text) && p.pieces[0].weight == 1, "%zu", p.count);
    CHECK(!strcmp(p.bare, text), "%s", p.bare);
    prompt_release(&p);
    REQUIRE(prompt_parse(&p, PROMPT_COMFY, text, &e));
    CHECK(!strcmp(p.bare, "a (b:1.2) [c]  embedding:y BREAK"), "%s", p.bare);
    prompt_release(&p);
}

TEST(words_in_brackets_of_a_word_are_no_editing)
{
    static const char *const good[] = { "a [b:c] d", "\\[a|b\\]", "(a|b)", "SAND ANDY and", "[a:0.5", "a|b", "[a (b:1.2)]" };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct prompt p;
        REQUIRE(prompt_parse(&p, PROMPT_A1111, good[i], &e));
        prompt_release(&p);
    }
}

TEST(rows_have_a_limit)
{
    struct err e = { 0 };
    struct prompt p;
    struct chunk_rows rows;
    struct clip_tokenizer *t = clip_tokenizer_open(test_data("models/tiny-sd1/tokenizer"), &e);
    REQUIRE(t != NULL);
    enum { WORDS = CHUNK_MAX_ROWS * (LENGTH - 2) };
    char *text = mem_zeroed(2 * WORDS + 3, 1);
    for (int i = 0; i <= WORDS; i++)
        memcpy(text + 2 * i, "a ", 2);
    struct chunk_source source = { t, LENGTH, 48, NULL, NULL, NULL, false };
    for (int syntax = PROMPT_COMFY; syntax <= PROMPT_A1111; syntax++) {
        REQUIRE(prompt_parse(&p, (enum prompt_syntax)syntax, text, &e));
        CHECK_FAILS(chunk_rows_make(&rows, &p, (enum prompt_syntax)syntax, &source, &e), ERR_LIMIT, "more than 4800 tokens");
        prompt_release(&p);
        REQUIRE(prompt_parse(&p, (enum prompt_syntax)syntax, text + 2, &e));
        REQUIRE(chunk_rows_make(&rows, &p, (enum prompt_syntax)syntax, &source, &e));
        CHECK(rows.count == CHUNK_MAX_ROWS, "%lld", (long long)rows.count);
        chunk_rows_release(&rows);
        prompt_release(&p);
    }
    mem_free(text);
    clip_tokenizer_free(t);
}

TEST(embeddings_are_found_by_name_and_chosen_by_width)
{
    struct err e = { 0 };
    size_t i;
    struct inversion v;
    struct inversions *s = inversions_new(&e);
    REQUIRE(s != NULL);
    CHECK_FAILS(inversions_add(s, test_data("prompts/none"), &e), ERR_IO, "prompts/none");
    REQUIRE(inversions_add(s, test_data("prompts/embeddings"), &e));
    enum { RINGS, SPARKS, WAVES, DOTS, FILES };
    CHECK(inversions_count(s) == FILES && !strcmp(inversions_name(s, WAVES), "waves") &&
              !strcmp(inversions_name(s, DOTS), "dots"), "%zu files, first %s", inversions_count(s), inversions_name(s, 0));
    static const struct { const char *name; int file; } names[] = {
        { "waves", WAVES }, { "waves.safetensors", WAVES }, { "dots", DOTS }, { "sub/dots", DOTS },
        { "sub/dots.safetensors", DOTS }, { "rings", RINGS }, { "sparks.pt", SPARKS }, { "ots", -1 }, { "sub", -1 }, { "", -1 }, { "../embeddings/waves", -1 }, { "waves.pt", -1 },
    };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        bool found = inversions_find(s, names[k].name, &i);
        CHECK(found == (names[k].file >= 0) && (!found || (int)i == names[k].file), "\"%s\"", names[k].name);
    }
    const struct inversion *small = inversions_get(s, DOTS, 48, "clip_l", &e), *large = inversions_get(s, DOTS, 64, "clip_g", &e);
    REQUIRE(small && large);
    CHECK(small->count == 9 && small->width == 48 && large->width == 64, "%lld", (long long)small->count);
    CHECK(inversions_get(s, DOTS, 48, "clip_l", &e) == small, "read twice");
    CHECK_FAILS(inversions_get(s, WAVES, 64, NULL, &e), ERR_SHAPE, "no vectors of width 64, which this text encoder takes; it has "
                "emb_params [2, 48]");
    struct weights *pickled = weights_open(test_data("prompts/pickled.safetensors"), &e);
    REQUIRE(pickled != NULL);
    for (i = RINGS; i <= SPARKS; i++) {
        const struct inversion *came = inversions_get(s, i, 48, NULL, &e);
        const struct weight *wanted = weights_need(pickled, inversions_name(s, i), &e);
        REQUIRE(came && wanted);
        CHECK(came->count * 48 == shape_count(wanted->shape) && !memcmp(came->vectors, wanted->data, weight_bytes(wanted)), "%s",
              inversions_name(s, i));
    }
    weights_free(pickled);
    inversions_free(s);
    CHECK_FAILS(inversion_read(&v, test_data("prompts/tiny-sd1.safetensors"), 3, NULL, &e), ERR_SHAPE, ", ...");
}
