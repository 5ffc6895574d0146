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
    look(&views[0], target)
    look(&views[1], before)
    look(&views[2], move)
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


cdef void shift_double(double* target, const double* before, const int16_t* direction,
                       const double* claim, double time, double* rise,
                       Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x
        rise[i] = (target[i] - x) * claim[i]


cdef void shift_single(float* target, const float* before, const int16_t* direction,
                       const double* claim, double time, double* rise,
                       Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = <float> (direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x)
        rise[i] = (target[i] - x) * claim[i]


def shift(cnp.ndarray target, cnp.ndarray before, cnp.ndarray direction, cnp.ndarray claim,
          double time, cnp.ndarray rise):
    cdef View views[4]
    cdef Py_ssize_t row = 0
    cdef Py_ssize_t size = target.size
    cdef double* sums = <double*> cnp.PyArray_DATA(rise)
    cdef char* at[4]
    cdef int k
    look(&views[0], target)
    look(&views[1], before)
    look(&views[2], direction)
    look(&views[3], claim)
    cdef Py_ssize_t cols = side_by_side(views, 4, size)
    while row < size:
        for k in range(4):
            at[k] = locate(&views[k], row)
        if views[0].itemsize == 4:
            shift_single(<float*> at[0], <const float*> at[1], <const int16_t*> at[2],
                         <const double*> at[3], time, sums + row, cols)
        else:
            shift_double(<double*> at[0], <const double*> at[1], <const int16_t*> at[2],
                         <const double*> at[3], time, sums + row, cols)
        row += cols


# ---------------------------------------------------------------- quotients of many entries

cdef inline double larger(double a, double b) noexcept nogil:
    """The larger one; NaN counts for nothing."""
    return a if a >= b or b != b else b


@cython.cdivision(True)
def quotients(cnp.ndarray raw, double base, double noise, double unit):
    cdef Py_ssize_t i
    cdef Py_ssize_t n = cnp.PyArray_DIM(raw, 0)
    cdef cnp.npy_intp shape[2]
    cdef const double* row = <const double*> cnp.PyArray_DATA(raw)
    shape[0], shape[1] = 5, n
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    cdef double ahead, above, behind, below
    with nogil:
        for i in range(n):
            ahead, above, behind, below = row[0], row[1], row[2], row[3]
            row += 4
            out[i] = ahead - behind
            out[n + i] = (above - below) / out[i]
            out[2 * n + i] = (above - base) / ahead
            out[3 * n + i] = (below - base) / behind
            out[4 * n + i] = larger(noise, unit * larger(fabs(above), fabs(below))) / out[i]
    return found


# ---------------------------------------------------------------- batches: many points at once

cdef struct Rows:
    View own               # the parameters as they are: the last row
    char* data
    Py_ssize_t width       # bytes from row to row
    const cnp.npy_intp* entries


cdef void look_at_rows(Rows* rows, cnp.ndarray array, cnp.ndarray entries) noexcept:
    rows.data = cnp.PyArray_BYTES(array)
    rows.own.itemsize = <int> cnp.PyArray_ITEMSIZE(array)
    rows.own.contiguous = True
    rows.width = cnp.PyArray_DIM(array, 1) * rows.own.itemsize
    rows.own.data = rows.data + (cnp.PyArray_DIM(array, 0) - 1) * rows.width
    rows.entries = NULL if entries is None else <cnp.npy_intp*> cnp.PyArray_DATA(entries)


cdef inline void seize_own(Cell* cell, const Rows* rows, Py_ssize_t position) noexcept nogil:
    seize(cell, &rows.own, position if rows.entries == NULL else rows.entries[position])


cdef Py_ssize_t fill(const Rows* rows, const double* offsets, int count, double absolute,
                     double relative, const double* steps, Py_ssize_t start, Py_ssize_t stop,
                     double* points) noexcept nogil:
    """Move one entry in each row; return the first position whose step vanished, or -1."""
    cdef Cell cell
    cdef Py_ssize_t position, offset
    cdef Py_ssize_t vanished = -1
    cdef char* row = rows.data
    cdef double h
    cdef int k
    for position in range(start, stop):
        seize_own(&cell, rows, position)
        offset = cell.address - rows.own.data
        h = step_of(cell.x, absolute, relative) if steps == NULL else steps[position]
        place(points, &cell, offsets, count, h)
        if vanished < 0 and not distinct(points, count // 2):
            vanished = position
        for k in range(count):
            if offsets[k] != 0.0:
                cell.address = row + offset
                poke(&cell, points[k])
                row += rows.width
        points += count
    return vanished


cdef void reap(const Rows* rows, const double* table, const double* offsets, int count,
               const double* points, const double* values, double base, Py_ssize_t start,
               Py_ssize_t stop, const View* target, double* sample) noexcept nogil:
    """Combine the values of each position, or hand displacements and values over."""
    cdef Cell cell
    cdef double mine[2 * MAX_QUOTIENTS]
    cdef Py_ssize_t position
    cdef int k
    for position in range(start, stop):
        seize_own(&cell, rows, position)
        for k in range(count):
            mine[k] = base
            if offsets[k] != 0.0:
                mine[k] = values[0]
                values += 1
        if sample == NULL:
            store(target, (cell.address - rows.own.data) // cell.itemsize,
                  combine(table, count // 2, points, mine))
        else:
            for k in range(count):
                sample[2 * k] = points[k] - cell.x
                sample[2 * k + 1] = mine[k]
            sample += 2 * count
        points += count


def spread(cnp.ndarray rows, object stencil, double absolute, double relative, cnp.ndarray steps,
           Py_ssize_t start, Py_ssize_t stop, cnp.ndarray entries, cnp.ndarray points):
    cdef Rows mine
    cdef cnp.ndarray table = stencil.table
    cdef const double* each = NULL
    cdef double offsets[2 * MAX_QUOTIENTS]
    cdef int count = 2 * <int> cnp.PyArray_DIM(table, 0)
    cdef Py_ssize_t vanished
    offsets_of(offsets, table)
    look_at_rows(&mine, rows, entries)
    if steps is not None:
        each = <const double*> cnp.PyArray_DATA(steps)
    with nogil:
        vanished = fill(&mine, offsets, count, absolute, relative, each, start, stop,
                        <double*> cnp.PyArray_DATA(points))
    return vanished


def gather(cnp.ndarray rows, object stencil, cnp.ndarray points, cnp.ndarray values, double base,
           Py_ssize_t start, Py_ssize_t stop, cnp.ndarray entries, cnp.ndarray out,
           cnp.ndarray raw):
    cdef Rows mine
    cdef View target
    cdef cnp.ndarray table = stencil.table
    cdef double offsets[2 * MAX_QUOTIENTS]
    cdef double* sample = NULL
    cdef int count = 2 * <int> cnp.PyArray_DIM(table, 0)
    offsets_of(offsets, table)
    look_at_rows(&mine, rows, entries)
    if raw is None:
        look(&target, out)
    else:
        sample = <double*> cnp.PyArray_DATA(raw) + 2 * count * start
    with nogil:
        reap(&mine, <const double*> cnp.PyArray_DATA(table), offsets, count,
             <const double*> cnp.PyArray_DATA(points), <const double*> cnp.PyArray_DATA(values),
             base, start, stop, &target, sample)
