# How noise and rounding are told from values of `f`: included by _kernel.pyx.

cdef struct NoiseRules:
    double weights[MAX_POINTS]
    Py_ssize_t orders      # as many as weights
    Py_ssize_t window
    double alike
    double single
    double double_
    int single_bits
    int exponent
    int short_bits
    double count
    Py_ssize_t digits
    Py_ssize_t different
    int binary_bits
    double shows
    double steps
    double coarse
    double move


cdef int read_rules(NoiseRules* rules, tuple given) except -1:
    cdef tuple weights
    cdef Py_ssize_t k
    (weights, rules.window, rules.alike, rules.single, rules.double_, rules.single_bits,
     rules.exponent, rules.short_bits, rules.count, rules.digits, rules.different,
     rules.binary_bits, rules.shows, rules.steps, rules.coarse, rules.move) = given
    rules.orders = len(weights)
    if rules.orders >= MAX_POINTS:
        raise ValueError(f"at most {MAX_POINTS - 1} orders of differences, not {rules.orders}")
    for k in range(rules.orders):
        rules.weights[k] = weights[k]
    return 0


cdef struct StepRules:
    double least
    double spacings
    double largest


@cython.cdivision(True)
cdef double step_for(double noise, double variation, double eps,
                     const StepRules* rules) noexcept nogil:
    cdef double ratio = 3.0 * noise / variation if variation > 0.0 else 0.0
    cdef double least = larger(rules.least, rules.spacings * eps)
    cdef double largest = larger(rules.largest, least)
    cdef double step = larger(pow(ratio, 1.0 / 3.0), least)
    return step if step < largest else largest


def relative_step(double noise, double variation, double eps, object rules):
    cdef StepRules mine
    mine.least, mine.spacings, mine.largest = <tuple> rules  # of a kind with names
    return step_for(noise, variation, eps, &mine)


cdef struct Numbers:
    double values[MAX_POINTS]
    Py_ssize_t count
    double largest         # the largest size, 0 of none


cdef int read_numbers(Numbers* found, list values) except -1:
    cdef Py_ssize_t k
    found.count, found.largest = len(values), 0.0
    if found.count > MAX_POINTS:
        raise ValueError(f"at most {MAX_POINTS} values tell noise, not {found.count}")
    for k in range(found.count):
        found.values[k] = values[k]
        # The first one counts where it is no number, as in `max`.
        if k == 0 or fabs(found.values[k]) > found.largest:
            found.largest = fabs(found.values[k])
    return 0


cdef bint whole(double value) noexcept nogil:
    return fabs(value) < INFINITY and floor(value) == value


cdef bint has_bits(int bits, double value, const NoiseRules* rules) noexcept nogil:
    """Whether a number fits into this many significant bits and the range of float32."""
    cdef int exponent = 0
    cdef double mantissa = frexp(value, &exponent)
    if not fabs(value) < INFINITY:
        return False
    return -rules.exponent < exponent < rules.exponent and whole(ldexp(mantissa, bits))


cdef Py_ssize_t different(const Numbers* numbers) noexcept nogil:
    """How many different values there are."""
    cdef Py_ssize_t i, k
    cdef Py_ssize_t found = 0
    for k in range(numbers.count):
        for i in range(k):
            if numbers.values[i] == numbers.values[k]:
                break
        else:
            found += 1
    return found


cdef bint has_surely_more(Py_ssize_t digits, double value) noexcept nogil:
    """Whether it is no number of so few decimal digits, where that is told at a glance."""
    cdef int exponent = 0
    frexp(value, &exponent)
    # Such a number becomes a whole one, but for two roundings: less than an eighth, if so small.
    cdef double scaled = fabs(value) * pow(10.0, digits - floor(exponent * LOG10_2))
    return scaled * DBL_EPSILON < 1.0 / 16.0 and fabs(scaled - floor(scaled + 0.5)) > 1.0 / 8.0


