/* Objectives that the tests load; double (int, double *, void *) and the other signatures. */

#include <math.h>
#include <stdint.h>
#include <time.h>

static double cubes_of(intptr_t n, const double *x)
{
    double sum = 0.0;
    for (intptr_t i = 0; i < n; i++)
        sum += (i + 1) * x[i] * x[i] * x[i];
    return sum;
}

double cubes(int n, double *x, void *user_data)
{
    return cubes_of(n, x);
}

double cubes_wide(intptr_t n, double *x, void *user_data)
{
    return cubes_of(n, x);
}

/* The error code 7 where an entry is above the number that `user_data` points to. */
int checked(int n, const double *x, double *value, void *user_data)
{
    for (int i = 0; user_data && i < n; i++)
        if (x[i] > *(double *)user_data)
            return 7;
    *value = cubes_of(n, x);
    return 0;
}

int checked_wide(intptr_t n, const double *x, double *value, void *user_data)
{
    return checked((int)n, x, value, user_data);
}

/* Nothing is written to `value`. */
int silent(int n, const double *x, double *value, void *user_data)
{
    return 0;
}

/* Of each entry and the next one; the error code 7 as above. */
int products_wide(intptr_t n, const double *x, intptr_t m, double *y, void *user_data)
{
    for (intptr_t i = 0; user_data && i < n; i++)
        if (x[i] > *(double *)user_data)
            return 7;
    for (intptr_t k = 0; k < m; k++)
        y[k] = x[k % n] * x[(k + 1) % n];
    return 0;
}

int products(int n, const double *x, int m, double *y, void *user_data)
{
    return products_wide(n, x, m, y, user_data);
}

/* The first number alone is written. */
int partial(int n, const double *x, int m, double *y, void *user_data)
{
    y[0] = x[0] * x[0];
    return 0;
}

double scaled(int n, double *x, void *user_data)
{
    return *(double *)user_data * cubes_of(n, x);
}

/* A few entries only, whatever n is. */
double ends(int n, double *x, void *user_data)
{
    return x[0] * x[n - 1] + x[n / 2];
}

/* NaN where an entry is negative. */
double logs(int n, double *x, void *user_data)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += log(x[i]);
    return sum;
}

/* Writes to the entry whose number `user_data` points to, once that entry or another is above 9. */
double writes(int n, double *x, void *user_data)
{
    int which = *(int *)user_data;
    double sum = cubes_of(n, x);
    for (int i = 0; i < n; i++)
        if (x[i] > 9.0) {
            x[which] += 1.0;
            break;
        }
    return sum;
}

/* Takes as many turns as `user_data` points to, a nanosecond or so each. */
double slow(int n, double *x, void *user_data)
{
    volatile double sum = x[0];
    for (int64_t i = 0; i < *(int64_t *)user_data; i++)
        sum = sum * 0.999999 + 1e-6;
    return sum * cubes_of(n, x);
}

/* Says in the first number that `user_data` points to that it was called, and waits, for at most
   30 s, until somebody answers in the second. NaN where nobody did. */
double waits(int n, double *x, void *user_data)
{
    volatile int64_t *flags = user_data;
    time_t end = time(NULL) + 30;
    flags[0] = 1;
    while (!flags[1])
        if (time(NULL) > end)
            return NAN;
    return cubes_of(n, x);
}

float wrong(int n, float *x, void *user_data)
{
    return x[0];
}
