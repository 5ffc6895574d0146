# Difference quotients at many steps, combined and judged: included by _kernel.pyx.

cdef inline double smaller(double a, double b) noexcept nogil:
    """The smaller one; NaN counts for nothing."""
    return a if a <= b or b != b else b


# ---------------------------------------------------------------- whether two rows are enough

def settled(cnp.ndarray old, cnp.ndarray new, cnp.ndarray analytic, cnp.ndarray grown,
            object rules):
    cdef double close_, safety, level_, clear_, shrinks, bounds_, share, over, straight_, within
    cdef double drown
    (close_, safety, level_, clear_, shrinks, bounds_, share, over, straight_, within,
     drown) = <tuple> rules  # of a kind with names
    cdef cnp.npy_intp n = cnp.PyArray_DIM(analytic, 0)
    old, new = rows_of(old, n, 1), rows_of(new, n, 1)
    cdef const double* p = <const double*> cnp.PyArray_DATA(old)
    cdef const double* q = <const double*> cnp.PyArray_DATA(new)
    cdef const double* a = <const double*> cnp.PyArray_DATA(analytic)
    cdef const double* g = <const double*> cnp.PyArray_DATA(grown)
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &n, cnp.NPY_BOOL, False)
    cdef char* out = <char*> cnp.PyArray_DATA(found)
    cdef Py_ssize_t i
    cdef double now, before, noise, gap, gap_before, change, error, size
    cdef bint close, level, clear, agrees, is_open, straight
    with nogil:
        for i in range(n):
            now, before, noise = q[n + i], p[n + i], q[4 * n + i] * g[i]
            gap, gap_before = fabs(q[2 * n + i] - q[3 * n + i]), fabs(p[2 * n + i] - p[3 * n + i])
            change, error = fabs(now - before), fabs(a[i] - now)
            size = larger(fabs(now), fabs(a[i]))
            close = change <= close_ * fabs(now)
            level = change <= safety * noise + level_ * fabs(now)
            clear = close and change <= clear_ * error
            agrees = close and error <= change / shrinks + noise
            is_open = gap > bounds_ * noise and gap > share * gap_before
            straight = gap <= larger(straight_ * size, within * noise)
            out[i] = (((level or clear or agrees) and straight
                       and not (is_open and gap >= over * error))
                      or noise > drown * larger(larger(size, fabs(before)), gap))
    return found


def hidden_by_noise(cnp.ndarray row, cnp.ndarray analytic, cnp.ndarray grown, cnp.ndarray length,
                    object rules):
    cdef double share, ratio, farthest
    share, ratio, farthest = <tuple> rules  # of a kind with names
    cdef cnp.npy_intp n = cnp.PyArray_DIM(analytic, 0)
    row, analytic = rows_of(row, n, 1), doubles_of(analytic, n)
    grown, length = doubles_of(grown, n), doubles_of(length, n)
    cdef const double* first = <const double*> cnp.PyArray_DATA(row)
    cdef const double* a = <const double*> cnp.PyArray_DATA(analytic)
    cdef const double* g = <const double*> cnp.PyArray_DATA(grown)
    cdef const double* reach = <const double*> cnp.PyArray_DATA(length)
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &n, cnp.NPY_BOOL, False)
    cdef cnp.ndarray steps = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT64, False)
    cdef char* noisy = <char*> cnp.PyArray_DATA(found)
    cdef double* next_steps = <double*> cnp.PyArray_DATA(steps)
    cdef Py_ssize_t i
    cdef double central, size
    with nogil:
        for i in range(n):
            central = first[n + i]
            # Of an entry that is nearly right the error must be seen, and not only the value.
            size = smaller(larger(fabs(a[i]), fabs(central)), fabs(a[i] - central))
            next_steps[i] = first[i] * ratio
            noisy[i] = (g[i] * first[4 * n + i] > share * size
                        and next_steps[i] <= farthest * reach[i])
    return found, steps


