# Moves of many entries along a direction: included by _kernel.pyx.

# The loops over entries are compiled for wider vectors as well, of which the processor that runs
# takes its own: a move of a million entries takes two thirds of the time. No sum is made in another
# order and no product is fused (setup.py): all numbers have the same bits. GCC knows these levels
# from 12 on, and glibc is what chooses: while it loads, where what a sanitizer adds cannot run yet.
cdef extern from *:
    """
    #if defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && defined(__x86_64__) \\
        && defined(__GLIBC__) && defined(__OPTIMIZE__) \\
        && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    #define FASTGRAD_VECTORS \\
        __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
    #else
    #define FASTGRAD_VECTORS
    #endif
    """
    ctypedef void in_vectors "FASTGRAD_VECTORS void"

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


cdef in_vectors draw_run(int16_t* out, uint64_t key, uint64_t entry, Py_ssize_t n) noexcept nogil:
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


cdef in_vectors factors_run(int8_t* out, const int16_t* drawn, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef int32_t size, rest, factor
    for i in range(n):
        size = drawn[i] if drawn[i] > 0 else -drawn[i]
        rest = size - 3 * ((size * 43691) >> 17)  # modulo 3, of up to 2^15: no overflow
        factor = 1 << rest
        out[i] = <int8_t> (factor if drawn[i] > 0 else -factor)


def draw_factors(cnp.ndarray out, uint64_t key):
    cdef int16_t direction[TERMS]
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t size = cnp.PyArray_DIM(out, 0)
    cdef Py_ssize_t part
    cdef int8_t* at = <int8_t*> cnp.PyArray_DATA(out)
    with nogil:
        while done < size:
            part = min(size - done, TERMS)
            draw_run(direction, key, done, part)
            factors_run(at + done, direction, part)
            done += part


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

cdef in_vectors displace_double(double* target, const double* before, const double* move,
                                double time, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        target[i] = before[i] + time * move[i]


cdef in_vectors displace_single(float* target, const float* before, const double* move, double time,
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

cdef in_vectors shift_double(double* target, const double* before, const int16_t* direction,
                             double time, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x


cdef in_vectors shift_single(float* target, const float* before, const int16_t* direction,
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


cdef in_vectors take_in(Sums* sums) noexcept nogil:
    """Add the terms to their lanes; what is missing in the last row adds nothing."""
    cdef int row, lane
    cdef int count = sums.count
    # Of their own, which no pointer reaches, and one operation at a time: GCC makes vectors of
    # lanes then, and else of rows, which it has to shuffle. Copied twice: of what is copied once
    # it keeps some lanes by themselves, at twice the time.
    cdef double terms[LANES]
    cdef double rises[LANES]
    cdef double squares[LANES]
    cdef double first[LANES]
    cdef double second[LANES]
    while count % LANES:
        sums.terms[count] = 0.0
        count += 1
    memcpy(first, sums.rises, sizeof(first))
    memcpy(second, sums.squares, sizeof(second))
    memcpy(rises, first, sizeof(rises))
    memcpy(squares, second, sizeof(squares))
    for row in range(count // LANES):
        memcpy(terms, sums.terms + row * LANES, sizeof(terms))
        for lane in range(LANES):
            rises[lane] += terms[lane]
        for lane in range(LANES):
            terms[lane] *= terms[lane]
        for lane in range(LANES):
            squares[lane] += terms[lane]
    memcpy(first, rises, sizeof(first))
    memcpy(second, squares, sizeof(second))
    memcpy(sums.rises, first, sizeof(first))
    memcpy(sums.squares, second, sizeof(second))
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


cdef in_vectors claim_double(double* target, const double* before, const int16_t* direction,
                             double time, const double* claim, double* rise,
                             Py_ssize_t n) noexcept nogil:
    """The same, with what a claim says of the moves really made: one loop, for it reads once."""
    cdef Py_ssize_t i
    cdef double x
    for i in range(n):
        x = before[i]
        target[i] = direction[i] * (fabs(x) if fabs(x) > 1.0 else 1.0) * time + x
        rise[i] = (target[i] - x) * claim[i]


cdef in_vectors claim_single(float* target, const float* before, const int16_t* direction,
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


cdef in_vectors slope_run(double* terms, const double* claim, const double* x,
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
    cdef Py_ssize_t stop
    cdef const double* claim = <const double*> cnp.PyArray_DATA(claimed)
    cdef const double* at = <const double*> cnp.PyArray_DATA(x)
    cdef double square = 0.0
    cdef Sums sums
    with nogil:
        while done < size:
            begin(&sums)
            stop = min(done + CHUNK, size)
            while done < stop:
                sums.count = <int> min(stop - done, TERMS)
                slope_run(sums.terms, claim + done, at + done, sums.count)
                done += sums.count
                take_in(&sums)
            square += sum_of(sums.squares)
    return square
