/* limn dataset clean: which pictures are better left out, and why. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/eval_output.h"
#include "cli/progress_bar.h"
#include "dataset/clean.h"

struct clean_args {
    struct option_texts words;
    const char *checks;
    int64_t min_side, near_bits, shown, threads;
    double elongated, flat, blur, border, border_edge, near_colour;
    bool apply, undo, keep;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct clean_args, member)

static const struct option clean_options_table[] = {
    { "apply", 0, OPTION_FLAG, AT(apply), .help = "leave the pictures that are listed out of training; without it nothing is changed" },
    { "undo", 0, OPTION_FLAG, AT(undo), .help = "take the last --apply back" },
    { "checks", 'c', OPTION_TEXT, AT(checks), "broken,small,elongated,flat,blurred,bordered,no-caption,duplicate,near-duplicate",
      .value = "LIST", .help = "what to look for, with commas between; same-caption is another one, all is everything",
      .group = "What is a fault" },
    { "min-side", 0, OPTION_INT, AT(min_side), "256", .min = 1, .max = IMAGE_MAX_SIDE, .value = "PX",
      .help = "small: the shorter side has less" },
    { "longest", 0, OPTION_FLOAT, AT(elongated), "4", .min = 1, .max = 1e5,
      .help = "elongated: the longer side is more than so many times the shorter" },
    { "flat", 0, OPTION_FLOAT, AT(flat), "4", .min = 0, .max = 128, .help = "flat: the brightness deviates by less, of 255" },
    { "blur", 0, OPTION_FLOAT, AT(blur), "0.6", .min = 0, .max = 1,
      .help = "blurred: the blur effect is above it; 0.2 to 0.5 is sharp" },
    { "border", 0, OPTION_FLOAT, AT(border), "0.02", .min = 0, .max = 1,
      .help = "bordered: two plain borders take this part of a side, or more" },
    { "border-edge", 0, OPTION_FLOAT, AT(border_edge), "0.9", .min = 0, .max = 1,
      .help = "and this part of each border's inner edge is straight; a thing before a plain ground has less" },
    { "near", 0, OPTION_INT, AT(near_bits), "6", .min = 0, .max = 32, .value = "BITS",
      .help = "near-duplicate: the hashes differ in at most so many of 64 bits" },
    { "near-colour", 0, OPTION_FLOAT, AT(near_colour), "10", .min = 0, .max = 255,
      .help = "and the colours of 8x8 parts by at most this on the average, of 255" },
    { "survey", 0, OPTION_FLAG, AT(keep), "yes", .group = "Work",
      .help = "look at all pictures anew and keep nothing of it in the folder's " SURVEY_FILE },
    OPTION_ROW_THREADS(struct clean_args),
    OPTION_ROWS_EVAL_OUTPUT(struct clean_args),
    { "show", 0, OPTION_INT, AT(shown), "200", .min = 0, .max = 1e6, .value = "N",
      .help = "pictures in the table and on the page; 0: all" },
    { 0 },
};

static bool read_checks(const char *list, bool check[CLEAN_CHECKS], struct err *e)
{
    for (const char *at = list;; at++) {
        char name[32];
        size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < 31 ? length : 31), at);
        bool found = text_same_name(name, "all");
        for (int c = 0; c < CLEAN_CHECKS; c++)
            if (text_same_name(name, clean_checks[c].name) || text_same_name(name, "all"))
                found = check[c] = true;
        if (!found)
            return err_set(e, ERR_ARG, "--checks: there is no \"%s\"; there are broken, small, elongated, flat, blurred, bordered, no-caption, "
                                       "duplicate, near-duplicate, same-caption and all", name);
        at += length;
        if (!*at)
            return true;
    }
}

static void add_picture(struct findings *f, const struct manifest *m, long i, struct err *e)
{
    struct image image, small = { 0 };
    char path[PATH_MAX_BYTES];
    const int side = FINDINGS_PICTURE_PX / 2;
    if (i < 0 || !manifest_path(m, (size_t)i, path, e) || !image_load(&image, path, IMAGE_FLATTEN, 0xFFFFFF, e)) {
        err_clear(e); /* that a picture is broken is what its row says */
        findings_cell_none(f);
        return;
    }
    int longest = image.width > image.height ? image.width : image.height;
    int w = image.width * side / longest, h = image.height * side / longest;
    bool shrunk = longest > side && image_resize(&small, &image, w ? w : 1, h ? h : 1, IMAGE_AREA, e);
    findings_cell_picture(f, shrunk ? &small : &image, NULL);
    err_clear(e);
    image_release(&small);
    image_release(&image);
}