cdef Py_ssize_t digits_of(double value) except -1:
    """How many significant decimal digits say which number it is."""
    cdef char* text = PyOS_double_to_string(fabs(value), b"r", 0, 0, NULL)
    cdef Py_ssize_t k = 0
    cdef Py_ssize_t seen = 0   # from the first one that is no zero
    cdef Py_ssize_t found = 0  # ... to the last one
    if text == NULL:
        raise MemoryError
    while text[k] != 0 and text[k] != b"e":
        if text[k] != b"." and (seen or text[k] != b"0"):
            seen += 1
            if text[k] != b"0":
                found = seen
        k += 1
    PyMem_Free(text)
    return found


cdef double unit_of_decimals(const Numbers* numbers, const NoiseRules* rules) except -1.0:
    cdef Py_ssize_t k, digits
    cdef Py_ssize_t most = 0
    cdef bint binary = True
    for k in range(numbers.count):
        if has_surely_more(rules.digits, numbers.values[k]):
            return rules.double_
        digits = digits_of(numbers.values[k])
        most = digits if digits > most else most
        if most > rules.digits:
            return rules.double_
    if different(numbers) < rules.different:
        return rules.double_
    for k in range(numbers.count):
        binary = binary and has_bits(rules.binary_bits, numbers.values[k], rules)
    return rules.double_ if binary else 0.5 * pow(10.0, <double> (1 - most))


cdef double unit_of(const Numbers* numbers, const NoiseRules* rules) except -1.0:
    cdef Py_ssize_t k
    cdef double value
    cdef bint short_ = True
    for k in range(numbers.count):
        if not has_bits(rules.single_bits, numbers.values[k], rules):
            return unit_of_decimals(numbers, rules)
    for k in range(numbers.count):
        value = numbers.values[k]
        short_ = short_ and (has_bits(rules.short_bits, value, rules)
                             or (whole(value) and fabs(value) < rules.count))
    return rules.double_ if short_ or different(numbers) < 2 else rules.single


@cython.cdivision(True)
cdef double level_of(const Numbers* numbers, const NoiseRules* rules) noexcept nogil:
    """The noise in a table of the values over the largest: see the twin."""
    cdef double table[MAX_POINTS]
    cdef double levels[MAX_POINTS]
    cdef bint turns[MAX_POINTS]
    cdef Py_ssize_t i, k, first
    cdef double total, least, most, lowest, highest
    for i in range(numbers.count):
        table[i] = numbers.values[i] / numbers.largest
    for k in range(rules.orders):
        total, least, most = 0.0, INFINITY, -INFINITY
        for i in range(numbers.count - 1 - k):
            table[i] = table[i + 1] - table[i]
            total += table[i] * table[i]
            least = table[i] if table[i] < least else least
            most = table[i] if table[i] > most else most
        levels[k] = rules.weights[k] * sqrt(total)
        # The first of the window must be of differences of both signs: see the twin.
        turns[k] = least < 0.0 < most
        first = k + 1 - rules.window
        if first < 0 or not turns[first]:
            continue
        lowest = highest = levels[first]
        for i in range(first, k + 1):
            lowest = levels[i] if levels[i] < lowest else lowest
            highest = levels[i] if levels[i] > highest else highest
        if highest <= rules.alike * lowest:
            return levels[first]
    return levels[rules.orders - 1]


cdef int fits(const Numbers* numbers, const NoiseRules* rules) except -1:
    if numbers.count <= rules.orders or rules.orders < 1:
        raise ValueError(f"{numbers.count} values have no {rules.orders} orders of differences")
    return 0


@cython.cdivision(True)
cdef double unit_in_table(const Numbers* numbers, const NoiseRules* rules) except -1.0:
    cdef Py_ssize_t k
    cdef double step = 0.0
    cdef double unit = unit_of(numbers, rules)
    cdef double largest = numbers.largest
    if unit != rules.single or numbers.count <= rules.orders or not 0.0 < largest < INFINITY:
        return unit
    for k in range(1, numbers.count):
        step = larger(step, fabs(numbers.values[k] / largest - numbers.values[k - 1] / largest))
    if step < rules.steps * unit or level_of(numbers, rules) > unit / rules.shows:
        return unit
    return rules.double_


