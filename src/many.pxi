# What is asked of many entries at once, and batches: included by _kernel.pyx.

# ---------------------------------------------------------------- quotients of many entries

cdef inline double larger(double a, double b) noexcept nogil:
    """The larger one; NaN counts for nothing."""
    return a if a >= b or b != b else b


@cython.cdivision(True)
cpdef quotients(cnp.ndarray moved, cnp.ndarray values, double base, double noise, double unit):
    cdef Py_ssize_t i
    cdef Py_ssize_t n = cnp.PyArray_DIM(moved, 0)
    cdef cnp.npy_intp shape[2]
    cdef const double* at = <const double*> cnp.PyArray_DATA(moved)
    cdef const double* f = <const double*> cnp.PyArray_DATA(values)
    shape[0], shape[1] = 5, n
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    cdef double above, below
    with nogil:
        for i in range(n):
            above, below = f[2 * i], f[2 * i + 1]
            out[i] = at[2 * i] - at[2 * i + 1]
            out[n + i] = (above - below) / out[i]
            out[2 * n + i] = (above - base) / at[2 * i]
            out[3 * n + i] = (below - base) / at[2 * i + 1]
            out[4 * n + i] = larger(noise, unit * larger(fabs(above), fabs(below))) / out[i]
    return found


cdef int may_fill(cnp.ndarray column, Py_ssize_t n, int kind) except -1:
    """Refuse a column of other entries, of another type, or with gaps."""
    if (cnp.PyArray_SIZE(column) != n or cnp.PyArray_TYPE(column) != kind
            or not cnp.PyArray_IS_C_CONTIGUOUS(column)):
        raise ValueError(f"a column of {n} entries that lie side by side is filled here")
    return 0


def first_differences(cnp.ndarray moved, cnp.ndarray values, double base, double noise,
                      double unit, cnp.ndarray numeric, cnp.ndarray gaps, cnp.ndarray bounds,
                      cnp.ndarray moves):
    cdef Py_ssize_t i
    cdef Py_ssize_t n = cnp.PyArray_DIM(moved, 0)
    for column in (numeric, gaps, bounds):
        may_fill(column, n, cnp.NPY_FLOAT64)
    may_fill(moves, n, cnp.NPY_BOOL)
    cdef cnp.ndarray found = quotients(moved, values, base, noise, unit)
    cdef const double* rows = <const double*> cnp.PyArray_DATA(found)
    cdef double* out = <double*> cnp.PyArray_DATA(numeric)
    cdef double* gap = <double*> cnp.PyArray_DATA(gaps)
    cdef char* told = <char*> cnp.PyArray_DATA(moves)
    memcpy(out, rows + n, n * sizeof(double))
    memcpy(cnp.PyArray_DATA(bounds), rows + 4 * n, n * sizeof(double))
    for i in range(n):
        gap[i] = rows[2 * n + i] - rows[3 * n + i]
        # Both quotients may cancel, or be equal; what is not a number is no move.
        told[i] = fabs(out[i]) > 0.0 or fabs(gap[i]) > 0.0


def drop_infinities(cnp.ndarray values):
    cdef View mine
    cdef double* value
    cdef Py_ssize_t i
    if cnp.PyArray_TYPE(values) != cnp.NPY_FLOAT64:
        raise ValueError("infinities are dropped from values of float64")
    describe(&mine, values)
    for i in range(cnp.PyArray_SIZE(values)):
        value = <double*> locate(&mine, i)
        if fabs(value[0]) == INFINITY:
            value[0] = NAN


def largest_size(cnp.ndarray values):
    cdef Py_ssize_t i
    values = doubles_of(values, cnp.PyArray_SIZE(values))
    cdef const double* given = <const double*> cnp.PyArray_DATA(values)
    cdef double largest = 0.0
    cdef double size
    for i in range(cnp.PyArray_SIZE(values)):
        size = fabs(given[i])
        if largest < size < INFINITY:
            largest = size
    return largest


@cython.cdivision(True)
def norm_error(cnp.ndarray a, cnp.ndarray b):
    cdef Py_ssize_t i
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a)
    cdef const double* first = <const double*> cnp.PyArray_DATA(a)
    cdef const double* second = <const double*> cnp.PyArray_DATA(b)
    cdef double largest = 0.0
    cdef double apart = 0.0
    cdef double one = 0.0
    cdef double other = 0.0
    cdef double x, y
    cdef bint finite = True
    with nogil:
        for i in range(n):
            finite &= fabs(first[i]) < INFINITY and fabs(second[i]) < INFINITY
            largest = larger(largest, larger(fabs(first[i]), fabs(second[i])))
        if largest > 0.0 and finite:
            for i in range(n):
                x, y = first[i] / largest, second[i] / largest
                apart += (x - y) * (x - y)
                one += x * x
                other += y * y
    if not finite:
        return NAN
    return sqrt(apart) / (sqrt(one) + sqrt(other)) if largest > 0.0 else 0.0


# ---------------------------------------------------------------- checksums

