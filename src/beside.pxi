# What values beside an entry say of `f` at larger scales: included by _kernel.pyx.

@cython.cdivision(True)
def values_beside(cnp.ndarray moved, cnp.ndarray values, cnp.ndarray steps, double base):
    cdef cnp.npy_intp n = cnp.PyArray_DIM(steps, 0)
    cdef Py_ssize_t points = cnp.PyArray_DIM(moved, 1)
    cdef cnp.npy_intp[2] shape
    moved, values = doubles_of(moved, n * points), doubles_of(values, n * points)
    steps = doubles_of(steps, n)
    shape[0], shape[1] = n, 1 + points
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    cdef const double* at = <const double*> cnp.PyArray_DATA(moved)
    cdef const double* f = <const double*> cnp.PyArray_DATA(values)
    cdef const double* step = <const double*> cnp.PyArray_DATA(steps)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    cdef Py_ssize_t i, k
    cdef double slope
    for i in range(n):
        slope = (f[0] - base) / at[0]
        out[0] = base
        for k in range(points):
            out[1 + k] = f[k] - slope * (at[k] - <double> (k + 1) * step[i])
        at, f, out = at + points, f + points, out + 1 + points
    return found


def third_differences(cnp.ndarray values, double least, double share):
    cdef cnp.npy_intp n = cnp.PyArray_DIM(values, 0)
    cdef Py_ssize_t points = cnp.PyArray_DIM(values, 1)
    if points > MAX_POINTS or points < 6:
        raise ValueError(f"{points} values have no third differences and fifth ones")
    values = doubles_of(values, n * points)
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT64, False)
    cdef cnp.ndarray told = cnp.PyArray_EMPTY(1, &n, cnp.NPY_BOOL, False)
    cdef const double* given = <const double*> cnp.PyArray_DATA(values)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    cdef char* rough = <char*> cnp.PyArray_DATA(told)
    cdef double[MAX_POINTS] table
    cdef double third, fifth
    cdef Py_ssize_t i, j, order
    for i in range(n):
        memcpy(table, given + i * points, points * sizeof(double))
        third = fifth = 0.0
        for order in range(1, 6):
            for j in range(points - order):
                table[j] = table[j + 1] - table[j]
            if order == 3:
                third = largest_or_none(table, points - order)
            elif order == 5:
                fifth = largest_or_none(table, points - order)
        out[i], rough[i] = third, third > least and fifth > share * third
    return found, told


cdef double largest_or_none(const double* values, Py_ssize_t count) noexcept nogil:
    """The largest size, not beyond float64; 0 where one is not a number."""
    cdef double most = 0.0
    cdef Py_ssize_t j
    for j in range(count):
        if values[j] != values[j]:
            return 0.0
        most = larger(most, fabs(values[j]))
    return most if most < INFINITY else DBL_MAX


def held_up_to(cnp.ndarray table, cnp.ndarray value, cnp.ndarray step, cnp.ndarray error,
               double share):
    cdef Py_ssize_t rows = cnp.PyArray_DIM(table, 1)
    cdef Py_ssize_t n = cnp.PyArray_DIM(table, 2)
    cdef cnp.npy_intp[2] shape
    table = rows_of(table, n, rows)
    value, step, error = doubles_of(value, n), doubles_of(step, n), doubles_of(error, n)
    shape[0], shape[1] = 2, n
    cdef cnp.ndarray found = cnp.PyArray_ZEROS(2, shape, cnp.NPY_INTP, False)
    cdef const double* steps = <const double*> cnp.PyArray_DATA(table)
    cdef const double* noise = steps + 4 * rows * n
    cdef const double* v = <const double*> cnp.PyArray_DATA(value)
    cdef const double* h = <const double*> cnp.PyArray_DATA(step)
    cdef const double* e = <const double*> cnp.PyArray_DATA(error)
    cdef cnp.npy_intp* out = <cnp.npy_intp*> cnp.PyArray_DATA(found)
    cdef Py_ssize_t i, side, row, chosen
    cdef double away, nearest
    for i in range(n):
        nearest, chosen = INFINITY, 0
        # The row of this step, or the first without one, as NumPy finds it.
        for row in range(rows):
            away = fabs(steps[row * n + i] - h[i])
            if away < nearest or away != away:
                nearest, chosen = away, row
            if away != away:
                break
        for row in range(chosen):
            for side in range(2):
                away = fabs(steps[((2 + side) * rows + row) * n + i] - v[i])
                if away > share * e[i] + 2.0 * noise[row * n + i]:
                    out[side * n + i] = row + 1
    return found