cdef cnp.ndarray doubles_of(cnp.ndarray given, Py_ssize_t size):
    """Numbers that lie next to each other in the memory."""
    cdef cnp.ndarray found = cnp.PyArray_GETCONTIGUOUS(given)
    if cnp.PyArray_TYPE(found) != cnp.NPY_FLOAT64 or cnp.PyArray_SIZE(found) != size:
        raise ValueError(f"{size} numbers of float64 are read here, and not these")
    return found


cdef cnp.ndarray rows_of(cnp.ndarray given, Py_ssize_t n, Py_ssize_t steps):
    """Five columns for each of some steps."""
    return doubles_of(given, 5 * steps * n)


# ---------------------------------------------------------------- one estimate from many steps

cdef struct EstimateRules:
    double orders[2]       # divisors in extrapolation: of central quotients, of one-sided ones
    double ratio
    double noise[4]        # of central and one-sided quotients, and of these extrapolated
    double shrink[2]
    double slowest
    double margin
    double settled
    double near
    double shrinks
    double drifts
    double most
    double implied
    double parabola
    double open_bounds
    double kinked
    double open_share
    double still_open


cdef void read_estimate_rules(EstimateRules* rules, tuple given):
    (rules.orders[0], rules.orders[1], rules.ratio, rules.noise[1], rules.noise[2], rules.noise[3],
     rules.shrink[0], rules.shrink[1], rules.slowest, rules.margin, rules.settled, rules.near,
     rules.shrinks, rules.drifts, rules.most, rules.implied, rules.parabola, rules.open_bounds,
     rules.kinked, rules.open_share, rules.still_open) = given
    rules.noise[0] = 1.0


cdef struct Column:
    # One entry: arrays of one number for each step.
    Py_ssize_t rows
    double* steps
    double* plain[3]       # central, forward and backward quotients
    double* noise
    double* size           # of the largest quotient of any kind
    double* off            # from a parabola, of each pair of steps
    double* finer          # extrapolated quotients of one kind
    double* change
    double* bound
    double* good           # whether a pair counts, 1 or 0


cdef struct Best:
    double value
    double bound
    double step
    bint converged


cdef enum:
    COLUMNS = 11           # arrays in a `Column`


