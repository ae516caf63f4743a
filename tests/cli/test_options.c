#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/options_internal.h"
#include "test.h"

struct draw_args {
    struct option_texts words, lora;
    int64_t steps, seed, width, cache;
    double cfg;
    int sampler;
    const char *output, *model;
    bool quiet, mark, dry_run;
};
#define AT(member) offsetof(struct draw_args, member)
OPTION_CHOICES(sampler_choice, "euler", "dpmpp_2m", "ddim")

static const struct option draw_options[] = {
    { "steps", 's', OPTION_INT, AT(steps), "20", .min = 1, .max = 1000, .help = "denoiser calls", .group = "Picture" },
    { "seed", 0, OPTION_INT, AT(seed), "-1", .min = 0, .max = INFINITY, .help = "same seed, same picture",
      .initial_help = "random" },
    { "width", 'W', OPTION_INT, AT(width), .min = 8, .max = 4096, .help = "pixels", .initial_help = "the model's" },
    { "cfg", 0, OPTION_FLOAT, AT(cfg), "7.5", .min = 1, .max = 100, .help = "1 follows the model, 7 the words" },
    { "sampler", 0, OPTION_CHOICE, AT(sampler), "ddim", .choices = sampler_choice, .help = "how a step is taken" },
    { "lora", 'l', OPTION_TEXTS, AT(lora), .value = "FILE", .help = "mixed in" },
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FILE", .help = "it's [where] the picture: goes" },
    { "model", 0, OPTION_TEXT, AT(model), "limn-emoji", .value = "FOLDER", .help = "what draws", .group = "Machine" },
    { "cache", 0, OPTION_SIZE, AT(cache), "1G", .min = 1024, .max = INFINITY, .help = "memory for it" },
    { "quiet", 'q', OPTION_FLAG, AT(quiet), .help = "no progress" },
    { "mark", 0, OPTION_FLAG, AT(mark), "yes", .help = "leave the settings out of the file" },
    { "dry-run", 'n', OPTION_FLAG, AT(dry_run), .help = "only say what would happen" },
    { 0 },
};
static bool draw_run(const void *args, struct err *e)
{
    const struct draw_args *a = args;
    return a->steps == 99   ? err_set(e, ERR_STOPPED, "stopped")
           : a->steps == 98 ? err_set(e, ERR_IO, "no disk")
           : a->steps == 97 ? err_set(e, ERR_ARG, "97 is bad")
                            : true;
}
static const struct command draw = {
    .name = "draw", .help = "Draws a picture from words.", .details = "It takes\na while.", .words = "\"TEXT\"",
    .words_place = AT(words), .words_min = 1, .words_max = 2, .options = draw_options,
    .args_bytes = sizeof(struct draw_args), .run = draw_run,
};
static bool good_run(const void *args, struct err *e)
{
    return true;
}
static const struct command bake_bread = { .name = "bake bread", .help = "Bakes a loaf.", .run = good_run };
static const struct command bake_cake = {
    .name = "bake cake", .help = "Bakes a cake.", .options = draw_options,
    .args_bytes = sizeof(struct draw_args), .run = good_run,
};
static const struct command *const table[] = { &draw, &bake_bread, &bake_cake, NULL };

/* A line cut at spaces; '_' stays, "~" stands for an empty word. */
static int cut(const char *line, const char *argv[32])
{
    static char copy[400];
    snprintf(copy, sizeof copy, "%s", line);
    int argc = 0;
    for (char *word = strtok(copy, " "); word && argc < 32; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "~") == 0 ? "" : word;
    return argc;
}

