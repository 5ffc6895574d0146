# Moves of many entries at once, for blocks and batches: included by _kernel.pyx.

# ---------------------------------------------------------------- blocks along a direction

cdef Py_ssize_t side_by_side(const View* views, int count, Py_ssize_t size) noexcept:
    """How many entries, in C order, lie side by side in all of these arrays."""
    cdef int k, last
    for k in range(count):
        if not views[k].contiguous:
            last = views[k].ndim - 1
            size = min(size, views[k].shape[last])
            if views[k].strides[last] != views[k].itemsize:
                size = 1
    return size


# One loop for each type, over a run of entries side by side, which the compiler makes vectors of.

cdef void displace_double(double* target, const double* before, const double* move, double time,
                          Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        target[i] = before[i] + time * move[i]


cdef void displace_single(float* target, const float* before, const double* move, double time,
                          Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        target[i] = before[i] + <float> (time * move[i])


def displace(cnp.ndarray target, cnp.ndarray before, cnp.ndarray move, double time):
    cdef View views[3]
    cdef Py_ssize_t row = 0
    cdef Py_ssize_t size = target.size
    cdef char* at[3]
    cdef int k
    describe(&views[0], target)
    describe(&views[1], before)
    describe(&views[2], move)
    cdef Py_ssize_t cols = side_by_side(views, 3, size)
    while row < size:
        for k in range(3):
            at[k] = locate(&views[k], row)
        if views[0].itemsize == 4:
            displace_single(<float*> at[0], <const float*> at[1], <const double*> at[2], time, cols)
        else:
            displace_double(<double*> at[0], <const double*> at[1], <const double*> at[2], time,
                            cols)
        row += cols


# Here all operations stand in the order of the twin's, as the last bit depends on it, and lengths
# are written out: GCC makes no vectors of a call, even of an inline one.

cdef void shift_double(double* target, const double* before, const int16_t* direction,
                       double time, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x


cdef void shift_single(float* target, const float* before, const int16_t* direction,
                       double time, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = <float> (direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x)


cdef void claim_double(double* target, const double* before, const int16_t* direction,
                       double time, const double* claim, double* rise,
                       Py_ssize_t n) noexcept nogil:
    """The same, with what a claim says of the moves really made: one loop, for it reads once."""
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x
        rise[i] = (target[i] - x) * claim[i]


cdef void claim_single(float* target, const float* before, const int16_t* direction,
                       double time, const double* claim, double* rise,
                       Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = <float> (direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x)
        rise[i] = (target[i] - x) * claim[i]


def shift(cnp.ndarray target, cnp.ndarray before, cnp.ndarray direction, double time,
          cnp.ndarray claim, cnp.ndarray rise):
    cdef View views[4]
    cdef Py_ssize_t row = 0
    cdef Py_ssize_t size = target.size
    cdef double* sums = NULL
    cdef char* at[4]
    cdef int k
    cdef int count = 3
    describe(&views[0], target)
    describe(&views[1], before)
    describe(&views[2], direction)
    if claim is not None:
        describe(&views[3], claim)
        count, sums = 4, <double*> cnp.PyArray_DATA(rise)
    cdef Py_ssize_t cols = side_by_side(views, count, size)
    while row < size:
        for k in range(count):
            at[k] = locate(&views[k], row)
        if views[0].itemsize == 4 and sums == NULL:
            shift_single(<float*> at[0], <const float*> at[1], <const int16_t*> at[2], time, cols)
        elif views[0].itemsize == 4:
            claim_single(<float*> at[0], <const float*> at[1], <const int16_t*> at[2], time,
                         <const double*> at[3], sums + row, cols)
        elif sums == NULL:
            shift_double(<double*> at[0], <const double*> at[1], <const int16_t*> at[2], time,
                         cols)
        else:
            claim_double(<double*> at[0], <const double*> at[1], <const int16_t*> at[2], time,
                         <const double*> at[3], sums + row, cols)
        row += cols


# ---------------------------------------------------------------- quotients of many entries

cdef inline double larger(double a, double b) noexcept nogil:
    """The larger one; NaN counts for nothing."""
    return a if a >= b or b != b else b


@cython.cdivision(True)
def quotients(cnp.ndarray moved, cnp.ndarray values, double base, double noise, double unit):
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


# ---------------------------------------------------------------- the first look at a gradient

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


# ---------------------------------------------------------------- random directions

# SplitMix64, as in `_evaluation/direction.py`: 2^64 over the golden ratio.
cdef inline uint64_t mix(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint64_t four(uint64_t key, uint64_t entry) noexcept nogil:
    """Four integers of 16 bits, of which the one of this entry is one; the first is lowest.

    All four at once, without a branch: magnitudes, then `~m + 1` where the sign bit is set. No sum
    carries over, for the magnitudes are between 2^13 and 3 * 2^13.
    """
    cdef uint64_t word = mix(key + ((entry >> 2) + 1) * <uint64_t> 0x9E3779B97F4A7C15)
    cdef uint64_t signs = (word >> 15) & <uint64_t> 0x0001000100010001
    word = (word & <uint64_t> 0x3FFF3FFF3FFF3FFF) + <uint64_t> 0x2000200020002000
    return (word ^ (signs * <uint64_t> 0xFFFF)) + signs


cdef inline int16_t drawn(uint64_t key, uint64_t entry) noexcept nogil:
    return <int16_t> (four(key, entry) >> (16 * (entry & 3)))


cdef void draw_run(int16_t* out, uint64_t key, uint64_t entry, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef uint64_t word
    while i < n and entry & 3:  # up to the first entry of a word
        out[i] = drawn(key, entry)
        i, entry = i + 1, entry + 1
    while i + 4 <= n:
        word = four(key, entry)
        out[i], out[i + 1] = <int16_t> word, <int16_t> (word >> 16)
        out[i + 2], out[i + 3] = <int16_t> (word >> 32), <int16_t> (word >> 48)
        i, entry = i + 4, entry + 4
    while i < n:
        out[i] = drawn(key, entry)
        i, entry = i + 1, entry + 1


def draw(cnp.ndarray out, uint64_t key, uint64_t start, uint64_t stride):
    cdef Py_ssize_t row
    cdef Py_ssize_t rows = cnp.PyArray_DIM(out, 0)
    cdef Py_ssize_t n = cnp.PyArray_DIM(out, 1)
    cdef int16_t* at = <int16_t*> cnp.PyArray_DATA(out)
    with nogil:
        for row in range(rows):
            draw_run(at + row * n, key, start + row * stride, n)


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
        store(target, position - plan.first, combine(plan.rows, plan.count // 2, points, mine))
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
