#include "evaluate/gaussian.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

bool cloud_init(struct cloud *c, int64_t dims, struct err *e)
{
    size_t n = (size_t)dims;
    *c = (struct cloud){ .dims = dims, .origin = mem_zeroed(n, sizeof(double)), .sum = mem_zeroed(n, sizeof(double)),
                         .products = mem_zeroed(n * n, sizeof(double)) };
    if (c->origin && c->sum && c->products)
        return true;
    cloud_release(c);
    return err_nomem(e, "sums of features");
}

void cloud_release(struct cloud *c)
{
    mem_free(c->origin);
    mem_free(c->sum);
    mem_free(c->products);
    *c = (struct cloud){ 0 };
}

void cloud_add(struct cloud *c, const float *x, int64_t count)
{
    enum { BLOCK = 64 };
    int64_t n = c->dims;
    for (int64_t i = 0; count && !c->count && i < n; i++)
        c->origin[i] = (double)x[i];
    c->count += count;
    for (int64_t p = 0; p < count; p++)
        for (int64_t i = 0; i < n; i++)
            c->sum[i] += (double)x[p * n + i] - c->origin[i];
    /* Row by row, so that each thread owns what it adds to; points in blocks that stay in the cache. */
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t last = first + BLOCK < count ? first + BLOCK : count;
#pragma omp parallel for schedule(dynamic, 16) if (n >= 256)
        for (int64_t i = 0; i < n; i++)
            for (int64_t p = first; p < last; p++) {
                double v = (double)x[p * n + i] - c->origin[i], *row = c->products + i * n;
                for (int64_t k = 0; k <= i; k++)
                    row[k] += v * ((double)x[p * n + k] - c->origin[k]);
            }
    }
}

/* mean [dims]; covariance [dims, dims] with count - 1 below, as numpy.cov. At least 2 points. */
static void moments(const struct cloud *c, double *mean, double *covariance)
{
    int64_t n = c->dims;
    double count = (double)c->count;
    for (int64_t i = 0; i < n; i++)
        mean[i] = c->origin[i] + c->sum[i] / count;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k <= i; k++)
            covariance[i * n + k] = covariance[k * n + i] =
                (c->products[i * n + k] - c->sum[i] * (c->sum[k] / count)) / (count - 1);
}

/* --- eigenvalues --- */

/* To tridiagonal form from the last row up: diagonal d[n], below it e[1 .. n - 1]. p [n] is room. */
static void tridiagonal(double *a, int64_t n, double *d, double *e, double *p)
{
    for (int64_t i = n - 1; i > 0; i--) {
        double *u = a + i * n, norm = 0;
        for (int64_t k = 0; k < i; k++)
            norm += u[k] * u[k];
        d[i] = u[i];
        if (norm - u[i - 1] * u[i - 1] <= DBL_MIN) { /* it is in this form already */
            e[i] = u[i - 1];
            continue;
        }
        e[i] = u[i - 1] > 0 ? -sqrt(norm) : sqrt(norm);
        double half = norm - u[i - 1] * e[i]; /* |u|^2 / 2 */
        u[i - 1] -= e[i];
        memset(p, 0, (size_t)i * sizeof *p);
        for (int64_t j = 0; j < i; j++) {
            const double *row = a + j * n;
            double sum = 0;
            for (int64_t k = 0; k < j; k++) {
                sum += row[k] * u[k];
                p[k] += row[k] * u[j];
            }
            p[j] += sum + row[j] * u[j];
        }
        double along = 0;
        for (int64_t k = 0; k < i; k++) {
            p[k] /= half;
            along += u[k] * p[k];
        }
        for (int64_t k = 0; k < i; k++)
            p[k] -= along / (2 * half) * u[k];
        for (int64_t j = 0; j < i; j++) {
            double *row = a + j * n;
            for (int64_t k = 0; k <= j; k++)
                row[k] -= u[j] * p[k] + p[j] * u[k];
        }
    }
    d[0] = a[0];
}