TEST(a_line_sets_what_it_says_and_nothing_else)
{
    /* the wanted arguments as JSON of what differs from the defaults */
    static const char defaults[] =
        "{\"steps\":20,\"seed\":-1,\"width\":0,\"cfg\":7.5,\"sampler\":\"ddim\",\"lora\":[],\"output\":null,"
        "\"model\":\"limn-emoji\",\"cache\":1073741824,\"quiet\":false,\"mark\":true,\"dry_run\":false}";
    static const struct {
        const char *line, *changed;
        const char *words[2];
    } cases[] = {
        { "cat", "{}", { "cat" } },
        { "cat dog", "{}", { "cat", "dog" } },
        { "~", "{}", { "" } },
        { "--steps 5 cat", "{\"steps\":5}", { "cat" } },
        { "cat --steps=5", "{\"steps\":5}", { "cat" } },
        { "cat --steps 5 --steps 6", "{\"steps\":6}", { "cat" } },
        { "cat --steps 1000 --cfg 100", "{\"steps\":1000,\"cfg\":100.0}", { "cat" } },
        { "cat --steps 1", "{\"steps\":1}", { "cat" } },
        { "cat -s 7", "{\"steps\":7}", { "cat" } },
        { "cat -s7", "{\"steps\":7}", { "cat" } },
        { "cat -qns7", "{\"steps\":7,\"quiet\":true,\"dry_run\":true}", { "cat" } },
        { "cat --dry_run", "{\"dry_run\":true}", { "cat" } },
        { "cat --dry-run", "{\"dry_run\":true}", { "cat" } },
        { "cat --no-mark", "{\"mark\":false}", { "cat" } },
        { "cat --no_mark --mark", "{}", { "cat" } },
        { "cat --cfg 1e1", "{\"cfg\":10.0}", { "cat" } },
        { "cat --sampler dpmpp-2m", "{\"sampler\":\"dpmpp_2m\"}", { "cat" } },
        { "cat --sampler=euler", "{\"sampler\":\"euler\"}", { "cat" } },
        { "cat --output ~", "{\"output\":\"\"}", { "cat" } },
        { "cat --output=a=b", "{\"output\":\"a=b\"}", { "cat" } },
        { "cat --output --steps", "{\"output\":\"--steps\"}", { "cat" } },
        { "cat --lora a --lora=b -lc", "{\"lora\":[\"a\",\"b\",\"c\"]}", { "cat" } },
        { "cat --seed 9223372036854775807", "{\"seed\":9223372036854775807}", { "cat" } },
        { "cat --cache 1.5K", "{\"cache\":1536}", { "cat" } },
        { "cat --cache 2g", "{\"cache\":2147483648}", { "cat" } },
        { "cat --cache 4096", "{\"cache\":4096}", { "cat" } },
        { "-- --steps", "{}", { "--steps" } },
        { "cat -- --", "{}", { "cat", "--" } },
        { "-1 -.5", "{}", { "-1", "-.5" } },
        { "- cat", "{}", { "-", "cat" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *argv[32];
        int argc = cut(cases[i].line, argv);
        struct draw_args args;
        struct err e = { 0 };
        bool help;
        REQUIRE(options_parse(&draw, argc, argv, &args, &help, &e));
        json_t *came = options_json(&draw, &args, &e);
        json_t *wanted = json_parse(defaults, strlen(defaults), "defaults", &e);
        json_t *changed = json_parse(cases[i].changed, strlen(cases[i].changed), "case", &e);
        CHECK(came && wanted && changed, "%s", e.text);
        json_object_update(wanted, changed);
        char *text = json_dumps(came, JSON_COMPACT);
        CHECK(json_equal(came, wanted) && !help, "%s: came %s", cases[i].line, text);
        int words = cases[i].words[1] ? 2 : 1;
        CHECK(args.words.count == words, "%s: %d words", cases[i].line, args.words.count);
        for (int k = 0; k < words; k++)
            CHECK(strcmp(args.words.items[k], cases[i].words[k]) == 0, "%s: %s", cases[i].line, args.words.items[k]);
        free(text);
        json_decref(came);
        json_decref(wanted);
        json_decref(changed);
    }
}

TEST(a_wrong_line_is_told_what_is_wrong_with_it)
{
    static const struct {
        const char *line, *part;
    } cases[] = {
        { "cat --step 5", "limn draw has no option --step; did you mean --steps?" },
        { "cat --smapler euler", "did you mean --sampler?" },
        { "cat --out x", "did you mean --output?" },
        { "cat --zzzzzz", "limn draw has no option --zzzzzz" },
        { "cat --no-quiet", "no option --no-quiet" },
        { "cat --=5", "has no option --" },
        { "cat -x", "has no option -x" },
        { "cat --steps", "--steps needs a value" },
        { "cat -s", "-s (--steps) needs a value" },
        { "cat --steps 0", "--steps 0: the value must be 1 to 1000" },
        { "cat --steps 1001", "1 to 1000" },
        { "cat --steps 99999999999999999999999", "1 to 1000" },
        { "cat --steps 5x", "--steps 5x: not a whole number" },
        { "cat --steps 5.0", "not a whole number" },
        { "cat --steps ~", "not a whole number" },
        { "cat --seed -1", "--seed -1: the value must be 0 or more" },
        { "cat --cfg 0.5", "--cfg 0.5: the value must be 1 to 100" },
        { "cat --cfg nan", "not a number" },
        { "cat --cfg inf", "not a number" },
        { "cat --cfg 7,5", "not a number" },
        { "cat --sampler eulr", "--sampler eulr: not one of euler, dpmpp_2m, ddim; did you mean euler?" },
        { "cat --quiet=yes", "--quiet takes no value" },
        { "cat --cache 10", "1024 or more" },
        { "cat --cache 5X", "not a size such as 512M or 2G" },
        { "cat --cache 5GB", "not a size" },
        { "cat --cache -5", "not a size" },
        { "cat --cache 9e30", "too large" },
        { "--steps 5", "limn draw needs \"TEXT\"" },
        { "a b c", "takes at most 2" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *argv[32];
        int argc = cut(cases[i].line, argv);
        struct draw_args args;
        struct err e = { 0 };
        bool help;
        CHECK(!options_parse(&draw, argc, argv, &args, &help, &e), "%s: it was taken", cases[i].line);
        CHECK(e.code == ERR_ARG && strstr(e.text, cases[i].part), "%s: came %s", cases[i].line, e.text);
    }
    struct err e = { 0 };
    bool help;
    const char *argv[140];
    for (int i = 0; i < 130; i++)
        argv[i] = i % 2 ? "x" : "--lora";
    struct draw_args args;
    CHECK_FAILS(options_parse(&draw, 130, argv, &args, &help, &e), ERR_ARG, "at most 64 times");
    argv[0] = "word";
    CHECK_FAILS(options_parse(&bake_bread, 1, argv, NULL, &help, &e), ERR_ARG, "takes no words");
    CHECK_FAILS(options_parse(&bake_bread, 1, argv + 2, NULL, &help, &e), ERR_ARG, "no option --lora");
}

/* A file in the scratch folder. */
static const char *written(const char *name, const char *text)
{
    struct err e = { 0 };
    const char *path = test_scratch(name);
    REQUIRE(file_write_whole(path, text, strlen(text), &e));
    return path;
}

struct paint_args {
    struct draw_args draw;
    struct option_settings settings;
};
static const struct option paint_options[] = {
    { "settings", 0, OPTION_SETTINGS, offsetof(struct paint_args, settings), .value = "FILE", .help = "values" },
    { "steps", 's', OPTION_INT, AT(steps), "20", .min = 1, .max = 1000, .help = "denoiser calls" },
    { "cfg", 0, OPTION_FLOAT, AT(cfg), "7.5", .min = 1, .max = 100, .help = "guidance" },
    { "sampler", 0, OPTION_CHOICE, AT(sampler), "ddim", .choices = sampler_choice, .help = "how a step is taken" },
    { "lora", 'l', OPTION_TEXTS, AT(lora), .value = "FILE", .help = "mixed in" },
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FILE", .help = "where it goes" },
    { "cache", 0, OPTION_SIZE, AT(cache), "1G", .min = 1024, .max = INFINITY, .help = "memory for it" },
    { "dry-run", 'n', OPTION_FLAG, AT(dry_run), .help = "only say what would happen" },
    { 0 },
};
static const struct command paint = { .name = "paint", .help = "Paints.", .options = paint_options,
                                      .args_bytes = sizeof(struct paint_args), .run = draw_run };

TEST(a_settings_file_says_what_the_line_does_not)
{
    struct err e = { 0 };
    struct paint_args a = { 0 };
    bool help;
    char toml[PATH_MAX_BYTES];
    snprintf(toml, sizeof toml, "%s", written("paint.toml", "steps = 30\ncfg = 3\noutput = 'a.png'\nlora = ['x', 'y']\n[cache]\n"
                                                            "cache = '2K'\ndry_run = true\n"));
    const char *by_name[] = { "--lora", "z", "--settings", toml, "-s", "40" };
    REQUIRE(options_parse(&paint, 6, by_name, &a, &help, &e));
    CHECK(a.draw.steps == 40 && a.draw.cfg == 3 && !strcmp(a.draw.output, "a.png") && a.draw.cache == 2048 && a.draw.dry_run, "%s",
          "file and line");
    CHECK(a.draw.lora.count == 1 && !strcmp(a.draw.lora.items[0], "z"), "%d", a.draw.lora.count);
    CHECK(a.draw.sampler == 2, "the default: %d", a.draw.sampler);
    /* what it all came to is a file that says the same */
    json_t *j = options_json(&paint, &a, &e);
    CHECK(j && !json_object_get(j, "settings"), "%s", e.text);
    json_object_set_new(j, "command", json_string("paint"));
    REQUIRE(json_write(j, test_scratch("again.json"), &e));
    struct paint_args b = { 0 };
    const char *again[] = { "--config=again.json" };
    char path[PATH_MAX_BYTES + 20];
    snprintf(path, sizeof path, "--config=%s", test_scratch("again.json"));
    again[0] = path;
    REQUIRE(options_parse(&paint, 1, again, &b, &help, &e));
    json_t *k = options_json(&paint, &b, &e);
    json_object_set_new(k, "command", json_string("paint"));
    CHECK(json_equal(j, k), "%s", "the second file");
    json_decref(j);
    json_decref(k);
    options_release(&paint, &a);
    options_release(&paint, &b);
    static const struct { const char *text, *part; } wrong[] = {
        { "stepz = 3", "did you mean steps" },     { "steps = 'x'", "a whole number" }, { "steps = 2000", "1 to 1000" },
        { "command = 'draw'", "limn draw" },       { "settings = 'x'", "no setting" },  { "{\"steps\": 1", "paint.toml" },
        { "sampler = 'eular'", "euler" },          { "lora = [1]", "list of texts" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *argv[] = { "--settings", written("paint.toml", wrong[i].text) };
        err_clear(&e);
        CHECK(!options_parse(&paint, 2, argv, &a, &help, &e) && strstr(e.text, wrong[i].part), "case %zu: %s", i, e.text);
        options_release(&paint, &a);
    }
    err_clear(&e);
    CHECK_FAILS(options_parse(&paint, 2, (const char *[]){ "--settings", "/none.toml" }, &a, &help, &e), ERR_IO, "none.toml");
    options_release(&paint, &a);
}

TEST(help_is_found_anywhere_and_stops_the_checks)
{
    static const char *const lines[] = { "--help", "-h", "--zzz --help", "--steps 5000 -h" };
    for (size_t i = 0; i < 4; i++) {
        const char *argv[32];
        int argc = cut(lines[i], argv);
        struct draw_args args;
        struct err e = { 0 };
        bool help;
        REQUIRE(options_parse(&draw, argc, argv, &args, &help, &e));
        CHECK(help, "%s", lines[i]);
    }
    const char *argv[] = { "--", "--help" };
    struct draw_args args;
    struct err e = { 0 };
    bool help;
    REQUIRE(options_parse(&draw, 2, argv, &args, &help, &e));
    CHECK(!help && strcmp(args.words.items[0], "--help") == 0, "behind -- it is a word");
}

TEST(arguments_come_back_from_their_json)
{
    const char *argv[] = { "cat", "--steps", "5", "--lora", "a", "--no-mark", "--output", "o.png", "--cache", "1M",
                           "--sampler", "euler" };
    struct draw_args args, back;
    struct err e = { 0 };
    bool help;
    REQUIRE(options_parse(&draw, 12, argv, &args, &help, &e));
    json_t *written = options_json(&draw, &args, &e);
    REQUIRE(options_defaults(&draw, &back, &e));
    REQUIRE(options_from_json(&draw, written, "config.json", &back, &e));
    json_t *again = options_json(&draw, &back, &e);
    CHECK(json_equal(written, again), "%s", json_dumps(again, 0));
    json_decref(again);
    json_decref(written);
    static const char *const bad[] = { "{\"steps\":0}", "{\"steps\":\"5\"}", "{\"cfg\":[]}", "{\"sampler\":\"x\"}",
                                       "{\"quiet\":1}", "{\"lora\":\"a\"}", "{\"lora\":[1]}", "{\"output\":5}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *j = json_parse(bad[i], strlen(bad[i]), "bad", &e);
        err_clear(&e);
        CHECK(!options_from_json(&draw, j, "config.json", &back, &e) && strstr(e.text, "config.json"), "%s: %s", bad[i],
              e.text);
        err_clear(&e);
        json_decref(j);
    }
}

/* stdout and stderr of the call, and what it returned. */
static int outputs(int argc, const char *const *argv, char out[20000], char errors[4000])
{
    fflush(stdout);
    fflush(stderr);
    FILE *a = tmpfile(), *b = tmpfile();
    int old_out = dup(1), old_err = dup(2);
    dup2(fileno(a), 1);
    dup2(fileno(b), 2);
    int status = cli_run(table, argc, argv);
    fflush(stdout);
    dup2(old_out, 1);
    dup2(old_err, 2);
    close(old_out);
    close(old_err);
    rewind(a);
    rewind(b);
    out[fread(out, 1, 19999, a)] = 0;
    errors[fread(errors, 1, 3999, b)] = 0;
    fclose(a);
    fclose(b);
    return status;
}

TEST(the_exit_status_and_the_stream_say_how_it_went)
{
    static const struct {
        const char *line;
        int status;
        const char *out, *errors; /* parts; NULL: that stream stays empty */
    } cases[] = {
        { "draw cat", 0, NULL, NULL },
        { "draw cat --steps 99", 130, NULL, "limn: stopped\n" },
        { "draw cat --steps 98", 1, NULL, "limn: no disk\n" },
        { "draw cat --steps 97", 2, NULL, "limn: 97 is bad\n" },
        { "draw cat --stesp 97", 2, NULL, "did you mean --steps?\nlimn: see limn help draw\n" },
        { "draw --help", 0, "Usage: limn draw [OPTIONS] \"TEXT\"", NULL },
        { "bake bread", 0, NULL, NULL },
        { "bake cake --steps 3", 0, NULL, NULL },
        { "bake cake --help", 0, "Usage: limn bake cake [OPTIONS]", NULL },
        { "bake", 2, NULL, "bake cake" },
        { "bake --help", 0, "bake bread", NULL },
        { "bake bred", 2, NULL, "limn: no command bake bred; did you mean limn bake bread?" },
        { "drew cat", 2, NULL, "limn: no command drew cat; did you mean limn draw?" },
        { "qqqqqqqqq", 2, NULL, "limn: no command qqqqqqqqq; see limn help" },
        { "--version", 0, "limn " LIMN_VERSION "\n", NULL },
        { "--help", 0, "Usage: limn COMMAND", NULL },
        { "", 2, NULL, "Usage: limn COMMAND" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *argv[33] = { "limn" };
        static char out[20000], errors[4000];
        int argc = cut(cases[i].line, argv + 1);
        int status = outputs(argc + 1, argv, out, errors);
        CHECK(status == cases[i].status, "%s: status %d, %s", cases[i].line, status, errors);
        CHECK(cases[i].out ? strstr(out, cases[i].out) != NULL : !out[0], "%s: stdout %s", cases[i].line, out);
        CHECK(cases[i].errors ? strstr(errors, cases[i].errors) != NULL : !errors[0], "%s: stderr %s", cases[i].line,
              errors);
    }
}

/* Every option of every command of a table stands in the document, in each of the document's ways to write it. */
static void mentions_all(const struct command *const *of, const char *document, const char *dashes, const char *what)
{
    for (const struct command *const *c = of; *c; c++)
        for (const struct option *o = (*c)->options; o && o->name; o++) {
            char name[100];
            snprintf(name, sizeof name, "%s%s%s", dashes, option_is_no(o) ? "no-" : "", o->name);
            CHECK(strstr(document, name), "%s does not name %s of %s", what, name, (*c)->name);
        }
}

TEST(help_tells_every_option_with_default_and_range)
{
    struct text text;
    text_init(&text, 1 << 20);
    help_command(&text, &draw);
    const char *s = text_string(&text);
    static const char *const parts[] = {
        "Draws a picture from words.\n\nUsage: limn draw [OPTIONS] \"TEXT\"\n\nIt takes\na while.\n",
        "\nPicture:\n  -s, --steps N ", "denoiser calls (default 20; 1 to 1000)\n",
        "(default random; 0 or more)\n", "(default the model's; 8 to 4096)\n", "\nMachine:\n      --model FOLDER ",
        "(one of euler, dpmpp_2m, ddim; default ddim)\n", "mixed in (may be given several times)\n",
        "      --no-mark ", "  -n, --dry-run ", "(default 1G; 1024 or more)\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        CHECK(strstr(s, parts[i]), "not in help: %s\n%s", parts[i], s);
    mentions_all((const struct command *const[]){ &draw, NULL }, s, "--", "help");
    size_t column = 0;
    for (const char *p = strstr(s, "\nPicture"); p && *p; p++) { /* every line of help fits and starts in one column */
        column = *p == '\n' ? 0 : column + 1;
        CHECK(column <= 100, "a line of help is too long");
    }
    text_release(&text);
}

TEST(every_command_of_limn_is_well_formed_and_its_help_complete)
{
    for (const struct command *const *c = commands; *c; c++) {
        struct err e = { 0 };
        struct text text;
        void *args = mem_zeroed((*c)->args_bytes + 1, 1);
        REQUIRE(options_defaults(*c, args, &e));
        text_init(&text, 1 << 20);
        help_command(&text, *c);
        REQUIRE(text_ok(&text, &e));
        mentions_all((const struct command *const[]){ *c, NULL }, text_string(&text), "--", "help");
        CHECK((*c)->run && (*c)->help && strlen((*c)->name) < 64, "%s", (*c)->name);
        for (const struct option *o = (*c)->options; o && o->name; o++) {
            CHECK(o->help && strlen(o->name) < 60 && !strpbrk(o->name, "_= "), "--%s", o->name);
            size_t length = strlen(o->help);
            bool full_stop = length && o->help[length - 1] == '.' && (length < 3 || strcmp(o->help + length - 3, "..."));
            CHECK(length && !full_stop, "--%s: help is empty or ends in a full stop", o->name);
            CHECK((o->kind == OPTION_CHOICE) == (o->choices != NULL), "--%s: choices", o->name);
            CHECK(o->place < (*c)->args_bytes, "--%s: place", o->name);
            for (const struct option *other = (*c)->options; other < o; other++)
                CHECK(!text_same_name(other->name, o->name) && (!o->letter || other->letter != o->letter),
                      "--%s and --%s of %s", other->name, o->name, (*c)->name);
        }
        text_release(&text);
        mem_free(args);
    }
}

static bool have_program(const char *name)
{
    char command[100];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

TEST(completion_names_every_option_and_each_shell_can_read_it)
{
    static const struct {
        const char *shell;
        void (*write)(struct text *, const struct command *const *);
        const char *dashes;
    } shells[] = { { "bash", complete_bash, "--" }, { "zsh", complete_zsh, "--" }, { "fish", complete_fish, "-l " } };
    for (size_t i = 0; i < 3; i++)
        for (int ours = 0; ours < 2; ours++) {
            struct text text;
            struct err e = { 0 };
            text_init(&text, 1 << 22);
            shells[i].write(&text, ours ? commands : table);
            REQUIRE(text_ok(&text, &e));
            mentions_all(ours ? commands : table, text_string(&text), shells[i].dashes, shells[i].shell);
            char name[40], command[PATH_MAX_BYTES + 40];
            snprintf(name, sizeof name, "limn.%s", shells[i].shell);
            FILE *f = fopen(test_scratch(name), "w");
            fwrite(text.s, 1, text.length, f);
            fclose(f);
            text_release(&text);
            if (!have_program(shells[i].shell))
                continue;
            snprintf(command, sizeof command, "%s -n %s", shells[i].shell, test_scratch(name));
            CHECK(system(command) == 0, "%s cannot read its script", shells[i].shell);
        }
}

TEST(bash_completes_commands_options_and_values)
{
    static const struct {
        const char *words; /* as bash cuts them; the last is being typed */
        const char *wanted;
    } cases[] = {
        { "limn dr", "draw" },
        { "limn ba", "bake" },
        { "limn bake ", "bread cake" },
        { "limn draw --st", "--steps" },
        { "limn draw --no", "--no-mark" },
        { "limn draw --sampler ", "euler dpmpp_2m ddim" },
        { "limn draw --sampler = dp", "dpmpp_2m" },
        { "limn draw --sampler =", "euler dpmpp_2m ddim" },
        { "limn bake cake --sampler e", "euler" },
        { "limn bake cake --dr", "--dry-run" },
        { "limn bake bread --", "--help" },
        { "limn draw --steps ", "" },
    };
    struct text text;
    text_init(&text, 1 << 20);
    complete_bash(&text, table);
    FILE *f = fopen(test_scratch("complete.bash"), "w");
    fwrite(text.s, 1, text.length, f);
    fclose(f);
    text_release(&text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char command[PATH_MAX_BYTES + 500], came[500] = "";
        size_t length = strlen(cases[i].words);
        snprintf(command, sizeof command,
                 "bash -c 'source %s; COMP_WORDS=(%s%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _limn 2>/dev/null; "
                 "echo -n \"${COMPREPLY[*]}\"'",
                 test_scratch("complete.bash"), cases[i].words, cases[i].words[length - 1] == ' ' ? "\"\"" : "");
        FILE *p = popen(command, "r");
        CHECK((p && fgets(came, sizeof came, p)) || !cases[i].wanted[0], "%s: nothing came", cases[i].words);
        pclose(p);
        CHECK(strcmp(came, cases[i].wanted) == 0, "%s: came %s, wanted %s", cases[i].words, came, cases[i].wanted);
    }
}

TEST(fish_completes_commands_options_and_values)
{
    /* each wanted word begins a line that fish offers (a tab and its help may follow) */
    static const struct {
        const char *line, *wanted[3];
    } cases[] = {
        { "limn ", { "draw", "bake" } },
        { "limn bake ", { "bread", "cake" } },
        { "limn draw --st", { "--steps" } },
        { "limn bake cake --no", { "--no-mark" } },
        { "limn draw cat --sampler ", { "euler", "dpmpp_2m", "ddim" } },
    };
    if (!have_program("fish"))
        skip();
    struct text text;
    text_init(&text, 1 << 20);
    complete_fish(&text, table);
    FILE *f = fopen(test_scratch("complete.fish"), "w");
    fwrite(text.s, 1, text.length, f);
    fclose(f);
    text_release(&text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char command[PATH_MAX_BYTES + 200], came[4000] = "\n";
        snprintf(command, sizeof command, "HOME=/nowhere fish -c 'source %s; complete -C \"%s\"' 2>&1",
                 test_scratch("complete.fish"), cases[i].line);
        FILE *p = popen(command, "r");
        came[1 + fread(came + 1, 1, sizeof came - 2, p)] = 0;
        pclose(p);
        for (int k = 0; k < 3 && cases[i].wanted[k]; k++) {
            char start[60];
            snprintf(start, sizeof start, "\n%s", cases[i].wanted[k]);
            CHECK(strstr(came, start), "%s: %s is not in: %s", cases[i].line, cases[i].wanted[k], came);
        }
        CHECK(!strstr(came, "Invalid"), "%s: %s", cases[i].line, came);
    }
}

TEST(the_man_page_names_every_option_and_groff_takes_it)
{
    for (int ours = 0; ours < 2; ours++) {
        struct text text, plain;
        struct err e = { 0 };
        text_init(&text, 1 << 22);
        text_init(&plain, 1 << 22);
        help_man(&text, ours ? commands : table);
        REQUIRE(text_ok(&text, &e));
        for (const char *s = text_string(&text); *s; s++) /* "\-" reads as "-" */
            if (s[0] != '\\' || s[1] != '-')
                text_add_bytes(&plain, s, 1);
        mentions_all(ours ? commands : table, text_string(&plain), "--", "the man page");
        FILE *f = fopen(test_scratch("limn.1"), "w");
        fwrite(text.s, 1, text.length, f);
        fclose(f);
        if (have_program("groff")) {
            char command[PATH_MAX_BYTES + 80];
            snprintf(command, sizeof command, "test -z \"$(groff -man -Tascii -ww -z %s 2>&1)\"",
                     test_scratch("limn.1"));
            CHECK(system(command) == 0, "groff warns");
        }
        text_release(&text);
        text_release(&plain);
    }
}