cdef inline uint64_t stirred(uint64_t sum, uint64_t word) noexcept nogil:
    """Take in a word, one to one: no single change is lost, and turning spreads those of signs."""
    sum ^= word
    return ((sum << 29) | (sum >> 35)) * <uint64_t> 0x9E3779B97F4A7C15


cdef void sum_run(uint64_t* sums, const char* bytes, Py_ssize_t size) noexcept nogil:
    """Words of a run go to four sums in turn, which the processor works on at once."""
    cdef uint64_t words[4]
    cdef Py_ssize_t i = 0
    cdef int k
    while i + 32 <= size:
        memcpy(words, bytes + i, 32)
        for k in range(4):
            sums[k] = stirred(sums[k], words[k])
        i += 32
    if i < size:
        memset(words, 0, 32)
        memcpy(words, bytes + i, size - i)
        for k in range(4):
            sums[k] = stirred(sums[k], words[k])


def checksum(cnp.ndarray array):
    cdef uint64_t sums[4]
    cdef View view
    cdef Py_ssize_t row = 0
    cdef Py_ssize_t size = array.size
    describe(&view, array)
    cdef Py_ssize_t columns = side_by_side(&view, 1, size)
    sums[0], sums[1], sums[2], sums[3] = 1, 2, 3, 4
    with nogil:
        while row < size:
            sum_run(sums, locate(&view, row), columns * view.itemsize)
            row += columns
    return mix(sums[0] + mix(sums[1] + mix(sums[2] + mix(sums[3]))))


# ---------------------------------------------------------------- batches: many points at once

cdef struct Rows:
    View own               # the parameters as they are: the last row
    char* data
    Py_ssize_t width       # bytes from row to row
    const cnp.npy_intp* entries


cdef void describe_rows(Rows* rows, cnp.ndarray array, cnp.ndarray entries) noexcept:
    rows.data = cnp.PyArray_BYTES(array)
    rows.own.itemsize = <int> cnp.PyArray_ITEMSIZE(array)
    rows.own.contiguous = True
    rows.width = cnp.PyArray_DIM(array, 1) * rows.own.itemsize
    rows.own.data = rows.data + (cnp.PyArray_DIM(array, 0) - 1) * rows.width
    rows.entries = NULL if entries is None else <cnp.npy_intp*> cnp.PyArray_DATA(entries)


cdef inline void load_own(Cell* cell, const Rows* rows, Py_ssize_t position) noexcept nogil:
    load(cell, &rows.own, position if rows.entries == NULL else rows.entries[position])


cdef Py_ssize_t fill(const Rows* rows, const Plan* plan, Py_ssize_t start, Py_ssize_t stop,
                     double* points) noexcept nogil:
    """Move one entry in each row; return the first position whose step vanished, or -1."""
    cdef Cell cell
    cdef Py_ssize_t position, offset
    cdef Py_ssize_t vanished = -1
    cdef char* row = rows.data
    cdef int k
    for position in range(start, stop):
        load_own(&cell, rows, position)
        offset = cell.address - rows.own.data
        place(points, &cell, plan.offsets, plan.count, step_at(plan, position, cell.x))
        if vanished < 0 and plan.rows != NULL and not distinct(points, plan.count // 2):
            vanished = position
        for k in range(plan.count):
            if plan.offsets[k] != 0.0:
                cell.address = row + offset
                write(&cell, points[k])
                row += rows.width
        points += plan.count
    return vanished


cdef void collect(const Plan* plan, const double* points, const double* values,
                  Py_ssize_t start, Py_ssize_t stop, const View* target) noexcept nogil:
    """Combine the values of each position to its derivative."""
    cdef double mine[2 * MAX_QUOTIENTS]
    cdef Py_ssize_t position
    cdef int k
    for position in range(start, stop):
        for k in range(plan.count):
            mine[k] = plan.base
            if plan.offsets[k] != 0.0:
                mine[k] = values[0]
                values += 1
        store(target, position - plan.first, derivative_of(plan, points, mine))
        points += plan.count


def scatter(cnp.ndarray rows, cnp.ndarray table, cnp.ndarray offsets, object steps,
            Py_ssize_t start, Py_ssize_t stop, cnp.ndarray entries, cnp.ndarray points):
    cdef Rows mine
    cdef Plan plan
    cdef Py_ssize_t vanished
    plan_steps(&plan, steps)
    if plan.steps != NULL:
        plan.steps -= start
    plan_offsets(&plan, offsets)
    plan.rows = NULL if table is None else <const double*> cnp.PyArray_DATA(table)
    describe_rows(&mine, rows, entries)
    with nogil:
        vanished = fill(&mine, &plan, start, stop, <double*> cnp.PyArray_DATA(points))
    return vanished


def gather(object stencil, object steps, cnp.ndarray points, cnp.ndarray values, double base,
           Py_ssize_t start, Py_ssize_t stop, cnp.ndarray out, Py_ssize_t first):
    cdef View target
    cdef Plan plan
    plan_derivatives(&plan, stencil, steps, base, start, first)
    describe(&target, out)
    with nogil:
        collect(&plan, <const double*> cnp.PyArray_DATA(points),
                <const double*> cnp.PyArray_DATA(values), start, stop, &target)