/* d and e as above; the eigenvalues come into d. */
static bool iterate(double *d, double *e, int64_t n)
{
    enum { MOST = 60 };
    for (int64_t i = 1; i < n; i++)
        e[i - 1] = e[i];
    e[n - 1] = 0;
    for (int64_t l = 0; l < n; l++)
        for (int turn = 0;; turn++) {
            int64_t m = l;
            while (m < n - 1 && fabs(e[m]) > DBL_EPSILON * (fabs(d[m]) + fabs(d[m + 1])))
                m++;
            if (m == l)
                break;
            if (turn == MOST)
                return false;
            /* Wilkinson's shift, then one sweep of rotations from m down to l. */
            double g = (d[l + 1] - d[l]) / (2 * e[l]), r = hypot(g, 1), s = 1, c = 1, p = 0;
            g = d[m] - d[l] + e[l] / (g + copysign(r, g));
            int64_t i = m - 1;
            for (; i >= l; i--) {
                double f = s * e[i], b = c * e[i];
                e[i + 1] = r = hypot(f, g);
                if (r == 0) {
                    d[i + 1] -= p;
                    e[m] = 0;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                r = (d[i] - g) * s + 2 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
            }
            if (r == 0 && i >= l)
                continue;
            d[l] -= p;
            e[l] = g;
            e[m] = 0;
        }
    return true;
}

bool gaussian_eigenvalues(double *a, int64_t n, double *values, double *work, struct err *e)
{
    double *room = mem_aligned((size_t)n * sizeof *room);
    if (!room)
        return err_nomem(e, "eigenvalues");
    tridiagonal(a, n, values, work, room);
    mem_free(room);
    bool good = true;
    for (int64_t i = 0; i < n; i++)
        good = good && isfinite(values[i]) && (!i || isfinite(work[i]));
    return (good && iterate(values, work, n)) || err_set(e, ERR_FORMAT, "features whose covariance is not finite");
}

/* --- the distance --- */

/* a = L L' with rows in the order `place`; L's columns are written as rows: factor[rank, n]. Returns the rank. */
static int64_t cholesky(double *a, int64_t n, int64_t *place, double *factor)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        place[i] = i;
        largest = fmax(largest, a[i * n + i]);
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t best = k;
        for (int64_t i = k + 1; i < n; i++)
            if (a[place[i] * n + place[i]] > a[place[best] * n + place[best]])
                best = i;
        int64_t pivot = place[best];
        place[best] = place[k];
        place[k] = pivot;
        double d = a[pivot * n + pivot];
        if (d <= largest * (double)n * DBL_EPSILON)
            return k;
        double root = sqrt(d), *column = factor + k * n;
        memset(column, 0, (size_t)n * sizeof *column);
        for (int64_t i = k; i < n; i++)
            column[place[i]] = a[pivot * n + place[i]] / root;
        for (int64_t i = k + 1; i < n; i++) {
            double v = column[place[i]], *row = a + place[i] * n;
            for (int64_t j = 0; j < n; j++)
                row[j] -= v * column[j];
        }
    }
    return n;
}

/* The trace of (a b)^(1/2) for symmetric a, b [n, n] without negative eigenvalues; both are overwritten. With a = L L' (Cholesky with
 * pivots, which ends at a's rank) the eigenvalues of a b are those of L' b L. ERR_NOMEM. */
MUST_USE static bool trace_root(double *a, double *b, int64_t n, double *out, struct err *e)
{
    size_t area = (size_t)(n * n);
    double *factor = mem_aligned(area * sizeof *factor), *values = mem_aligned(2 * (size_t)n * sizeof *values);
    int64_t *place = mem_aligned((size_t)n * sizeof *place);
    *out = 0;
    if (!factor || !values || !place) {
        mem_free(factor);
        mem_free(values);
        mem_free(place);
        return err_nomem(e, "a distance between features");
    }
    int64_t rank = cholesky(a, n, place, factor);
    /* a <- L' b, then b <- (L' b) L, the lower half. */
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rank; i++) {
        double *row = a + i * n;
        memset(row, 0, (size_t)n * sizeof *row);
        for (int64_t k = 0; k < n; k++) {
            double v = factor[i * n + k];
            for (int64_t j = 0; j < n && v != 0; j++)
                row[j] += v * b[k * n + j];
        }
    }
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t i = 0; i < rank; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++)
                sum += a[i * n + k] * factor[j * n + k];
            b[i * rank + j] = sum; /* rows become shorter: what is overwritten was read above */
        }
    bool good = !rank || gaussian_eigenvalues(b, rank, values, values + n, e);
    for (int64_t i = 0; good && i < rank; i++)
        *out += sqrt(fmax(values[i], 0));
    mem_free(factor);
    mem_free(values);
    mem_free(place);
    return good;
}

/* Divides both by b's standard deviations. */
static void scale(double *m1, double *s1, double *m2, double *s2, double *deviation, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        deviation[i] = s2[i * n + i] > 1e-12 ? sqrt(s2[i * n + i]) : 1;
    for (int64_t i = 0; i < n; i++) {
        m1[i] /= deviation[i];
        m2[i] /= deviation[i];
        for (int64_t k = 0; k < n; k++) {
            s1[i * n + k] /= deviation[i] * deviation[k];
            s2[i * n + k] /= deviation[i] * deviation[k];
        }
    }
}

bool cloud_distance(const struct cloud *a, const struct cloud *b, bool scaled, double *squared, struct err *e)
{
    int64_t n = a->dims;
    if (n != b->dims)
        return err_set(e, ERR_SHAPE, "features of %lld and of %lld numbers", (long long)n, (long long)b->dims);
    if (a->count < 2 || b->count < 2)
        return err_set(e, ERR_ARG, "%lld and %lld points: a distance between sets needs at least 2 of each", (long long)a->count,
                       (long long)b->count);
    size_t area = (size_t)(n * n);
    double *memory = mem_aligned((2 * area + 3 * (size_t)n) * sizeof *memory);
    if (!memory)
        return err_nomem(e, "a distance between features");
    double *s1 = memory, *s2 = s1 + area, *m1 = s2 + area, *m2 = m1 + n, sum = 0, root;
    moments(a, m1, s1);
    moments(b, m2, s2);
    if (scaled)
        scale(m1, s1, m2, s2, m2 + n, n);
    for (int64_t i = 0; i < n; i++)
        sum += (m1[i] - m2[i]) * (m1[i] - m2[i]) + s1[i * n + i] + s2[i * n + i];
    bool good = trace_root(s1, s2, n, &root, e);
    *squared = fmax(sum - 2 * root, 0);
    mem_free(memory);
    return good;
}
