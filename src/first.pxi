# What the first look at a gradient of a few small arrays asks for: included by _kernel.pyx.

# ---------------------------------------------------------------- values along a direction

def follow(object f, object argument, list leaves, list found, list before, list moves, tuple times,
           double still, list values):
    cdef Fingerprint each
    cdef cnp.ndarray start, move
    cdef Py_ssize_t i, k
    cdef Py_ssize_t count = len(found)
    cdef double time
    cdef object value
    cdef Forgiving soft = forgiving_or_none(f)
    f = f if soft is None else soft.f
    cdef vectorcallfunc vectorcall = PyVectorcall_Function(f)
    for i in range(len(times)):
        time = times[i]
        for k in range(count):
            each, start, move = found[k], before[k], moves[k]
            if altered(&each.held.array, each.array) or not alive(&each.held, each.owner):
                raise _errors.moved_error(leaves[k].path)  # by the evaluation before
            if each.held.array.itemsize == 4:
                displace_single(<float*> each.held.array.data, <const float*> cnp.PyArray_DATA(start),
                                <const double*> cnp.PyArray_DATA(move), time, cnp.PyArray_SIZE(start))
            else:
                displace_double(<double*> each.held.array.data,
                                <const double*> cnp.PyArray_DATA(start),
                                <const double*> cnp.PyArray_DATA(move), time, cnp.PyArray_SIZE(start))
        value = forgiven(f, vectorcall, argument, soft)
        if not PyFloat_CheckExact(value):
            value = as_scalar(value, at_block, 0)
        values.append(value)
        if i == 1 and PyFloat_AS_DOUBLE(values[0]) == still and PyFloat_AS_DOUBLE(value) == still:
            break
    for k in range(count):
        each = found[k]
        if altered(&each.held.array, each.array) or not alive(&each.held, each.owner):
            raise _errors.moved_error(leaves[k].path)


# ---------------------------------------------------------------- judging all entries at once

cdef struct Factors:
    double safety          # of the noise
    double share           # of the entry itself
    double truncation      # of the largest entry, as this and the next
    double rounding
    double condition       # of the gap between the one-sided quotients


cdef void read_factors(Factors* factors, tuple given):
    factors.safety, factors.share, factors.truncation, factors.rounding, factors.condition = given


cdef inline double bound_of(const Factors* factors, double analytic, double numeric, double noise,
                            double gap, double allowed) noexcept nogil:
    cdef double own = fabs(analytic) if fabs(analytic) <= fabs(numeric) else fabs(numeric)
    # NaN counts for nothing, as in `larger`.
    own = fabs(analytic) if numeric != numeric else (fabs(numeric) if analytic != analytic else own)
    return (factors.safety * noise + factors.share * own + allowed) + factors.condition * fabs(gap)


def first_bounds(cnp.ndarray analytic, cnp.ndarray numeric, cnp.ndarray noise, cnp.ndarray gaps,
                 double scale, tuple factors):
    cdef Py_ssize_t i
    cdef cnp.npy_intp n = cnp.PyArray_DIM(analytic, 0)
    cdef const double* a = <const double*> cnp.PyArray_DATA(analytic)
    cdef const double* d = <const double*> cnp.PyArray_DATA(numeric)
    cdef const double* e = <const double*> cnp.PyArray_DATA(noise)
    cdef const double* g = <const double*> cnp.PyArray_DATA(gaps)
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT64, False)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    cdef Factors mine
    read_factors(&mine, factors)
    cdef double allowed = mine.truncation * scale + mine.rounding * scale
    with nogil:
        for i in range(n):
            out[i] = bound_of(&mine, a[i], d[i], e[i], g[i], allowed)
    return found


