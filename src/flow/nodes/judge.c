/* How alike pictures are. */
#include <stdio.h>

#include "base/text.h"
#include "evaluate/similarity.h"
#include "flow/nodes/nodes.h"

struct compare_args {
    const struct datum *a, *b;
    const char *metrics;
};
static const struct node_input compare_inputs[] = {
    NODE_SOCKET("image1", "IMAGE", struct compare_args, a),
    { "image2", "IMAGE", offsetof(struct compare_args, b), .help = "of the same size" },
    { "metrics", "STRING", offsetof(struct compare_args, metrics), "psnr,ssim", .help = "of psnr, ssim, ssim-uniform, ms-ssim, gmsd" },
    { 0 },
};
static const struct node_output compare_outputs[] = { { .type = "FLOAT", .name = "value", .help = "of the first metric, a mean over the batch" },
                                                      { .type = "STRING", .name = "report" }, { 0 } };

/* The mean over the batch; the shorter of the two is repeated. */
static bool measure(const struct similarity_metric *m, const struct flow_image *a, const struct flow_image *b, double *out, struct err *e)
{
    int64_t n = a->n > b->n ? a->n : b->n;
    bool good = true;
    *out = 0;
    for (int64_t i = 0; good && i < n; i++) {
        struct image x = { 0 }, y = { 0 };
        double one = 0;
        good = stop_check(e) && image_to_bytes(a, i % a->n, &x, e) && image_to_bytes(b, i % b->n, &y, e) && similarity_measure(m, &x, &y, &one, e);
        *out += one / (double)n;
        image_release(&x);
        image_release(&y);
    }
    return good;
}

static bool compare_run(struct node_call *call, const void *args, struct err *e)
{
    const struct compare_args *a = args;
    const struct similarity_metric *metrics[SIMILARITY_MOST];
    int count = 0;
    double first = 0;
    struct text words;
    text_init(&words, 1 << 12);
    bool good = similarity_list(a->metrics, metrics, &count, e);
    for (int i = 0; good && i < count; i++) {
        double v;
        good = measure(metrics[i], image_of(a->a), image_of(a->b), &v, e);
        first = i ? first : v;
        text_addf(&words, "%s%s %.6g", i ? "\n" : "", metrics[i]->name, v);
    }
    good = good && text_ok(&words, e) && node_give(call, 0, datum_of_float(first, e), e) &&
           node_give(call, 1, datum_of_text(text_string(&words), e), e) && node_show(call, "text", json_pack("[s]", text_string(&words)), e);
    text_release(&words);
    return good;
}

const struct node nodes_judge[] = {
    { "CompareImages", "Compare Images", "Measures how alike pictures are: PSNR, SSIM and others.", "evaluate", compare_inputs, compare_outputs,
      .args_bytes = sizeof(struct compare_args), .flags = NODE_OUTPUT, .run = compare_run, .aliases = "psnr, ssim, similarity, evaluate" },
    { 0 },
};
