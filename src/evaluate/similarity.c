#include "evaluate/similarity.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { CHANNELS = 3, MOST_TAPS = 11, SCALES = 5 };

/* One channel of a picture, in doubles. */
struct plane {
    int64_t width, height;
    double *at; /* [height, width], owned */
};

static bool plane_init(struct plane *p, int64_t width, int64_t height, struct err *e)
{
    *p = (struct plane){ width, height, mem_aligned((size_t)(width * height) * sizeof(double)) };
    return p->at || err_nomem(e, "a picture's channel");
}

static void plane_release(struct plane *p)
{
    mem_free(p->at);
    p->at = NULL;
}

static bool plane_of(struct plane *p, const struct image *image, int channel, struct err *e)
{
    if (!plane_init(p, image->width, image->height, e))
        return false;
    for (int64_t i = 0; i < p->width * p->height; i++)
        p->at[i] = image->pixels[i * image->channels + channel];
    return true;
}

/* The window of a mean: taps^2 weights, the product of `tap` with itself; they add up to 1. */
struct window {
    int taps;
    double tap[MOST_TAPS];
};

static struct window gaussian_window(void)
{
    struct window w = { .taps = MOST_TAPS };
    double sum = 0;
    for (int i = 0; i < w.taps; i++)
        sum += w.tap[i] = exp(-0.5 * (i - w.taps / 2) * (i - w.taps / 2) / (1.5 * 1.5));
    for (int i = 0; i < w.taps; i++)
        w.tap[i] /= sum;
    return w;
}

static struct window uniform_window(void)
{
    struct window w = { .taps = 7 };
    for (int i = 0; i < w.taps; i++)
        w.tap[i] = 1.0 / w.taps;
    return w;
}

/* The mean of a b (of a with b NULL) under the window, where it lies inside: out [height - taps + 1, width - taps + 1].
 * work [height, width]. */
static void mean_of(const struct window *w, const struct plane *a, const struct plane *b, double *work, double *out)
{
    int64_t width = a->width - w->taps + 1, height = a->height - w->taps + 1;
    for (int64_t y = 0; y < a->height; y++)
        for (int64_t x = 0; x < width; x++) {
            double sum = 0;
            for (int t = 0; t < w->taps; t++) {
                int64_t at = y * a->width + x + t;
                sum += w->tap[t] * (b ? a->at[at] * b->at[at] : a->at[at]);
            }
            work[y * width + x] = sum;
        }
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            double sum = 0;
            for (int t = 0; t < w->taps; t++)
                sum += w->tap[t] * work[(y + t) * width + x];
            out[y * width + x] = sum;
        }
}

/* Means over the pixels of one channel: ssim = l c, and c alone (contrast and structure). bessel: n / (n - 1) of a sample
 * covariance, or 1. */
static bool ssim_of_planes(const struct window *w, double bessel, const struct plane *a, const struct plane *b, double *ssim,
                           double *structure, struct err *e)
{
    const double c1 = (0.01 * 255) * (0.01 * 255), c2 = (0.03 * 255) * (0.03 * 255);
    enum { MEAN_A, MEAN_B, MEAN_AA, MEAN_BB, MEAN_AB, MEANS };
    size_t pixels = (size_t)((a->width - w->taps + 1) * (a->height - w->taps + 1));
    double *memory = mem_aligned((MEANS * pixels + (size_t)(a->width * a->height)) * sizeof *memory);
    if (!memory)
        return err_nomem(e, "the means of a picture");
    double *work = memory + MEANS * pixels, *mean[MEANS];
    const struct plane *const factors[MEANS][2] = { { a, NULL }, { b, NULL }, { a, a }, { b, b }, { a, b } };
    for (int i = 0; i < MEANS; i++) {
        mean[i] = memory + (size_t)i * pixels;
        mean_of(w, factors[i][0], factors[i][1], work, mean[i]);
    }
    *ssim = *structure = 0;
    for (size_t i = 0; i < pixels; i++) {
        double ma = mean[MEAN_A][i], mb = mean[MEAN_B][i];
        double va = bessel * (mean[MEAN_AA][i] - ma * ma), vb = bessel * (mean[MEAN_BB][i] - mb * mb);
        double both = bessel * (mean[MEAN_AB][i] - ma * mb);
        double c = (2 * both + c2) / (va + vb + c2);
        *structure += c;
        *ssim += c * (2 * ma * mb + c1) / (ma * ma + mb * mb + c1);
    }
    *ssim /= (double)pixels;
    *structure /= (double)pixels;
    mem_free(memory);
    return true;
}

