/* limn eval images: how alike two pictures are, or the pictures of two folders with the same names. */
#include "base/file.h"
#include "cli/eval_output.h"
#include "cli/progress_bar.h"
#include "evaluate/compare.h"

struct images_args {
    struct option_texts words;
    const char *metrics;
    bool fit;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct images_args, member)

static const struct option images_options[] = {
    { "metrics", 'm', OPTION_TEXT, AT(metrics), "psnr,ssim", .value = "LIST",
      .help = "psnr, ssim (Gaussian window), ssim-uniform (7x7), ms-ssim, gmsd; with commas between. The first says what is worst" },
    { "fit", 0, OPTION_FLAG, AT(fit), .help = "resize the second picture where it is not as large as the first" },
    OPTION_ROWS_EVAL_OUTPUT(struct images_args),
    { 0 },
};

static bool compare_folders(struct findings *f, const struct images_args *a, const struct compare_metrics *m,
                            const struct progress *progress, struct err *e)
{
    struct picture_set x = { 0 }, y = { 0 };
    bool good = picture_set_open(&x, a->words.items[0], PICTURES_ALL, e) &&
                picture_set_open(&y, a->words.items[1], PICTURES_ALL, e) &&
                (compare_sets(f, &x, &y, m, a->fit, a->out.html != NULL, progress, e) ||
                 err_add(e, "%s and %s", a->words.items[0], a->words.items[1]));
    picture_set_release(&x);
    picture_set_release(&y);
    return good;
}

static bool images_run(const void *args, struct err *e)
{
    const struct images_args *a = args;
    const char *first = a->words.items[0], *second = a->words.items[1];
    struct compare_metrics metrics;
    struct findings f;
    struct progress_bar bar;
    bool folders = path_is_folder(first) && path_is_folder(second);
    if (!similarity_list(a->metrics, metrics.at, &metrics.count, e))
        return err_add(e, "in --metrics");
    if (!folders && path_is_folder(first) != path_is_folder(second))
        return err_set(e, ERR_ARG, "%s and %s: two pictures or two folders can be compared, not one of each", first, second);
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    findings_init(&f, "How alike pictures are");
    if (folders || a->out.html) {
        findings_text(&f, NULL, "first", "%s", first);
        findings_text(&f, NULL, "second", "%s", second);
    }
    bool good = image_init(e) && (folders ? compare_folders(&f, a, &metrics, &progress, e)
                                          : compare_pair(&f, first, second, &metrics, a->fit, e));
    progress_bar_end(&bar);
    good = good && eval_output(&f, &a->out, "eval images", e);
    findings_release(&f);
    return good;
}

const struct command command_eval_images = {
    .name = "eval images",
    .help = "Measures how alike two pictures are, or the pictures of two folders with the same names.",
    .details = "PSNR and both SSIM are scikit-image's to 1e-6; alpha is laid over white. Equal pictures have the PSNR inf.\n"
               "Folders are read with the folders in them. Endings of names need not agree: cat.png is compared with cat.jpg.",
    .words = "FILE|FOLDER FILE|FOLDER", .words_place = AT(words), .words_min = 2, .words_max = 2,
    .options = images_options, .args_bytes = sizeof(struct images_args), .run = images_run,
};
