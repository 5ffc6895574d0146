# Moves of many entries at once, for blocks and batches: included by _kernel.pyx.

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


# Sums are those of lanes, which a processor adds at once and NumPy row by row: as exact as sums in
# pairs, and the same to the last bit. So few terms stay in the innermost cache, beside what is read
# for them: with eight times as many a move takes a tenth longer.
cdef enum:
    LANES = 8
    TERMS = 256
    CHUNK = 32768  # entries whose terms are summed by themselves, as the twin does


cdef struct Sums:
    double terms[TERMS]
    int count
    double rises[LANES]
    double squares[LANES]


cdef void take_in(Sums* sums) noexcept nogil:
    """Add the terms to their lanes; what is missing in the last row adds nothing."""
    cdef int row, lane
    cdef int count = sums.count
    cdef const double* terms = sums.terms
    # Of their own, which no pointer reaches: GCC makes vectors of them.
    cdef double rises[LANES]
    cdef double squares[LANES]
    while count % LANES:
        sums.terms[count] = 0.0
        count += 1
    memcpy(rises, sums.rises, sizeof(rises))
    memcpy(squares, sums.squares, sizeof(squares))
    for row in range(count // LANES):
        for lane in range(LANES):
            rises[lane] += terms[lane]
            squares[lane] += terms[lane] * terms[lane]
        terms += LANES
    memcpy(sums.rises, rises, sizeof(rises))
    memcpy(sums.squares, squares, sizeof(squares))
    sums.count = 0


cdef void begin(Sums* sums) noexcept nogil:
    sums.count = 0
    memset(sums.rises, 0, sizeof(sums.rises))
    memset(sums.squares, 0, sizeof(sums.squares))


cdef double sum_of(double* lanes) noexcept nogil:
    cdef int lane
    cdef int half = LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half //= 2
    return lanes[0]


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


# The random numbers of a region, by the numbers of its entries in the leaf.
cdef struct Drawn:
    View numbers           # as if they were addresses, of one byte for each entry
    uint64_t key


cdef void describe_drawn(Drawn* drawn, const View* like, uint64_t key, uint64_t start,
                         tuple strides) noexcept:
    cdef int d
    cdef cnp.npy_intp beside = 1
    drawn.key = key
    drawn.numbers = like[0]
    drawn.numbers.data = <char*> <size_t> start
    drawn.numbers.itemsize = 1
    drawn.numbers.contiguous = True
    for d in range(like.ndim - 1, -1, -1):
        drawn.numbers.strides[d] = strides[d]
        if like.shape[d] != 1 and drawn.numbers.strides[d] != beside:
            drawn.numbers.contiguous = False
        beside *= like.shape[d]


cdef void shift_run(char** at, bint single, bint claimed, uint64_t key, uint64_t entry,
                    double time, Sums* sums, Py_ssize_t n) noexcept nogil:
    """Move entries that lie side by side, and take in what is claimed of them."""
    cdef int16_t direction[TERMS]
    cdef Py_ssize_t part
    cdef int k
    cdef int size = 4 if single else 8
    while n:
        part = min(n, TERMS - sums.count)
        draw_run(direction, key, entry, part)
        if claimed and single:
            claim_single(<float*> at[0], <const float*> at[1], direction, time,
                         <const double*> at[2], sums.terms + sums.count, part)
        elif claimed:
            claim_double(<double*> at[0], <const double*> at[1], direction, time,
                         <const double*> at[2], sums.terms + sums.count, part)
        elif single:
            shift_single(<float*> at[0], <const float*> at[1], direction, time, part)
        else:
            shift_double(<double*> at[0], <const double*> at[1], direction, time, part)
        for k in range(2):
            at[k] += part * size
        at[2] += part * sizeof(double)
        entry += part
        n -= part
        if claimed:
            sums.count += part
        if sums.count == TERMS:
            take_in(sums)


cdef void shift_chunk(const View* views, const Drawn* drawn, bint claimed, double time,
                      Py_ssize_t cols, Py_ssize_t row, Py_ssize_t stop, Sums* sums) noexcept nogil:
    """Move the entries from `row` to `stop`, of which `cols` in a row lie side by side."""
    cdef char* at[3]
    cdef Py_ssize_t n
    cdef int k
    begin(sums)
    while row < stop:
        n = min(cols - row % cols, stop - row)
        for k in range(3 if claimed else 2):
            at[k] = locate(&views[k], row)
        shift_run(at, views[0].itemsize == 4, claimed, drawn.key,
                  <uint64_t> <size_t> locate(&drawn.numbers, row), time, sums, n)
        row += n
    take_in(sums)


def shift(cnp.ndarray target, cnp.ndarray before, uint64_t key, uint64_t start, tuple strides,
          double time, cnp.ndarray claim):
    cdef View views[4]
    cdef Drawn drawn
    cdef Sums sums
    cdef double rise = 0.0
    cdef double square = 0.0
    cdef Py_ssize_t row = 0
    cdef Py_ssize_t size = target.size
    cdef bint claimed = claim is not None
    describe(&views[0], target)
    describe(&views[1], before)
    describe(&views[2], claim if claimed else before)
    describe_drawn(&drawn, &views[0], key, start, strides)
    views[3] = drawn.numbers
    cdef Py_ssize_t cols = side_by_side(views, 4, size)
    with nogil:
        while row < size:
            shift_chunk(views, &drawn, claimed, time, cols, row, min(row + CHUNK, size), &sums)
            rise += sum_of(sums.rises)
            square += sum_of(sums.squares)
            row += CHUNK
    return rise, square


cdef void slope_run(double* terms, const double* claim, const double* x,
                    Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double size
    for i in range(n):
        size = fabs(x[i])
        size = size if size > 1.0 else 1.0
        terms[i] = claim[i] * (size if size < INFINITY else 1.0)


def slope_square(cnp.ndarray claimed, cnp.ndarray x):
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t size = cnp.PyArray_SIZE(x)
    cdef const double* claim = <const double*> cnp.PyArray_DATA(claimed)
    cdef const double* at = <const double*> cnp.PyArray_DATA(x)
    cdef Sums sums
    begin(&sums)
    with nogil:
        while done < size:
            sums.count = <int> min(size - done, TERMS)
            slope_run(sums.terms, claim + done, at + done, sums.count)
            done += sums.count
            take_in(&sums)
    return sum_of(sums.squares)


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