/* The faults of one check. */
static bool add_rows(struct findings *f, const struct clean_report *r, enum clean_check check, const struct manifest *m,
                     const struct survey *s, bool pictures, const struct progress *progress, struct err *e)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct clean_fault *fault = &r->faults[i];
        if (fault->check != check)
            continue;
        struct text words;
        text_init(&words, 16384);
        clean_fault_words(fault, m, s, &words);
        findings_row(f);
        findings_cell_text(f, "%s", manifest_picture(m, fault->picture)->file_name);
        findings_cell_text(f, "%s", clean_checks[check].reason);
        findings_cell_text(f, "%s", text_string(&words));
        text_release(&words);
        if (pictures && findings_row_is_shown(f)) {
            progress_step(progress, "making the page", (long)i, (long)r->count, NULL);
            add_picture(f, m, (long)fault->picture, e);
            add_picture(f, m, fault->twin, e);
        }
        if (!stop_check(e))
            return false;
    }
    return true;
}

static bool tell(const struct clean_args *a, const struct manifest *m, const struct survey *s, const struct clean_report *r,
                 const struct progress *progress, struct err *e)
{
    struct findings f;
    findings_init(&f, "Pictures that are better left out");
    findings_number(&f, "", "pictures", (double)r->looked_at, 0);
    findings_number(&f, "", "good", (double)(r->looked_at - r->count), 0);
    findings_number(&f, "", "excluded_before", (double)(manifest_count(m) - r->looked_at), 0);
    for (int c = 0; c < CLEAN_CHECKS; c++)
        if (r->of_check[c])
            findings_number(&f, "faults", clean_checks[c].name, (double)r->of_check[c], 0);
    findings_number(&f, "", "same_caption", (double)r->same_caption, 0);
    findings_text(&f, "", "applied", "%s", a->apply ? "yes" : "no");
    const char *hint = a->apply || !r->count ? NULL : "Nothing was changed: --apply leaves these pictures out, --undo takes that back.";
    if (hint)
        findings_words(&f, "%s", hint);
    findings_table(&f, "left_out", "Each with its reason", (size_t)a->shown);
    findings_column(&f, "file_name", "", 0);
    findings_column(&f, "reason", "", 0);
    findings_column(&f, "found", "", 0);
    if (a->out.html) {
        findings_column(&f, "picture", "", 0);
        findings_column(&f, "stays", "what it resembles", 0);
    }
    bool good = true;
    for (int c = 0; good && c < CLEAN_CHECKS; c++)
        good = add_rows(&f, r, (enum clean_check)c, m, s, a->out.html != NULL, progress, e);
    good = good && eval_output(&f, &a->out, "dataset clean", e);
    if (good && hint && !a->out.json)
        printf("%s\n", hint);
    findings_release(&f);
    return good;
}

static bool undo(const struct clean_args *a, struct err *e)
{
    size_t count = 0;
    struct manifest *m = manifest_open(a->words.items[0], MANIFEST_CHANGE, e);
    bool good = m && clean_undo(m, &count, e) && manifest_save(m, e);
    manifest_free(m);
    if (good && a->out.json)
        printf("{\"undone\":%zu}\n", count);
    else if (good)
        printf("%zu pictures are used again\n", count);
    return good;
}

static bool clean_run(const void *args, struct err *e)
{
    const struct clean_args *a = args;
    struct clean_options o = { .min_side_px = (int)a->min_side, .elongated = a->elongated, .flat = a->flat, .blur = a->blur, .border = a->border,
                               .border_edge = a->border_edge, .near_bits = (int)a->near_bits, .near_colour = a->near_colour };
    struct survey s = { 0 };
    struct clean_report r = { 0 };
    if (a->undo && a->apply)
        return err_set(e, ERR_ARG, "--apply and --undo contradict each other");
    if (!read_checks(a->checks, o.check, e))
        return false;
    if (a->undo)
        return undo(a, e);
    struct progress_bar bar;
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    struct manifest *m = manifest_open(a->words.items[0], a->apply ? MANIFEST_CHANGE : MANIFEST_READ, e);
    bool good = m && survey_make(&s, m, false, a->keep, (int)a->threads, &progress, e) && clean_find(&r, m, &s, &o, e) &&
                (!a->apply || (clean_apply(m, &r, e) && manifest_save(m, e)));
    progress_bar_end(&bar);
    good = good && tell(a, m, &s, &r, &progress, e);
    progress_bar_end(&bar);
    clean_release(&r);
    survey_release(&s);
    manifest_free(m);
    return good;
}

const struct command command_dataset_clean = {
    .name = "dataset clean",
    .help = "Finds pictures that are better left out: broken, small, elongated, flat, blurred, framed, without caption, or there twice.",
    .details = "Without --apply nothing is changed. With it each picture that is listed is marked as excluded in metadata.jsonl, with the "
               "reason; no file is deleted, and --undo takes it back.\n"
               "What was seen of each picture is kept in " SURVEY_FILE ": after a stop the work goes on where it was, and trying other "
               "limits takes no time.\n"
               "Of pictures that resemble each other the one with the most pixels stays, then one with a caption, then the sharpest. Blur "
               "and borders are judged at 1024 pixels of the shorter side, if it has more.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = clean_options_table, .args_bytes = sizeof(struct clean_args), .run = clean_run,
};
