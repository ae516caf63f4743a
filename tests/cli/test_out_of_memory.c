/* Whole commands with the n-th allocation failing: a sentence about memory and exit status 1, nothing half-written, and no
 * finding of the sanitizers. An ordinary run tries some n, spread over the whole command; LIMN_TEST_EVERY=1 (make check) tries
 * every one. */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/commands.h"
#include "test.h"

enum { MOST_WORDS = 32, SOME = 25 };

/* %m is the folder of test models, %d that of test pictures, %l that of LoRAs, %s a fresh folder for what is written. */
static const struct {
    const char *name, *words[MOST_WORDS];
} runs[] = {
    { "generate", { "generate", "-q", "-m", "%m/tiny-sd1", "-o", "%s/x.png", "--steps", "2", "--width", "32", "--height", "32",
                    "--precision", "f32", "--save-latents", "%s/x.safetensors", "--json", "a red circle" } },
    { "generate, bf16, ComfyUI's", { "generate", "-q", "-m", "%m/tiny-emoji", "-o", "%s/x.png", "--steps", "2", "--precision", "bf16",
                                     "--sampler", "dpmpp_2m_sde", "--schedule", "karras", "--count", "2", "红苹果" } },
    { "generate with LoRAs", { "generate", "-q", "-m", "%m/tiny-sd1", "-o", "%s/x.png", "--steps", "1", "--width", "32", "--height",
                               "32", "--precision", "f32", "--lora", "%l/lycoris.safetensors", "--lora", "%l/dora.safetensors",
                               "--lora", "%l/kohya.safetensors:0.5", "--json", "a red circle" } },
    { "model bake", { "model", "bake", "-q", "%m/tiny-sd1", "%l/lycoris.safetensors:0.5", "%s/baked" } },
    { "generate, edited and drawn again", { "generate", "-q", "-m", "%m/tiny-sd1", "-o", "%s/x.png", "--steps", "2", "--width", "32",
                                            "--height", "32", "--precision", "f32", "-i", "%d/ring-ball.png", "--alpha", "white",
                                            "--hires", "1.5", "--hires-steps", "2", "a red circle" } },
    { "tokenize", { "tokenize", "-m", "%m/tiny-sd2", "--json", "a red apple" } },
    { "train tokenizer", { "train", "tokenizer", "-q", "-d", "%d", "-o", "%s/tok", "--vocab", "540", "--scenes", "20" } },
    { "train vae", { "train", "vae", "-q", "-d", "%d", "-o", "%s/run", "--config", "%m/tiny-train", "--steps", "1", "--batch", "2",
                     "--size", "32", "--precision", "f32" } },
    { "train base", { "train", "base", "-q", "-d", "%d", "-o", "%s/run", "--config", "%m/tiny-train", "--vae", "%m/tiny-train/vae",
                      "--tokenizer", "%m/tiny-train/tokenizer", "--steps", "1", "--batch", "2", "--size", "32", "--scenes", "4",
                      "--precision", "f32" } },
    { "help", { "help", "--man" } },
    { "completion", { "completion", "fish" } },
};


static void remove_all(void)
{
    char command[400];
    snprintf(command, sizeof command, "rm -rf -- %s && mkdir %s", test_scratch("oom"), test_scratch("oom"));
    assert_int_equal(system(command), 0);
}

/* Runs the command with the n-th allocation failing (0: none). Returns the exit status; *made: allocations it asked for;
 * complained: what it wrote to stderr. */
static int run(size_t which, size_t n, size_t *made, char *complained, size_t room)
{
    static char held[MOST_WORDS][400];
    const char *argv[MOST_WORDS + 1] = { "limn" };
    int argc = 1;
    for (const char *const *w = runs[which].words; *w; w++, argc++) {
        const char *folder = !strncmp(*w, "%m", 2)   ? test_data("models")
                             : !strncmp(*w, "%d", 2) ? test_data("emoji-mini")
                             : !strncmp(*w, "%l", 2) ? test_data("lora")
                             : !strncmp(*w, "%s", 2) ? test_scratch("oom")
                                                     : NULL;
        snprintf(held[argc], sizeof held[argc], "%s%s", folder ? folder : "", folder ? *w + 2 : *w);
        argv[argc] = held[argc];
    }
    const char *out = test_scratch("stdout"), *err = test_scratch("stderr");
    fflush(stdout);
    fflush(stderr);
    int keep_out = dup(1), keep_err = dup(2);
    assert_true(freopen(out, "w", stdout) && freopen(err, "w", stderr));
    mem_fail_at(n);
    int status = cli_run(commands, argc, argv);
    *made = mem_fail_at(0);
    fflush(stdout);
    fflush(stderr);
    dup2(keep_out, 1);
    dup2(keep_err, 2);
    close(keep_out);
    close(keep_err);
    FILE *f = fopen(err, "r");
    assert_non_null(f);
    complained[fread(complained, 1, room - 1, f)] = 0;
    fclose(f);
    return status;
}

/* Whether a file with a temporary name is left in the folder or one below it. */
static bool half_written(const char *path)
{
    bool found = false;
    DIR *d = opendir(path);
    for (struct dirent *entry; d && !found && (entry = readdir(d));) {
        char inside[600];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        found = strstr(entry->d_name, ".part-") || (entry->d_type == DT_DIR && half_written(inside));
    }
    if (d)
        closedir(d);
    return found;
}

TEST(a_command_whose_nth_allocation_fails_says_so_and_leaves_nothing_half_written)
{
    const char *every = getenv("LIMN_TEST_EVERY");
    static char complained[1 << 16];
    int failed = 0;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        size_t made, ignored, tried = 0, survived = 0;
        remove_all();
        CHECK(run(i, 0, &made, complained, sizeof complained) == 0, "%s: %s", runs[i].name, complained);
        CHECK(made > 0, "%s allocates nothing", runs[i].name);
        size_t step = every && *every == '1' ? 1 : made / SOME + 1;
        for (size_t n = 1; n <= made; n += step, tried++) {
            remove_all();
            int status = run(i, n, &ignored, complained, sizeof complained);
            bool good = (status == 1 && strstr(complained, "memory")) || status == 0;
            survived += status == 0;
            if (!good || half_written(test_scratch("oom"))) {
                print_error("%s, allocation %zu of %zu: status %d%s, stderr: %s\n", runs[i].name, n, made, status,
                            good ? ", a file is half-written" : "", complained);
                if (++failed == 10)
                    fail_msg("enough");
            }
        }
        /* what is only for show (a bar, a picture in the terminal) may be missed in silence, nothing else */
        CHECK(survived * 10 <= tried, "%s went on after %zu of %zu failures", runs[i].name, survived, tried);
    }
    CHECK(!failed, "%d", failed);
}
