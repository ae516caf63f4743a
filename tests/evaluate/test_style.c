/* Distances between sets: of numbers against scipy's, of styles by what they must tell apart. */
#include "evaluate/style.h"

#include "backend/cpu/cpu.h"
#include "base/json.h"
#include "base/mem.h"
#include "test.h"

/* tests/reference/make_evaluate.py */
static float *cloud_points(int64_t n, int64_t dims, int seed)
{
    float *x = mem_aligned((size_t)(n * dims) * sizeof *x);
    for (int64_t p = 0; p < n; p++)
        for (int64_t i = 0; i < dims; i++)
            x[p * dims + i] = (float)(sin(1.7 * (double)((p + seed) * (i + 1)) + 0.3 * (double)(i * i)) * (double)(1 + i % 3) +
                                      0.2 * (double)(i * seed));
    return x;
}

TEST(distances_of_clouds_are_those_of_scipy)
{
    struct err e = { 0 };
    json_t *expected = json_read(test_data("evaluate/expected.json"), &e), *one;
    REQUIRE(expected);
    size_t i;
    json_array_foreach(json_object_get(expected, "distances"), i, one) {
        int64_t n[2] = { json_integer_value(json_object_get(one, "n1")), json_integer_value(json_object_get(one, "n2")) };
        int64_t dims = json_integer_value(json_object_get(one, "dims"));
        double wanted = json_number_value(json_object_get(one, "frechet")), came, back;
        struct cloud c[2];
        for (int k = 0; k < 2; k++) {
            float *x = cloud_points(n[k], dims, k + 1);
            REQUIRE(cloud_init(&c[k], dims, &e));
            cloud_add(&c[k], x, n[k] / 3); /* in pieces */
            cloud_add(&c[k], x + n[k] / 3 * dims, n[k] - n[k] / 3);
            mem_free(x);
        }
        REQUIRE(cloud_distance(&c[0], &c[1], false, &came, &e));
        REQUIRE(cloud_distance(&c[1], &c[0], false, &back, &e));
        /* sqrtm of a product that has no full rank is good to half of the digits */
        double tolerance = n[0] > dims && n[1] > dims ? 1e-9 : 1e-5;
        CHECK_NEAR(came, wanted, tolerance * wanted, "case %zu", i);
        CHECK_NEAR(back, came, 1e-7 * wanted, "case %zu the other way round", i);
        REQUIRE(cloud_distance(&c[0], &c[0], true, &came, &e));
        CHECK_NEAR(came, 0, 1e-6, "case %zu to itself", i);
        cloud_release(&c[0]);
        cloud_release(&c[1]);
    }
    json_decref(expected);
}

/* A matrix with eigenvalues that are known: the second difference on n points, 2 - 2 cos(k pi / (n + 1)). */
TEST(eigenvalues_are_the_known_ones)
{
    for (int64_t n = 1; n < 40; n += 6) {
        struct err e = { 0 };
        double a[40 * 40] = { 0 }, values[40], work[40];
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < n; k++) /* rows and columns in another order, so that it is not tridiagonal */
                a[i * 11 % n * n + k * 11 % n] = i == k ? 2 : i - k == 1 || k - i == 1 ? -1 : 0;
        REQUIRE(gaussian_eigenvalues(a, n, values, work, &e));
        for (int64_t k = 1; k <= n; k++) {
            double wanted = 2 - 2 * cos((double)k * M_PI / (double)(n + 1)), nearest = INFINITY;
            for (int64_t i = 0; i < n; i++)
                nearest = fmin(nearest, fabs(values[i] - wanted));
            CHECK(nearest < 1e-13, "n %lld, value %lld: off by %g", (long long)n, (long long)k, nearest);
        }
    }
    struct err e = { 0 };
    double broken[4] = { 1, 0, NAN, 1 }, values[2], work[2];
    CHECK_FAILS(gaussian_eigenvalues(broken, 2, values, work, &e), ERR_FORMAT, "not finite");
}

