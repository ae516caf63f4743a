/* Ways to space sigmas. */
#include <math.h>

#include "sampler/sampler_internal.h"

double linspace(double first, double last, int64_t i, int64_t count)
{
    if (count <= 1 || i == 0)
        return first;
    return i == count - 1 ? last : (double)i * ((last - first) / (double)(count - 1)) + first;
}

double sigma_karras(double first, double last, double rho, int64_t i, int64_t count)
{
    double root_first = pow(first, 1 / rho), root_last = pow(last, 1 / rho);
    return pow(root_first + linspace(0, 1, i, count) * (root_last - root_first), rho);
}

double sigma_exponential(double first, double last, int64_t i, int64_t count)
{
    return exp(linspace(log(first), log(last), i, count));
}

double sigma_beta(double first, double last, int64_t i, int64_t count)
{
    return last + beta_quantile(1 - linspace(0, 1, i, count), 0.6, 0.6) * (first - last);
}

/* Continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8) by Lentz's method;
 * converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double f = d;
    for (int m = 1; m < 500; m++) {
        double m2 = 2.0 * m;
        double even = m * (b - m) * x / ((a + m2 - 1) * (a + m2));
        double odd = -(a + m) * (a + b + m) * x / ((a + m2) * (a + m2 + 1));
        for (int half = 0; half < 2; half++) {
            double factor = half ? odd : even;
            d = 1 + factor * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + factor / c;
            c = fabs(c) < tiny ? tiny : c;
            f *= c * d;
        }
        if (fabs(c * d - 1) < 1e-16)
            break;
    }
    return f;
}

static double beta_incomplete(double x, double a, double b)
{
    if (x <= 0 || x >= 1)
        return x >= 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(x, a, b) / a;
    return 1 - front * beta_fraction(1 - x, b, a) / b;
}

double beta_quantile(double p, double a, double b)
{
    if (a == b && p == 0.5) /* exactly: half of an odd number of timesteps is a tie between two of them */
        return 0.5;
    double low = 0, high = 1;
    for (int i = 0; i < 200; i++) {
        double middle = 0.5 * (low + high);
        if (beta_incomplete(middle, a, b) < p)
            low = middle;
        else
            high = middle;
    }
    return p >= 1 ? 1 : high;
}

double interpolate(const double *values, int64_t count, double t)
{
    if (!(t > 0))
        return values[0];
    if (t >= (double)(count - 1))
        return values[count - 1];
    int64_t low = (int64_t)t;
    return values[low] + (t - (double)low) * (values[low + 1] - values[low]);
}

double sigma_to_t(const double *log_sigmas, int64_t count, double sigma)
{
    double wanted = log(fmax(sigma, 1e-10));
    if (count < 2)
        return 0;
    int64_t low = 0;
    for (int64_t i = 1; i < count - 1 && log_sigmas[i] <= wanted; i++)
        low = i;
    double part = (log_sigmas[low] - wanted) / (log_sigmas[low] - log_sigmas[low + 1]);
    part = fmin(fmax(part, 0), 1);
    return (1 - part) * (double)low + part * (double)(low + 1);
}
