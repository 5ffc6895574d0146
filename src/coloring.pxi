# Sparse matrices: groups of entries that move as one, colors that tell which ones may, and what
# differences along them say of the matrix. Included by _kernel.pyx.

# ---------------------------------------------------------------- moves of a group

cdef inline double point_of(Cell* cell, const View* view, const Plan* plan, intptr_t entry,
                            intptr_t position, const char* before) noexcept nogil:
    """Where an entry goes whose value was `before`; the cell is told its place and that value."""
    cdef double point
    cell.address = locate(view, entry)
    cell.itemsize = view.itemsize
    if cell.itemsize == 4:
        cell.x = (<const float*> before)[position]
    else:
        cell.x = (<const double*> before)[position]
    place(&point, cell, plan.offsets, 1, step_at(plan, position, cell.x))
    return point


cdef void plan_group(Plan* plan, object steps, double offset):
    plan_steps(plan, steps)
    plan.rows = NULL
    plan.offsets[0] = offset


def move_group(cnp.ndarray target, cnp.ndarray entries, cnp.ndarray before, object steps,
               double offset, cnp.ndarray moved):
    cdef View view
    cdef Plan plan
    cdef Cell cell
    cdef intptr_t k
    cdef intptr_t count = cnp.PyArray_DIM(entries, 0)
    cdef const intptr_t* entry = <const intptr_t*> cnp.PyArray_DATA(entries)
    cdef char* out = cnp.PyArray_BYTES(moved)
    cdef intptr_t stride = cnp.PyArray_STRIDE(moved, 0)
    cdef const char* old = cnp.PyArray_BYTES(before)
    cdef double point
    describe(&view, target)
    plan_group(&plan, steps, offset)
    with nogil:
        for k in range(count):
            point = point_of(&cell, &view, &plan, entry[k], k, old)
            write(&cell, point)
            (<double*> (out + k * stride))[0] = point - cell.x


def holds_group(cnp.ndarray target, cnp.ndarray entries, cnp.ndarray before, object steps,
                double offset):
    cdef View view
    cdef Plan plan
    cdef Cell cell
    cdef intptr_t k
    cdef intptr_t count = cnp.PyArray_DIM(entries, 0)
    cdef const intptr_t* entry = <const intptr_t*> cnp.PyArray_DATA(entries)
    cdef const char* old = cnp.PyArray_BYTES(before)
    cdef double point
    cdef float narrow
    cdef bint held = True
    describe(&view, target)
    plan_group(&plan, steps, offset)
    with nogil:
        for k in range(count):
            point = point_of(&cell, &view, &plan, entry[k], k, old)
            if cell.itemsize == 4:
                narrow = <float> point
                held = memcmp(cell.address, &narrow, 4) == 0
            else:
                held = memcmp(cell.address, &point, 8) == 0
            if not held:
                break
    return held


# ---------------------------------------------------------------- colors
#
# First-fit coloring with one word of bits for each row: bit `c` is set where a column of color `c`
# has an entry. A column takes the lowest bit that is free in all of its rows, so that no pair of
# columns is ever looked at, and a full row costs no more than its entries. One round gives 64
# colors; columns for which none was left wait for the next round.

ctypedef fused index_t:
    int32_t
    int64_t

cdef enum:
    COLORS_PER_ROUND = 64


cdef inline intptr_t number_of(uint64_t bit) noexcept nogil:
    """Which bit is set: colors are few, and low ones the most frequent."""
    cdef intptr_t number = 0
    while bit > 1:
        bit >>= 1
        number += 1
    return number


cdef intptr_t round_of_columns(const index_t* starts, const index_t* rows, const intptr_t* order,
                               intptr_t n, uint64_t* taken, intptr_t first,
                               intptr_t* colors) noexcept nogil:
    """Give out the 64 colors from `first` on; return how many columns are left without one."""
    cdef intptr_t k, j, left = 0
    cdef index_t e
    cdef uint64_t used, free
    for k in range(n):
        j = k if order == NULL else order[k]
        if colors[j] >= 0:
            continue
        used = 0
        for e in range(starts[j], starts[j + 1]):
            used |= taken[rows[e]]
        free = ~used & (used + 1)
        if free == 0:
            left += 1
            continue
        for e in range(starts[j], starts[j + 1]):
            taken[rows[e]] |= free
        colors[j] = first + number_of(free)
    return left