@cython.cdivision(True)
def agreement(cnp.ndarray analytic, cnp.ndarray moved, cnp.ndarray values, double base,
              double noise, double unit, tuple factors, double rtol, double atol, double kink,
              double power):
    cdef Py_ssize_t i
    cdef cnp.npy_intp n = cnp.PyArray_DIM(analytic, 0)
    cdef const double* a = <const double*> cnp.PyArray_DATA(analytic)
    cdef cnp.ndarray found = quotients(moved, values, base, noise, unit)
    cdef cnp.ndarray bounds = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT64, False)
    cdef const double* d = <const double*> cnp.PyArray_DATA(found) + n
    cdef const double* ahead = d + n
    cdef const double* behind = ahead + n
    cdef const double* e = behind + n
    cdef double* out = <double*> cnp.PyArray_DATA(bounds)
    cdef Factors mine
    cdef double gap, scale, widest, allowed
    cdef double claimed = 0.0
    cdef double size = 0.0
    cdef double open_ = 0.0
    cdef bint agrees = True
    read_factors(&mine, factors)
    with nogil:
        for i in range(n):
            gap = fabs(ahead[i] - behind[i])
            # No number, and no move, is for a closer look.
            agrees &= fabs(a[i]) < INFINITY and fabs(d[i]) < INFINITY and gap < INFINITY
            agrees &= d[i] != 0.0 or gap != 0.0
            claimed, size = larger(claimed, fabs(a[i])), larger(size, fabs(d[i]))
            open_ = larger(open_, gap)
        scale, widest = claimed if claimed < size else size, 0.0
        allowed = mine.truncation * scale + mine.rounding * scale
        agrees &= not open_ > kink * scale
        for i in range(n):
            out[i] = bound_of(&mine, a[i], d[i], e[i], ahead[i] - behind[i], allowed)
            agrees &= fabs(a[i] - d[i]) <= out[i] + (atol + rtol * fabs(d[i]))
            widest = larger(widest, out[i])
        agrees &= widest <= power * scale
    return (found[1], bounds) if agrees else None


@cython.cdivision(True)
def table_noise(list values, tuple weights, Py_ssize_t window, double alike):
    cdef double table[MAX_POINTS]
    cdef double levels[MAX_POINTS]
    cdef bint turns[MAX_POINTS]
    cdef Py_ssize_t i, k, first
    cdef Py_ssize_t n = len(values)
    cdef Py_ssize_t orders = len(weights)
    cdef double total, least, most, lowest, highest
    if not orders < n <= MAX_POINTS:
        raise ValueError(f"a table of {n} points has no {orders} orders of differences")
    for i in range(n):
        table[i] = values[i]
    for k in range(orders):
        total, least, most = 0.0, INFINITY, -INFINITY
        for i in range(n - 1 - k):
            table[i] = table[i + 1] - table[i]
            total += table[i] * table[i]
            least = table[i] if table[i] < least else least
            most = table[i] if table[i] > most else most
        levels[k] = <double> weights[k] * sqrt(total)
        # The first of the window must be of differences of both signs: see the twin.
        turns[k] = least < 0.0 < most
        first = k + 1 - window
        if first < 0 or not turns[first]:
            continue
        lowest = highest = levels[first]
        for i in range(first, k + 1):
            lowest = levels[i] if levels[i] < lowest else lowest
            highest = levels[i] if levels[i] > highest else highest
        if highest <= alike * lowest:
            return levels[first]
    return levels[orders - 1]


def steepest(cnp.ndarray claimed, cnp.ndarray x):
    cdef Py_ssize_t i
    cdef const double* a = <const double*> cnp.PyArray_DATA(claimed)
    cdef const double* b = <const double*> cnp.PyArray_DATA(x)
    cdef double most = 0.0
    cdef double size
    for i in range(cnp.PyArray_DIM(claimed, 0)):
        size = fabs(a[i]) * length_of(b[i])
        if size < INFINITY:
            most = larger(most, size)
    return most


def has_tiny(cnp.ndarray x, double below):
    cdef View mine
    cdef Py_ssize_t i
    cdef double size
    describe(&mine, x)
    for i in range(x.size):
        size = fabs(read(&mine, i))
        if 0.0 < size < below:
            return True
    return False


cdef inline double read(const View* view, Py_ssize_t entry) noexcept nogil:
    if view.itemsize == 4:
        return (<float*> locate(view, entry))[0]
    return (<double*> locate(view, entry))[0]


cdef inline double length_of(double x) noexcept nogil:
    return fabs(x) if 1.0 < fabs(x) < INFINITY else 1.0


def odd_moves(cnp.ndarray before, cnp.ndarray factors, double width, double odd):
    cdef View mine
    cdef Py_ssize_t i
    cdef const int8_t* sign = <const int8_t*> cnp.PyArray_DATA(factors)
    cdef cnp.ndarray moves = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(before), cnp.PyArray_DIMS(before), cnp.NPY_FLOAT64, False)
    cdef double* out = <double*> cnp.PyArray_DATA(moves)
    cdef int exponent = 0
    describe(&mine, before)
    for i in range(before.size):
        frexp(width * length_of(read(&mine, i)), &exponent)
        out[i] = ldexp(<double> sign[i], exponent - 2) * odd
    return moves
