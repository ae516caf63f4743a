/* The random numbers: PyTorch's CPU generator against values that torch 2.13 printed (torch.randn and
 * torch.rand with torch.Generator().manual_seed), and Philox against the vectors of its paper. */
#include "base/random.h"

#include "test.h"

/* Vector builds of PyTorch take logarithm, sine and cosine from polynomials: its numbers differ by 2e-6
 * between machines. */
#define TOLERANCE 2e-6

TEST(torch_normals_are_those_of_pytorch)
{
    static const struct {
        uint64_t seed;
        int count;
        struct {
            int index;
            double value;
        } at[3];
        double absolute_sum;
    } cases[] = {
        { 0ull, 1, { { 0, 1.54099607 }, { 0, 1.54099607 }, { 0, 1.54099607 } }, 1.54099607 },
        { 0ull, 5, { { 0, 1.54099607 }, { 2, -2.17878938 }, { 4, -1.08452237 } }, 5.66616797 },
        { 0ull, 15, { { 0, 1.54099607 }, { 7, 0.838026345 }, { 14, -1.07118738 } }, 13.2358757 },
        { 0ull, 16, { { 0, -1.12583983 }, { 8, 0.322274923 }, { 15, -0.247278154 } }, 11.8998906 },
        { 0ull, 17, { { 0, -1.12583983 }, { 8, 0.468096405 }, { 16, 0.931826591 } }, 15.6382018 },
        { 0ull, 100, { { 0, -1.12583983 }, { 50, 1.05535746 }, { 99, 0.232918292 } }, 80.4546266 },
        { 0ull, 16384, { { 0, -1.12583983 }, { 8192, 0.265157282 }, { 16383, -1.07820797 } }, 13111.5336 },
        { 42ull, 1, { { 0, 0.336690366 }, { 0, 0.336690366 }, { 0, 0.336690366 } }, 0.336690366 },
        { 42ull, 5, { { 0, 0.336690366 }, { 2, 0.234462366 }, { 4, -1.12285638 } }, 2.05315155 },
        { 42ull, 15, { { 0, 0.336690366 }, { 7, -0.637997031 }, { 14, -0.988959908 } }, 10.9479974 },
        { 42ull, 16, { { 0, 1.92691529 }, { 8, -0.752135277 }, { 15, 0.76244539 } }, 16.9966751 },
        { 42ull, 17, { { 0, 1.92691529 }, { 8, 0.355859905 }, { 16, -0.309726775 } }, 12.6334009 },
        { 42ull, 100, { { 0, 1.92691529 }, { 50, 0.0780238733 }, { 99, 0.617280722 } }, 81.2342311 },
        { 42ull, 16384, { { 0, 1.92691529 }, { 8192, -0.797782242 }, { 16383, -0.293406099 } }, 13158.0692 },
        { 4294967303ull, 1, { { 0, -0.146795094 }, { 0, -0.146795094 }, { 0, -0.146795094 } }, 0.146795094 },
        { 4294967303ull, 5, { { 0, -0.146795094 }, { 2, 0.94682163 }, { 4, 1.69079018 } }, 4.68489218 },
        { 4294967303ull, 15, { { 0, -0.146795094 }, { 7, 1.23238575 }, { 14, 1.39545083 } }, 11.2119084 },
        { 4294967303ull, 16, { { 0, -0.820134521 }, { 8, 0.926542997 }, { 15, 1.09016514 } }, 11.6137601 },
        { 4294967303ull, 17, { { 0, -0.820134521 }, { 8, -0.848908603 }, { 16, -0.866701603 } }, 15.6558328 },
        { 4294967303ull,
          100,
          { { 0, -0.820134521 }, { 50, -0.0144879408 }, { 99, 0.640272617 } },
          76.1667695 },
        { 4294967303ull,
          16384,
          { { 0, -0.820134521 }, { 8192, -1.60448194 }, { 16383, -0.251509637 } },
          13055.2713 },
    };
    static float x[4 * 64 * 64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct torch_random r;
        int count = cases[i].count;
        double sum = 0;
        torch_random_seed(&r, cases[i].seed);
        torch_random_normal(&r, x, (size_t)count);
        for (int k = 0; k < 3; k++)
            CHECK_NEAR(x[cases[i].at[k].index], cases[i].at[k].value, TOLERANCE,
                       "seed %llu, count %d, index %d", (unsigned long long)cases[i].seed, count,
                       cases[i].at[k].index);
        for (int k = 0; k < count; k++)
            sum += fabs((double)x[k]);
        CHECK_NEAR(sum, cases[i].absolute_sum, 1e-6 * count, "sum, count %d", count);
    }
}

