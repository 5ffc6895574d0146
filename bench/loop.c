/* The objectives of bench/native.py, and the loop that fastgrad's is held against. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef double (*objective)(intptr_t n, double *x, void *user_data);

/* The cheapest function that reads its input. */
double nothing(intptr_t n, double *x, void *user_data)
{
    return x[0];
}

/* A few operations on a few entries, whatever n is. */
double constant(intptr_t n, double *x, void *user_data)
{
    return exp(-x[0] * x[n - 1]) + x[n / 2];
}

/* Rosenbrock's function: all entries. */
double rosenbrock(intptr_t n, double *x, void *user_data)
{
    double sum = 0.0;
    for (intptr_t i = 0; i + 1 < n; i++) {
        double a = x[i + 1] - x[i] * x[i], b = 1.0 - x[i];
        sum += 100.0 * a * a + b * b;
    }
    return sum;
}

/* Central differences as one writes them by hand: move, evaluate, put the saved value back. With
   the steps and the signature of fastgrad's entry point, so that the two can change places. */
int by_hand(objective f, void *user_data, intptr_t n, double *x, double *g, int method, int order,
            double eps, intptr_t *stopped_at)
{
    for (intptr_t i = 0; i < n; i++) {
        double saved = x[i];
        double size = fabs(saved);
        double h = eps * (size > 1.0 ? size : 1.0); /* fmax would be a call */
        double above = saved + h, below = saved - h;
        x[i] = above;
        double ahead = f(n, x, user_data);
        x[i] = below;
        double behind = f(n, x, user_data);
        x[i] = saved;
        g[i] = (ahead - behind) / (above - below);
    }
    return 0;
}

/* So often that a call from Python costs nothing. */
int repeated(int times, int (*gradient)(objective, void *, intptr_t, double *, double *, int, int,
                                        double, intptr_t *),
             objective f, void *user_data, intptr_t n, double *x, double *g, int method, int order,
             double eps)
{
    int outcome = 0;
    while (times-- > 0)
        outcome |= gradient(f, user_data, n, x, g, method, order, eps, NULL);
    return outcome;
}