static bool ssim_of(const struct window *w, double bessel, const struct image *a, const struct image *b, double *out,
                    struct err *e)
{
    double sum = 0;
    for (int c = 0; c < CHANNELS; c++) {
        struct plane x = { 0 }, y = { 0 };
        double ssim, structure;
        bool good = plane_of(&x, a, c, e) && plane_of(&y, b, c, e) && ssim_of_planes(w, bessel, &x, &y, &ssim, &structure, e);
        plane_release(&x);
        plane_release(&y);
        if (!good)
            return false;
        sum += ssim;
    }
    *out = sum / CHANNELS;
    return true;
}

static bool ssim(const struct image *a, const struct image *b, double *out, struct err *e)
{
    struct window w = gaussian_window();
    return ssim_of(&w, 1, a, b, out, e);
}

static bool ssim_uniform(const struct image *a, const struct image *b, double *out, struct err *e)
{
    struct window w = uniform_window();
    double n = w.taps * w.taps;
    return ssim_of(&w, n / (n - 1), a, b, out, e);
}

/* Means of 2x2 pixels. A side that is odd gets a line of zeros first: before it if `before`, else behind it. */
static bool halve(struct plane *p, bool before, struct err *e)
{
    struct plane half;
    int64_t left = before ? p->width % 2 : 0, top = before ? p->height % 2 : 0;
    if (!plane_init(&half, (p->width + 1) / 2, (p->height + 1) / 2, e))
        return false;
    for (int64_t y = 0; y < half.height; y++)
        for (int64_t x = 0; x < half.width; x++) {
            double sum = 0;
            for (int k = 0; k < 4; k++) {
                int64_t i = 2 * y + k / 2 - top, j = 2 * x + k % 2 - left;
                if (i >= 0 && i < p->height && j >= 0 && j < p->width)
                    sum += p->at[i * p->width + j];
            }
            half.at[y * half.width + x] = sum / 4;
        }
    plane_release(p);
    *p = half;
    return true;
}

static bool ms_ssim(const struct image *a, const struct image *b, double *out, struct err *e)
{
    static const double exponents[SCALES] = { 0.0448, 0.2856, 0.3001, 0.2363, 0.1333 };
    struct window w = gaussian_window();
    double sum = 0;
    bool good = true;
    for (int c = 0; good && c < CHANNELS; c++) {
        struct plane x = { 0 }, y = { 0 };
        double product = 1;
        good = plane_of(&x, a, c, e) && plane_of(&y, b, c, e);
        for (int s = 0; good && s < SCALES; s++) {
            double whole, structure;
            /* Both borders count as zeros when an odd side is halved; a line before keeps the centre where PyTorch's average
             * pooling with padding has it. */
            good = (s == 0 || (halve(&x, true, e) && halve(&y, true, e))) &&
                   ssim_of_planes(&w, 1, &x, &y, &whole, &structure, e);
            if (good)
                product *= pow(fmax(s == SCALES - 1 ? whole : structure, 0), exponents[s]);
        }
        plane_release(&x);
        plane_release(&y);
        sum += product;
    }
    *out = sum / CHANNELS;
    return good;
}