/* Ottosson's own table: red, green and blue. */
TEST(colours_are_oklab)
{
    static const struct { uint8_t rgb[3]; float lab[3]; } cases[] = {
        { { 255, 255, 255 }, { 1, 0, 0 } },
        { { 255, 0, 0 }, { 0.62796f, 0.22486f, 0.12585f } },
        { { 0, 255, 0 }, { 0.86644f, -0.23389f, 0.17950f } },
        { { 0, 0, 255 }, { 0.45201f, -0.03246f, -0.31153f } },
        { { 0, 0, 0 }, { 0, 0, 0 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float lab[3];
        style_oklab(cases[i].rgb, lab);
        for (int c = 0; c < 3; c++)
            CHECK_NEAR(lab[c], cases[i].lab[c], 2e-5, "colour %zu, %d", i, c);
    }
}

/* What is done to a photograph changes its style, in the part that it concerns. */
static void soften(struct image *image)
{
    struct err e = { 0 };
    struct image small, back;
    REQUIRE(image_resize(&small, image, image->width / 4, image->height / 4, IMAGE_AREA, &e));
    REQUIRE(image_resize(&back, &small, image->width, image->height, IMAGE_BILINEAR, &e));
    image_release(&small);
    image_release(image);
    *image = back;
}

static void tint(struct image *image)
{
    for (int i = 0; i < image->width * image->height; i++)
        image->pixels[3 * i + 2] = image->pixels[3 * i + 2] / 3;
}

TEST(styles_are_told_apart)
{
    struct err e = { 0 };
    struct picture_set set;
    struct vae_files files;
    struct reconstruction vae;
    char model[4096];
    void (*const ways[])(struct image *) = { soften, tint };
    snprintf(model, sizeof model, "%s/../../models/limn-emoji", test_data(""));
    const struct backend *cpu = backend_cpu_new(0, NULL, &e);
    REQUIRE(cpu && vae_files_open(&files, &(struct model_files){ .path = model }, &e));
    REQUIRE(reconstruction_init(&vae, &files, 64, 1, false, DTYPE_F32, cpu, &e));
    REQUIRE(picture_set_open(&set, test_data("evaluate/photos/trained"), PICTURES_ALL, &e));
    struct style plain;
    struct style_distance d[2], self;
    REQUIRE(style_init(&plain, &vae, &e));
    REQUIRE(style_add_set(&plain, &vae, &set, 0, -1, NULL, &e));
    REQUIRE(style_distance(&plain, &plain, &self, &e));
    CHECK(self.style < 1e-3 && plain.pictures == (int64_t)set.count, "%g to itself", self.style);
    for (int w = 0; w < 2; w++) {
        struct style other;
        REQUIRE(style_init(&other, &vae, &e));
        for (size_t i = 0; i < set.count; i++) {
            struct image image;
            REQUIRE(picture_set_load(&set, i, &image, &e));
            ways[w](&image);
            REQUIRE(style_add(&other, &vae, &image, &e));
            image_release(&image);
        }
        REQUIRE(style_distance(&other, &plain, &d[w], &e));
        CHECK_NEAR(d[w].style, (d[w].part[0] + d[w].part[1] + d[w].part[2]) / 3, 1e-12, "the mean of its parts");
        style_release(&other);
    }
    CHECK(d[0].part[STYLE_SHADING] > 3 * d[0].part[STYLE_COLOUR], "soft: shading %g, colour %g", d[0].part[STYLE_SHADING],
          d[0].part[STYLE_COLOUR]);
    CHECK(d[1].part[STYLE_COLOUR] > 2 * d[1].part[STYLE_SHADING], "tinted: colour %g, shading %g", d[1].part[STYLE_COLOUR],
          d[1].part[STYLE_SHADING]);
    CHECK(d[0].part[STYLE_LATENTS] > 0.03 && d[1].part[STYLE_LATENTS] > 0.03, "latents %g, %g", d[0].part[0], d[1].part[0]);
    style_release(&plain);
    picture_set_release(&set);
    /* Two drawn styles: half of each is nearer to its other half than to the other style. */
    REQUIRE(picture_set_open(&set, test_data("emoji-mini"), PICTURES_ALL, &e));
    struct style half[2][2];
    for (int s = 0; s < 2; s++)
        for (int h = 0; h < 2; h++)
            REQUIRE(style_init(&half[s][h], &vae, &e));
    int seen[2] = { 0 };
    for (size_t i = 0; i < set.count; i++) {
        struct image image;
        int s = !strcmp(set.at[i].style, "ring");
        REQUIRE(picture_set_load(&set, i, &image, &e));
        REQUIRE(style_add(&half[s][seen[s]++ % 2], &vae, &image, &e));
        image_release(&image);
    }
    for (int s = 0; s < 2; s++)
        for (int h = 0; h < 2; h++) {
            REQUIRE(style_distance(&half[s][h], &half[s][!h], &d[0], &e));
            REQUIRE(style_distance(&half[s][h], &half[!s][!h], &d[1], &e));
            CHECK(d[0].style < d[1].style, "style %d, half %d: %g to its own, %g to the other", s, h, d[0].style, d[1].style);
        }
    for (int s = 0; s < 2; s++)
        for (int h = 0; h < 2; h++)
            style_release(&half[s][h]);
    picture_set_release(&set);
    reconstruction_release(&vae);
    vae_files_release(&files);
}
