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


# ---------------------------------------------------------------- patterns
#
# So little is done with an entry that processors wait for the next ones: rows are fetched ahead,
# which halves the time of a look at a pattern of 3e6 entries.

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define fastgrad_prefetch(address) __builtin_prefetch(address)
    #define fastgrad_number_of(bit) __builtin_ctzll(bit)
    #else
    #define fastgrad_prefetch(address) ((void) 0)
    static int fastgrad_number_of(unsigned long long bit) {
        int number = 0;
        while (bit >>= 1) number++;
        return number;
    }
    #endif
    """
    void prefetch "fastgrad_prefetch"(const void* address) noexcept nogil
    int number_of "fastgrad_number_of"(uint64_t bit) noexcept nogil

cdef enum:
    AHEAD = 1024  # entries, 4 or 8 kB: some microseconds, and little of what caches hold

ctypedef fused index_t:
    int32_t
    int64_t


cdef int order_in(const index_t* starts, const index_t* rows, intptr_t n, intptr_t count,
                  intptr_t m, index_t* ends) noexcept nogil:
    """See `order_of_rows`; `ends[i]` tells where column `i` has the next of its rows, unless NULL."""
    cdef intptr_t j
    cdef index_t e, i, before, at
    cdef bint ascends = True
    cdef bint symmetric = ends != NULL
    if starts[0] != 0 or starts[n] > count:
        return -1
    if symmetric:
        memcpy(ends, starts, n * sizeof(index_t))
    for j in range(n):
        prefetch(rows + starts[j] + AHEAD)
        if symmetric:  # most entries are near the diagonal
            prefetch(ends + j + AHEAD)
        before = -1
        if starts[j + 1] < starts[j] or starts[j + 1] > starts[n]:
            return -1
        for e in range(starts[j], starts[j + 1]):
            i = rows[e]
            if i < 0 or i >= m:
                return -1
            if i <= before:
                ascends = False
            before = i
            if symmetric:  # as far as can be seen
                at = ends[i]
                symmetric = 0 <= at < starts[i + 1] <= starts[n] and rows[at] == j
                ends[i] = at + 1
    return ascends + (ascends and symmetric)


def order_of_rows(cnp.ndarray starts, cnp.ndarray rows, intptr_t m, cnp.ndarray ends):
    cdef intptr_t n = cnp.PyArray_DIM(starts, 0) - 1
    cdef intptr_t count = cnp.PyArray_DIM(rows, 0)
    cdef void* s = cnp.PyArray_DATA(starts)
    cdef void* r = cnp.PyArray_DATA(rows)
    cdef void* e = NULL if ends is None else cnp.PyArray_DATA(ends)
    cdef bint narrow = cnp.PyArray_ITEMSIZE(starts) == 4
    cdef int found
    with nogil:
        if narrow:
            found = order_in(<int32_t*> s, <int32_t*> r, n, count, m, <int32_t*> e)
        else:
            found = order_in(<int64_t*> s, <int64_t*> r, n, count, m, <int64_t*> e)
    return found


# ---------------------------------------------------------------- colors
#
# First-fit coloring with one word of bits for each row: bit `c` is set where a column of color `c`
# has an entry. A column takes the lowest bit that is free in all of its rows, so that no pair of
# columns is ever looked at, and a full row costs no more than its entries. One round gives 64
# colors; columns for which none was left wait for the next round.

cdef enum:
    COLORS_PER_ROUND = 64


cdef intptr_t round_of_columns(const index_t* starts, const index_t* rows, const intptr_t* order,
                               intptr_t n, uint64_t* taken, intptr_t first, intptr_t* colors,
                               uint64_t* given) noexcept nogil:
    """Give out the 64 colors from `first` on; return how many columns are left without one.

    In the first round the colors are memory that nobody has written to.
    """
    cdef intptr_t k, j, left = 0
    cdef index_t e
    cdef uint64_t used, free, all = 0
    for k in range(n):
        j = k if order == NULL else order[k]
        if first > 0 and colors[j] >= 0:
            continue
        prefetch(rows + starts[j] + AHEAD)
        used = 0
        for e in range(starts[j], starts[j + 1]):
            used |= taken[rows[e]]
        free = ~used & (used + 1)
        if free == 0:
            colors[j] = -1
            left += 1
            continue
        for e in range(starts[j], starts[j + 1]):
            taken[rows[e]] |= free
        all |= free
        colors[j] = first + number_of(free)
    given[0] = all
    return left


cdef intptr_t round_of_vertices(const index_t* starts, const index_t* rows, const intptr_t* order,
                                intptr_t n, uint64_t* near, intptr_t first, intptr_t* colors,
                                uint64_t* given) noexcept nogil:
    """The same for a star coloring; `near` holds the colors of the neighbors of each vertex."""
    cdef intptr_t k, v, w, left = 0
    cdef index_t e
    cdef uint64_t used, free, bit
    if first == 0:
        for v in range(n):
            colors[v] = -1
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
        given[0] |= free
        colors[v] = first + number_of(free)
    return left


cdef intptr_t one_round(bint star, cnp.ndarray starts, cnp.ndarray rows, const intptr_t* order,
                        cnp.ndarray words, intptr_t first, cnp.ndarray colors,
                        uint64_t* given) noexcept:
    cdef intptr_t n = cnp.PyArray_DIM(colors, 0)
    cdef void* s = cnp.PyArray_DATA(starts)
    cdef void* r = cnp.PyArray_DATA(rows)
    cdef uint64_t* w = <uint64_t*> cnp.PyArray_DATA(words)
    cdef intptr_t* c = <intptr_t*> cnp.PyArray_DATA(colors)
    cdef bint narrow = cnp.PyArray_ITEMSIZE(starts) == 4
    cdef intptr_t left
    with nogil:
        if narrow and star:
            left = round_of_vertices(<int32_t*> s, <int32_t*> r, order, n, w, first, c, given)
        elif narrow:
            left = round_of_columns(<int32_t*> s, <int32_t*> r, order, n, w, first, c, given)
        elif star:
            left = round_of_vertices(<int64_t*> s, <int64_t*> r, order, n, w, first, c, given)
        else:
            left = round_of_columns(<int64_t*> s, <int64_t*> r, order, n, w, first, c, given)
    return left


cdef intptr_t ones_in(uint64_t word) noexcept nogil:
    cdef intptr_t count = 0
    while word:
        word &= word - 1
        count += 1
    return count


cdef intptr_t most_bits(cnp.ndarray words, uint64_t given) noexcept:
    """How many bits are set in the word that has most; only those of `given` are."""
    cdef const uint64_t* word = <const uint64_t*> cnp.PyArray_DATA(words)
    cdef intptr_t i, most = 0
    for i in range(cnp.PyArray_DIM(words, 0)):
        if word[i] == given:
            return ones_in(given)
        most = max(most, ones_in(word[i]))
    return most


def color(bint star, cnp.ndarray starts, cnp.ndarray rows, cnp.ndarray order, cnp.ndarray words,
          intptr_t most, cnp.ndarray colors):
    cdef const intptr_t* ordered = NULL
    cdef intptr_t first = 0
    cdef uint64_t given
    if order is not None:
        ordered = <const intptr_t*> cnp.PyArray_DATA(order)
    while first < most:
        words.fill(0)
        given = 0
        if one_round(star, starts, rows, ordered, words, first, colors, &given) == 0:
            return first + ones_in(given), most_bits(words, given)
        PyErr_CheckSignals()
        first += COLORS_PER_ROUND
    return -1, 0


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