/* Length of the gradient at (x, y); beyond the border there are zeros. */
static double prewitt(const struct plane *p, int64_t x, int64_t y)
{
    double across = 0, down = 0;
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++) {
            bool inside = y + i >= 0 && y + i < p->height && x + j >= 0 && x + j < p->width;
            double v = inside ? p->at[(y + i) * p->width + x + j] / 3 : 0;
            across += j * v;
            down += i * v;
        }
    return sqrt(across * across + down * down);
}

static bool luma_of(struct plane *p, const struct image *image, struct err *e)
{
    if (!plane_init(p, image->width, image->height, e))
        return false;
    for (int64_t i = 0; i < p->width * p->height; i++) {
        const uint8_t *rgb = image->pixels + i * image->channels;
        p->at[i] = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
    }
    return halve(p, false, e);
}

static bool gmsd(const struct image *a, const struct image *b, double *out, struct err *e)
{
    const double c = 170;
    struct plane x = { 0 }, y = { 0 };
    bool good = luma_of(&x, a, e) && luma_of(&y, b, e);
    double sum = 0, squares = 0, n = (double)(x.width * x.height);
    for (int64_t i = 0; good && i < x.width * x.height; i++) {
        double gx = prewitt(&x, i % x.width, i / x.width), gy = prewitt(&y, i % x.width, i / x.width);
        double alike = (2 * gx * gy + c) / (gx * gx + gy * gy + c) - 1; /* from 1, where sums stay small */
        sum += alike;
        squares += alike * alike;
    }
    plane_release(&x);
    plane_release(&y);
    *out = sqrt(fmax(squares / n - sum / n * (sum / n), 0));
    return good;
}

const struct similarity_metric similarity_metrics[] = {
    { "psnr", "peak signal to noise ratio, dB; inf: equal", 1, false, image_psnr },
    { "ssim", "structural similarity, Gaussian window; 1: equal", 11, false, ssim },
    { "ssim-uniform", "structural similarity, 7x7 window; 1: equal", 7, false, ssim_uniform },
    { "ms-ssim", "structural similarity at five scales; 1: equal", 161, false, ms_ssim },
    { "gmsd", "deviation of gradients; 0: equal", 2, true, gmsd },
    { NULL, NULL, 0, false, NULL },
};

static bool same_name(const char *name, const char *typed, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (name[i] != (typed[i] == '_' ? '-' : typed[i]))
            return false;
    return !name[length];
}

const struct similarity_metric *similarity_find(const char *name, size_t length, struct err *e)
{
    for (const struct similarity_metric *m = similarity_metrics; m->name; m++)
        if (strlen(m->name) >= length && same_name(m->name, name, length))
            return m;
    err_set(e, ERR_ARG, "there is no metric \"%.*s\"; there are psnr, ssim, ssim-uniform, ms-ssim and gmsd", (int)length, name);
    return NULL;
}

bool similarity_list(const char *list, const struct similarity_metric **out, int *count, struct err *e)
{
    *count = 0;
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        if (*count == SIMILARITY_MOST)
            return err_set(e, ERR_ARG, "more than %d metrics", SIMILARITY_MOST);
        if (!(out[(*count)++] = similarity_find(at, length, e)))
            return false;
        at += length;
        if (!*at)
            return true;
    }
}

bool similarity_measure(const struct similarity_metric *m, const struct image *a, const struct image *b, double *out,
                        struct err *e)
{
    int64_t least = a->width < a->height ? a->width : a->height;
    if (a->width != b->width || a->height != b->height)
        return err_set(e, ERR_SHAPE, "the pictures are %dx%d and %dx%d: only pictures of one size can be compared", a->width,
                       a->height, b->width, b->height);
    if (least < m->least_px)
        return err_set(e, ERR_ARG, "%s wants pictures of at least %lld pixels a side, these are %dx%d", m->name,
                       (long long)m->least_px, a->width, a->height);
    return m->measure(a, b, out, e);
}