/* One generator, drawn from again and again: short draws go in pairs whose second number waits for the next
 * short draw. */
TEST(draws_that_follow_each_other_are_those_of_pytorch)
{
    static const struct {
        bool normal;
        int count;
        double first, last, absolute_sum;
    } draws[] = {
        { true, 1, 0.612685859, 0.612685859, 0.612685859 },
        { true, 5, -1.17535365, -0.645317376, 3.99625194 },
        { true, 16, 0.594839573, 1.23069143, 17.8388827 },
        { true, 4, -2.09282899, -0.0441574119, 2.34462176 },
        { false, 3, 0.964952171, 0.206953347, 1.70186222 },
        { true, 15, -1.19021809, -1.48186696, 13.7973985 },
        { true, 17, -0.80207938, 1.17192268, 16.9769924 },
        { true, 2, -0.0532877557, 0.180956364, 0.234244119 },
        { true, 100, 0.994582832, 0.951715946, 78.9639812 },
        { true, 1, 2.00127506, 2.00127506, 2.00127506 },
    };
    struct torch_random r;
    torch_random_seed(&r, 99);
    for (size_t i = 0; i < sizeof draws / sizeof *draws; i++) {
        float x[100];
        double sum = 0;
        if (draws[i].normal)
            torch_random_normal(&r, x, (size_t)draws[i].count);
        else
            torch_random_uniform(&r, x, (size_t)draws[i].count);
        for (int k = 0; k < draws[i].count; k++)
            sum += fabs((double)x[k]);
        CHECK_NEAR(x[0], draws[i].first, TOLERANCE, "draw %zu", i);
        CHECK_NEAR(x[draws[i].count - 1], draws[i].last, TOLERANCE, "draw %zu", i);
        CHECK_NEAR(sum, draws[i].absolute_sum, 1e-6 * draws[i].count, "draw %zu", i);
    }
}

/* Random123's known answers for philox4x32-10. */
TEST(philox_gives_the_known_answers)
{
    uint32_t out[4];
    philox(0, 0, 0, out);
    CHECK(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8,
          "zeros");
    philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    CHECK(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd,
          "ones");
    philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, out);
    CHECK(out[0] == 0xd16cfe09 && out[1] == 0x94fdcceb && out[2] == 0x5001e420 && out[3] == 0x24126ea1,
          "digits of pi");
}

TEST(a_stream_is_uniform_and_normal)
{
    struct random r = random_of(7, 1);
    double sum = 0, normal_sum = 0, squares = 0;
    int hits[7] = { 0 };
    for (int i = 0; i < 70000; i++) {
        float u = random_uniform(&r), z = random_normal(&r);
        CHECK(u >= 0 && u < 1, "%g", (double)u);
        sum += (double)u;
        normal_sum += (double)z;
        squares += (double)z * (double)z;
        hits[random_below(&r, 7)]++;
    }
    /* five standard deviations of each mean */
    CHECK_NEAR(sum / 70000, 0.5, 5 * 0.2887 / sqrt(70000), "uniform");
    CHECK_NEAR(normal_sum / 70000, 0, 5 / sqrt(70000), "normal");
    CHECK_NEAR(squares / 70000, 1, 5 * sqrt(2) / sqrt(70000), "variance");
    for (int i = 0; i < 7; i++)
        CHECK_NEAR(hits[i], 10000, 5 * sqrt(70000.0 / 7 * 6 / 7), "below 7: %d", i);
}