cdef void share_out(Column* column, double* memory, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t k
    column.rows, column.steps = rows, memory
    for k in range(3):
        column.plain[k] = memory + (1 + k) * rows
    column.noise, column.size, column.off = memory + 4 * rows, memory + 5 * rows, memory + 6 * rows
    column.finer, column.change = memory + 7 * rows, memory + 8 * rows
    column.bound, column.good = memory + 9 * rows, memory + 10 * rows


@cython.cdivision(True)
cdef void read_column(Column* column, const double* table, Py_ssize_t n,
                      const EstimateRules* rules) noexcept nogil:
    """The entry whose numbers are `n` apart, with what is derived from them."""
    cdef Py_ssize_t i, k
    cdef double gap, before, excess
    for i in range(column.rows):
        column.steps[i] = table[i * n]
        for k in range(3):
            column.plain[k][i] = table[((1 + k) * column.rows + i) * n]
        column.noise[i] = table[(4 * column.rows + i) * n]
        column.size[i] = larger(larger(fabs(column.plain[0][i]), fabs(column.plain[1][i])),
                                fabs(column.plain[2][i]))
        gap = column.plain[1][i] - column.plain[2][i]
        if i > 0:
            excess = fabs(gap - before / rules.ratio) - rules.parabola * column.noise[i]
            # Infinity as the largest number, as in NumPy's nan_to_num; NaN counts for nothing.
            excess = DBL_MAX if excess == INFINITY else excess
            column.off[i - 1] = larger(excess, 0.0)
        before = gap


cdef void find_changes(const Column* column, const double* quotients) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(column.rows - 1):
        column.change[i] = fabs(quotients[i + 1] - quotients[i])


@cython.cdivision(True)
cdef double noise_factor(const Column* column, double times, const EstimateRules* rules) noexcept nogil:
    """How much larger the noise is, going by the changes of one kind: NaN if nothing tells."""
    cdef Py_ssize_t i
    cdef double now, after, below, implied
    cdef double factor = NAN
    for i in range(column.rows - 2):
        now, after = column.change[i], column.change[i + 1]
        if not fabs(after + now) < INFINITY:
            continue
        below, implied = times * column.noise[i + 2], 1.0
        if (now <= times * column.noise[i + 1] + rules.near * column.size[i + 1]
                and after > now and below > 0.0):
            implied = rules.implied * smaller(rules.ratio * now, after) / below
        factor = larger(factor, implied)
    if factor != factor:
        return factor
    return 1.0 if factor < 1.0 else (rules.most if factor > rules.most else factor)


@cython.cdivision(True)
cdef void weigh(const Column* column, double factor, double times, double shrink, bint curved,
                const EstimateRules* rules) noexcept nogil:
    """Fill in which pairs of steps count, and their bounds."""
    cdef Py_ssize_t i
    cdef double now, rounding, small, hidden, ratio, left
    cdef double before = NAN
    cdef double last = NAN
    cdef bint drifts = False
    cdef bint was_shown = False
    cdef bint was_less = False
    cdef bint shown, less, good
    for i in range(column.rows - 1):
        now, rounding = column.change[i], factor * (times * column.noise[i + 1])
        small = rules.settled * column.size[i + 1]
        hidden = larger(rounding, small)
        if now > hidden:
            drifts, last = now > rules.drifts * last, now
        else:
            drifts = drifts and not hidden < rules.drifts * last
        less = i > 0 and now <= before / rules.shrinks
        good = (now <= rounding + small and not drifts) or (less and was_less)
        shown = now > rounding
        ratio = now / before if shown and was_shown else 0.0
        ratio = smaller(rules.margin * ratio, rules.slowest)
        left = larger(1.0 / shrink, ratio / (1.0 - ratio))
        column.bound[i] = (left * now + rounding) + (column.off[i] if curved else 0.0)
        column.good[i] = good and fabs(column.bound[i]) < INFINITY
        before, was_shown, was_less = now, shown, less
    spoil(column, factor, times, rules)


@cython.cdivision(True)
cdef void spoil(const Column* column, double factor, double times,
                const EstimateRules* rules) noexcept nogil:
    """Pairs do not count below which one changes more than truncation and noise explain."""
    cdef Py_ssize_t i
    cdef bint below = False
    for i in range(column.rows - 2, 0, -1):
        if below:
            column.good[i] = 0.0
        below |= column.change[i] > larger(column.change[i - 1] / rules.shrinks,
                                           factor * (times * column.noise[i + 1]))
    if below:
        column.good[0] = 0.0


cdef Best pick(const Column* column, const double* quotients) noexcept nogil:
    """The pair that counts with the smallest bound; where none does, the first that is known."""
    cdef Py_ssize_t i
    cdef Py_ssize_t chosen = -1
    cdef Py_ssize_t known = -1
    cdef Best best
    for i in range(column.rows - 1):
        if known < 0 and fabs(column.bound[i]) < INFINITY:
            known = i
        if column.good[i] and (chosen < 0 or column.bound[i] < column.bound[chosen]):
            chosen = i
    best.converged = chosen >= 0
    if chosen >= 0:
        best.bound = column.bound[chosen]
    else:
        best.bound = INFINITY if known >= 0 else NAN
        chosen = known
    best.value = quotients[chosen + 1] if chosen >= 0 else NAN
    best.step = column.steps[(chosen if chosen >= 0 else 0) + 1]
    return best


@cython.cdivision(True)
cdef Best best_of(const Column* column, int kind, double factor,
                  const EstimateRules* rules) noexcept nogil:
    """The better one of the quotients of one kind, and of these extrapolated."""
    cdef Py_ssize_t i
    cdef int side = kind > 0
    cdef const double* plain = column.plain[kind]
    cdef Best best, finer
    find_changes(column, plain)
    weigh(column, factor, rules.noise[side], rules.shrink[side], kind == 0, rules)
    best = pick(column, plain)
    column.finer[0] = NAN
    for i in range(1, column.rows):
        column.finer[i] = plain[i] + (plain[i] - plain[i - 1]) / rules.orders[side]
    find_changes(column, column.finer)
    weigh(column, factor, rules.noise[2 + side], rules.shrink[0], kind == 0, rules)
    finer = pick(column, column.finer)
    return finer if finer.bound < best.bound else best


cdef bint open_to_the_end(const Column* column, const EstimateRules* rules) noexcept nogil:
    """Whether forward and backward keep their distance down to the smallest telling step."""
    cdef const double* ahead = column.plain[1]
    cdef const double* behind = column.plain[2]
    cdef Py_ssize_t i
    cdef Py_ssize_t last = -1
    cdef double gap
    cdef double kept = 0.0
    cdef double above = 0.0
    cdef double size = NAN
    for i in range(column.rows):
        size = larger(size, larger(fabs(ahead[i]), fabs(behind[i])))
    for i in range(column.rows):
        gap = fabs(ahead[i] - behind[i])
        if gap < INFINITY and gap > larger(rules.open_bounds * column.noise[i],
                                           rules.kinked * size):
            last, kept = i, gap
    if last < 1:
        return False
    above = fabs(ahead[last - 1] - behind[last - 1])
    if not kept > rules.open_share * above:
        return False
    for i in range(last + 1, column.rows):
        gap = fabs(ahead[i] - behind[i])
        if gap == gap and not gap + rules.noise[1] * column.noise[i] > rules.still_open * kept:
            return False
    return True


cdef void estimate_of(const Column* column, const EstimateRules* rules, double* out,
                      char* flags, Py_ssize_t n) noexcept nogil:
    """Combine the steps of one entry; results are `n` apart."""
    cdef int k
    cdef double factor = NAN
    cdef Best kinds[3]
    cdef Best smooth
    cdef bint is_open, kink
    cdef double low, high
    for k in range(3):
        find_changes(column, column.plain[k])
        factor = smaller(factor, noise_factor(column, rules.noise[k > 0], rules))
    factor = 1.0 if factor != factor else factor
    for k in range(3):
        kinds[k] = best_of(column, k, factor, rules)
    smooth = kinds[0]
    if smooth.bound != smooth.bound:
        # At the edge of the domain only one side has values.
        k = 1 if fabs(kinds[1].bound) < INFINITY or kinds[2].bound != kinds[2].bound else 2
        smooth = kinds[k]
    is_open = open_to_the_end(column, rules)
    kink = is_open and kinds[1].converged and kinds[2].converged
    low, high = smaller(kinds[1].value, kinds[2].value), larger(kinds[1].value, kinds[2].value)
    out[0] = (low + high) / 2 if kink else smooth.value
    out[n] = larger(kinds[1].bound, kinds[2].bound) if kink else smooth.bound
    out[2 * n] = low if kink else smooth.value
    out[3 * n] = high if kink else smooth.value
    out[4 * n] = smooth.step
    flags[0] = kink
    flags[n] = kink or (smooth.converged and not is_open)


def estimates(cnp.ndarray table, object rules):
    cdef EstimateRules mine
    cdef Column column
    cdef Py_ssize_t i
    cdef Py_ssize_t rows = cnp.PyArray_DIM(table, 1)
    cdef Py_ssize_t n = cnp.PyArray_DIM(table, 2)
    cdef cnp.npy_intp[2] shape
    if rows < 2:
        raise ValueError(f"an estimate takes two steps or more, not {rows}")
    read_estimate_rules(&mine, <tuple> rules)  # of a kind with names
    table = rows_of(table, n, rows)
    shape[0], shape[1] = 5, n
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    shape[0] = 2
    cdef cnp.ndarray flags = cnp.PyArray_EMPTY(2, shape, cnp.NPY_BOOL, False)
    shape[0], shape[1] = COLUMNS, rows
    cdef cnp.ndarray memory = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    cdef const double* given = <const double*> cnp.PyArray_DATA(table)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    cdef char* told = <char*> cnp.PyArray_DATA(flags)
    share_out(&column, <double*> cnp.PyArray_DATA(memory), rows)
    with nogil:
        for i in range(n):
            read_column(&column, given + i, n, &mine)
            estimate_of(&column, &mine, out + i, told + i, n)
    return found, flags


# ---------------------------------------------------------------- verdicts by estimates

cdef struct VerdictRules:
    double safety
    double rounding
    double own
    double condition
    double relative
    double rtol
    double atol
    double scale
    double finite
    double widest
    double curved
    double one_sided_noise
    int8_t right
    int8_t wrong
    int8_t unclear
    int8_t edge
    int8_t no_limit


cdef void read_verdict_rules(VerdictRules* rules, tuple given):
    (rules.safety, rules.rounding, rules.own, rules.condition, rules.relative, rules.rtol,
     rules.atol, rules.scale, rules.finite, rules.widest, rules.curved, rules.one_sided_noise,
     rules.right, rules.wrong, rules.unclear, rules.edge, rules.no_limit) = given


cdef struct Entry:
    # One entry of a table of `n`: its numbers are `n` apart.
    Py_ssize_t rows
    Py_ssize_t n
    const double* table
    const double* noise    # before it was seen to be more
    const double* estimate
    const char* flags
    const double* first    # analytic and numeric value, gap, length


cdef inline double at_row(const Entry* entry, Py_ssize_t column, Py_ssize_t row) noexcept nogil:
    return entry.table[(column * entry.rows + row) * entry.n]


cdef inline double as_number(double x) noexcept nogil:
    """As NumPy's nan_to_num."""
    if x != x:
        return 0.0
    return x if fabs(x) < INFINITY else (DBL_MAX if x > 0.0 else -DBL_MAX)


@cython.cdivision(True)
cdef double first_gap(const Entry* entry, const VerdictRules* rules) noexcept nogil:
    """What curvature at the step that was taken would make of the gap at the first one."""
    cdef Py_ssize_t i
    cdef Py_ssize_t chosen = 0
    cdef double off, seen, first
    cdef double least = INFINITY
    cdef double step = entry.estimate[4 * entry.n]
    for i in range(entry.rows):
        off = fabs(at_row(entry, 0, i) - step)
        if off != off:
            chosen = i
            break
        if off < least:
            least, chosen = off, i
    seen = fabs(at_row(entry, 2, chosen) - at_row(entry, 3, chosen))
    seen = larger(seen - rules.curved * entry.noise[chosen * entry.n], 0.0)
    first = rules.relative * entry.first[3 * entry.n] / at_row(entry, 0, chosen)
    return larger(as_number(first * seen), as_number(fabs(entry.first[2 * entry.n])))


cdef double enclosed(const Entry* entry, const VerdictRules* rules, double* center) noexcept nogil:
    """How far the closest pair of one-sided quotients lies that encloses a value: see the twin."""
    cdef Py_ssize_t i
    cdef double reach
    cdef double closest = INFINITY
    cdef bint below = False
    for i in range(entry.rows - 1, -1, -1):
        reach = (fabs(at_row(entry, 2, i) - at_row(entry, 3, i)) / 2
                 + rules.one_sided_noise * at_row(entry, 4, i))
        below |= fabs(entry.first[0] - at_row(entry, 1, i)) > reach
        reach = INFINITY if below or reach != reach else reach
        if reach <= closest:
            closest, center[0] = reach, at_row(entry, 1, i)
    return closest


cdef void verdict_of(const Entry* entry, const VerdictRules* rules, double* out,
                     int8_t* codes) noexcept nogil:
    cdef Py_ssize_t n = entry.n
    cdef double analytic = entry.first[0]
    cdef double value = entry.estimate[0]
    cdef double lower = entry.estimate[2 * n]
    cdef double upper = entry.estimate[3 * n]
    cdef bint converged = entry.flags[n]
    cdef double center = NAN
    cdef double own, granted, bound, closest
    cdef bint agrees, differs
    # The larger of both: an infinite one is judged by what is finite for sure.
    own = larger(fabs(analytic) if fabs(analytic) < INFINITY else 0.0, fabs(value))
    granted = rules.rounding + rules.own * own
    # Across a kink the gap is a jump of the derivative, and no curvature.
    granted += 0.0 if entry.flags[0] else as_number(rules.condition * first_gap(entry, rules))
    bound = rules.safety * entry.estimate[n] + granted
    agrees = (larger(lower - analytic, analytic - upper)
              <= bound + (rules.atol + rules.rtol * fabs(value)))
    # f may be steeper than any step shows; then an infinite slope cannot be called wrong.
    differs = (converged and not agrees
               and (fabs(analytic) != INFINITY
                    or bound <= rules.finite * larger(fabs(value), rules.scale)))
    # NaN compares false to every bound.
    differs = differs or (fabs(value) < INFINITY and analytic != analytic)
    out[0] = value if value == value else entry.first[n]
    out[n] = bound + (upper - lower) / 2
    codes[n] = 0
    if differs:
        codes[0] = rules.wrong
    elif agrees and converged:
        codes[0] = rules.right
    else:
        closest = enclosed(entry, rules, &center)
        if closest <= rules.widest:
            codes[0], out[0], out[n] = rules.right, center, closest
        else:
            codes[0] = rules.unclear
            codes[n] = rules.no_limit if value == value else rules.edge


def verdicts(cnp.ndarray table, cnp.ndarray noise, cnp.ndarray estimate, cnp.ndarray flags,
             cnp.ndarray entries, object rules):
    cdef VerdictRules mine
    cdef Entry entry
    cdef Py_ssize_t i
    cdef Py_ssize_t rows = cnp.PyArray_DIM(table, 1)
    cdef Py_ssize_t n = cnp.PyArray_DIM(table, 2)
    cdef cnp.npy_intp[2] shape
    read_verdict_rules(&mine, <tuple> rules)  # of a kind with names
    table, estimate = rows_of(table, n, rows), rows_of(estimate, n, 1)
    noise, entries = doubles_of(noise, rows * n), doubles_of(entries, 4 * n)
    flags = cnp.PyArray_GETCONTIGUOUS(flags)
    if cnp.PyArray_TYPE(flags) != cnp.NPY_BOOL or cnp.PyArray_SIZE(flags) != 2 * n:
        raise ValueError(f"of {n} entries there are {2 * n} flags")
    shape[0], shape[1] = 2, n
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    cdef cnp.ndarray told = cnp.PyArray_EMPTY(2, shape, cnp.NPY_INT8, False)
    cdef double* out = <double*> cnp.PyArray_DATA(found)
    cdef int8_t* codes = <int8_t*> cnp.PyArray_DATA(told)
    entry.rows, entry.n = rows, n
    with nogil:
        for i in range(n):
            entry.table = <const double*> cnp.PyArray_DATA(table) + i
            entry.noise = <const double*> cnp.PyArray_DATA(noise) + i
            entry.estimate = <const double*> cnp.PyArray_DATA(estimate) + i
            entry.flags = <const char*> cnp.PyArray_DATA(flags) + i
            entry.first = <const double*> cnp.PyArray_DATA(entries) + i
            verdict_of(&entry, &mine, out + i, codes + i)
    return found, told