cdef double noise_in(const Numbers* numbers, double unit, const NoiseRules* rules) noexcept nogil:
    cdef double level
    if numbers.largest == 0.0:
        return 0.0
    level = level_of(numbers, rules)
    return (unit if unit > level else level) * numbers.largest


def noise_of(list values, double unit, object rules):
    cdef NoiseRules mine
    cdef Numbers numbers
    read_rules(&mine, <tuple> rules)  # of a kind with names
    read_numbers(&numbers, values)
    fits(&numbers, &mine)
    return noise_in(&numbers, unit, &mine)


def noise_table(list values, double least, object rules):
    cdef NoiseRules mine
    cdef Numbers numbers
    read_rules(&mine, <tuple> rules)  # of a kind with names
    read_numbers(&numbers, values)
    return table_of(&numbers, least, &mine)


cdef tuple table_of(const Numbers* numbers, double least, const NoiseRules* rules):
    cdef Py_ssize_t k
    cdef double unit, level, rounding
    cdef double moved = 0.0
    fits(numbers, rules)
    unit = unit_in_table(numbers, rules)
    level = noise_in(numbers, unit, rules)
    rounding = unit * numbers.largest
    level = least if least > level else level
    rounding = least if least > rounding else rounding
    for k in range(numbers.count):
        moved = larger(moved, fabs(numbers.values[k] - numbers.values[0]))
    return level, unit, level > rules.coarse * rounding and level > rules.move * moved


# ---------------------------------------------------------------- noise beside a point

@cython.cdivision(True)
def heights(cnp.ndarray values, tuple weights, double alike):
    cdef Py_ssize_t n = cnp.PyArray_DIM(values, 0)
    cdef Py_ssize_t points = cnp.PyArray_DIM(values, 1)
    cdef Py_ssize_t orders = len(weights)
    cdef Py_ssize_t first = points - 1 - orders
    cdef Py_ssize_t i, j, k, left
    cdef cnp.npy_intp[2] shape
    cdef double[MAX_POINTS] table
    cdef double[MAX_POINTS] times
    cdef double rest, least, most, height, lowest, highest
    cdef bint turns, finite, known
    if points > MAX_POINTS or first < 1 or orders < 1:
        raise ValueError(f"{points} values have no {orders} orders of differences and one more")
    for k in range(orders):
        times[k] = weights[k]
    if cnp.PyArray_TYPE(values) != cnp.NPY_FLOAT64:
        raise ValueError("values that tell noise are of float64")
    values = cnp.PyArray_GETCONTIGUOUS(values)
    cdef const double* given = <const double*> cnp.PyArray_DATA(values)
    shape[0], shape[1] = 2, n
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    with nogil:
        for i in range(n):
            memcpy(table, given + i * points, points * sizeof(double))
            turns, finite, known, lowest, highest = False, True, True, INFINITY, 0.0
            for j in range(points):
                finite &= fabs(table[j]) < INFINITY
            for k in range(1, first + orders):
                left = points - k
                for j in range(left):
                    table[j] = table[j + 1] - table[j]
                if k < first:
                    continue
                rest, least, most = table[1] * table[1], table[0], table[0]
                for j in range(1, left):
                    rest = rest + table[j] * table[j] if j > 1 else rest
                    # NaN counts for both, so that neither is below or above zero.
                    least = table[j] if table[j] < least or table[j] != table[j] else least
                    most = table[j] if table[j] > most or table[j] != table[j] else most
                height = times[k - first] * sqrt((table[0] * table[0] + rest) / <double> left)
                if k == first:
                    out[i] = height
                known &= height == height
                lowest, highest = smaller(lowest, height), larger(highest, height)
                turns |= least < 0.0 and most > 0.0
            if not (turns and known and highest <= alike * lowest):
                out[i] = 0.0
            if not finite:
                out[i] = NAN
            out[n + i] = highest if known else NAN
    return found