cdef intptr_t round_of_vertices(const index_t* starts, const index_t* rows, const intptr_t* order,
                                intptr_t n, uint64_t* near, intptr_t first,
                                intptr_t* colors) noexcept nogil:
    """The same for a star coloring; `near` holds the colors of the neighbors of each vertex."""
    cdef intptr_t k, v, w, left = 0
    cdef index_t e
    cdef uint64_t used, free, bit
    for k in range(n):
        v = k if order == NULL else order[k]
        if colors[v] >= 0:
            continue
        used = 0
        for e in range(starts[v], starts[v + 1]):
            w = rows[e]
            if w == v:
                continue
            if colors[w] < 0:
                used |= near[w]
            elif colors[w] >= first:
                bit = (<uint64_t> 1) << (colors[w] - first)
                used |= bit | (near[w] & (bit - 1))
        free = ~used & (used + 1)
        if free == 0:
            left += 1
            continue
        for e in range(starts[v], starts[v + 1]):
            if rows[e] != v:
                near[rows[e]] |= free
        colors[v] = first + number_of(free)
    return left


cdef intptr_t one_round(bint star, cnp.ndarray starts, cnp.ndarray rows, const intptr_t* order,
                        cnp.ndarray words, intptr_t first, cnp.ndarray colors) noexcept:
    cdef intptr_t n = cnp.PyArray_DIM(colors, 0)
    cdef void* s = cnp.PyArray_DATA(starts)
    cdef void* r = cnp.PyArray_DATA(rows)
    cdef uint64_t* w = <uint64_t*> cnp.PyArray_DATA(words)
    cdef intptr_t* c = <intptr_t*> cnp.PyArray_DATA(colors)
    cdef bint narrow = cnp.PyArray_ITEMSIZE(starts) == 4
    cdef intptr_t left
    with nogil:
        if narrow and star:
            left = round_of_vertices(<int32_t*> s, <int32_t*> r, order, n, w, first, c)
        elif narrow:
            left = round_of_columns(<int32_t*> s, <int32_t*> r, order, n, w, first, c)
        elif star:
            left = round_of_vertices(<int64_t*> s, <int64_t*> r, order, n, w, first, c)
        else:
            left = round_of_columns(<int64_t*> s, <int64_t*> r, order, n, w, first, c)
    return left


cdef intptr_t most_bits(cnp.ndarray words) noexcept:
    """How many bits are set in the word that has most."""
    cdef const uint64_t* word = <const uint64_t*> cnp.PyArray_DATA(words)
    cdef intptr_t i, count, most = 0
    cdef uint64_t bits
    for i in range(cnp.PyArray_DIM(words, 0)):
        bits, count = word[i], 0
        while bits:
            bits &= bits - 1
            count += 1
        most = max(most, count)
    return most


def color(bint star, cnp.ndarray starts, cnp.ndarray rows, cnp.ndarray order, cnp.ndarray words,
          intptr_t most, cnp.ndarray colors):
    cdef const intptr_t* ordered = NULL
    cdef intptr_t first = 0
    if order is not None:
        ordered = <const intptr_t*> cnp.PyArray_DATA(order)
    colors.fill(-1)
    while first < most:
        words.fill(0)
        if one_round(star, starts, rows, ordered, words, first, colors) == 0:
            return most_bits(words)
        PyErr_CheckSignals()
        first += COLORS_PER_ROUND
    return -1


# ---------------------------------------------------------------- entries from differences

cdef void spread_columns(const index_t* starts, const index_t* rows, const intptr_t* columns,
                         intptr_t count, const double* widths, const double* change,
                         double weight, double* data) noexcept nogil:
    cdef intptr_t k
    cdef index_t e
    for k in range(count):
        for e in range(starts[columns[k]], starts[columns[k] + 1]):
            data[e] += weight * (change[rows[e]] / widths[k])


@cython.cdivision(True)
def spread(cnp.ndarray starts, cnp.ndarray rows, cnp.ndarray columns, cnp.ndarray widths,
           cnp.ndarray change, double weight, cnp.ndarray data):
    cdef intptr_t count = cnp.PyArray_DIM(columns, 0)
    cdef void* s = cnp.PyArray_DATA(starts)
    cdef void* r = cnp.PyArray_DATA(rows)
    cdef intptr_t* c = <intptr_t*> cnp.PyArray_DATA(columns)
    cdef double* w = <double*> cnp.PyArray_DATA(widths)
    cdef double* d = <double*> cnp.PyArray_DATA(change)
    cdef double* out = <double*> cnp.PyArray_DATA(data)
    cdef bint narrow = cnp.PyArray_ITEMSIZE(starts) == 4
    with nogil:
        if narrow:
            spread_columns(<int32_t*> s, <int32_t*> r, c, count, w, d, weight, out)
        else:
            spread_columns(<int64_t*> s, <int64_t*> r, c, count, w, d, weight, out)
