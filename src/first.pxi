# What the first look at a gradient of a few small arrays asks for: included by _kernel.pyx.

# ---------------------------------------------------------------- what is seen at a glance

def plain_layout(list arrays, Py_ssize_t most_bytes, Py_ssize_t most_entries):
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t entries = 0
    cdef str kinds = ""
    cdef list shapes = []
    for array in arrays:
        if type(array) is not cnp.ndarray or not is_plain(array) or not cnp.PyArray_SIZE(array):
            return None
        size += cnp.PyArray_NBYTES(array)
        entries += cnp.PyArray_SIZE(array)
        kinds += kind_of(array)
        shapes.append(array.shape)
    if size > most_bytes or not 0 < entries <= most_entries or share_memory(tuple(arrays)):
        return None
    return kinds, tuple(shapes)


cdef inline str kind_of(cnp.ndarray array):
    return "d" if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64 else "f"


def take(object argument, object given, Py_ssize_t count, bint apart):
    cdef cnp.npy_intp size = count
    cdef cnp.ndarray column = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT64, False)
    cdef double* out = <double*> cnp.PyArray_DATA(column)
    cdef Py_ssize_t done = 0
    cdef str kinds = ""
    cdef object kind = type(argument)
    if kind is cnp.ndarray:
        arrays, parts = [argument], [given]
    elif kind is not type(given) or kind not in (dict, list, tuple) or len(argument) != len(given):
        return None
    elif kind is dict:
        arrays, parts = list(argument.values()), []
        for key in argument:
            if key not in <dict> given:
                return None
            parts.append(given[key])
    else:
        arrays, parts = list(argument), list(given)
    for array, part in zip(arrays, parts):
        if not fits_plainly(array, part) or done + cnp.PyArray_SIZE(part) > count:
            return None
        copy_plain(out + done, part)
        done += cnp.PyArray_SIZE(part)
        kinds += kind_of(part)
    if not kinds or done != count or (apart and share_memory(tuple(arrays + parts))):
        return None
    return column, kinds


cdef bint fits_plainly(object array, object part) except -1:
    if type(array) is not cnp.ndarray or type(part) is not cnp.ndarray:
        return False
    if not is_native(array) or not is_native(part) or not cnp.PyArray_IS_C_CONTIGUOUS(part):
        return False
    return cnp.PyArray_SAMESHAPE(array, part)


cdef void copy_plain(double* out, cnp.ndarray part) noexcept:
    cdef Py_ssize_t i
    if cnp.PyArray_TYPE(part) == cnp.NPY_FLOAT64:
        memcpy(out, cnp.PyArray_DATA(part), cnp.PyArray_NBYTES(part))
        return
    for i in range(cnp.PyArray_SIZE(part)):
        out[i] = (<const float*> cnp.PyArray_DATA(part))[i]


def same_bits(cnp.ndarray a, cnp.ndarray b):
    return (cnp.PyArray_NBYTES(a) == cnp.PyArray_NBYTES(b)
            and memcmp(cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), cnp.PyArray_NBYTES(a)) == 0)


# ---------------------------------------------------------------- values along a direction

cdef int intact(object leaf, Fingerprint each) except -1:
    """Refuse what `f` did to an array."""
    if altered(&each.held.array, each.array) or not alive(&each.held, each.owner):
        raise _errors.moved_error(leaf.path)
    return 0


cdef void displace_plain(Fingerprint each, cnp.ndarray start, cnp.ndarray move, double time) noexcept:
    cdef char* target = each.held.array.data
    cdef const double* by = <const double*> cnp.PyArray_DATA(move)
    cdef Py_ssize_t size = cnp.PyArray_SIZE(start)
    if each.held.array.itemsize == 4:
        displace_single(<float*> target, <const float*> cnp.PyArray_DATA(start), by, time, size)
    else:
        displace_double(<double*> target, <const double*> cnp.PyArray_DATA(start), by, time, size)


cpdef odd_table(object f, object argument, list leaves, list found, object log, list factors,
              list widths, tuple times, double still, list values):
    cdef Fingerprint each
    cdef Py_ssize_t i, k
    cdef Py_ssize_t count = len(found)
    cdef list entries = log.entries
    cdef Py_ssize_t mark = len(entries)
    cdef list starts = []
    cdef list moves = []
    cdef double width, odd
    cdef object value
    cdef Forgiving soft = forgiving_or_none(f)
    f = f if soft is None else soft.f
    cdef vectorcallfunc vectorcall = PyVectorcall_Function(f)
    for k in range(count):
        each = found[k]
        intact(leaves[k], each)
        width, odd = widths[k]
        start = cnp.PyArray_NewCopy(each.view, cnp.NPY_CORDER)
        entries.append((each, each.view, Ellipsis, start))
        starts.append(start)
        moves.append(odd_moves(start, factors[k], width, odd))
    for i in range(len(times)):
        for k in range(count):
            intact(leaves[k], found[k])  # by the evaluation before
            displace_plain(found[k], starts[k], moves[k], times[i])
        value = forgiven(f, vectorcall, argument, soft)
        if not PyFloat_CheckExact(value):
            value = as_scalar(value, at_block, 0)
        values.append(value)
        if i == 1 and PyFloat_AS_DOUBLE(values[0]) == still and PyFloat_AS_DOUBLE(value) == still:
            break
    for k in range(count):
        each = found[k]
        intact(leaves[k], each)
        memcpy(each.held.array.data, cnp.PyArray_DATA(starts[k]), each.held.array.nbytes)
    del entries[mark:]


# ---------------------------------------------------------------- central differences

cpdef central_samples(object f, object argument, list leaves, list found, list relative,
                      list samples):
    cdef Fingerprint each
    cdef cnp.ndarray moved, values
    cdef cnp.npy_intp shape[2]
    cdef Py_ssize_t i, k
    cdef double* out
    cdef Plan plan
    plan.rows = plan.inner = plan.steps = plan.base_vector = NULL
    plan.entries = NULL
    plan.count, plan.offsets[0], plan.offsets[1] = 2, 1.0, -1.0
    plan.absolute, plan.base, plan.first, plan.width = 0.0, NAN, 0, -1
    for k in range(len(found)):
        each = found[k]
        intact(leaves[k], each)
        shape[0], shape[1] = cnp.PyArray_SIZE(each.view), 2
        moved = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
        values = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
        out = <double*> cnp.PyArray_DATA(values)
        for i in range(2 * shape[0]):
            out[i] = NAN  # up to where an interrupt comes
        samples.append((moved, values))
        plan.relative = relative[k]
        plan.moved, plan.values = <double*> cnp.PyArray_DATA(moved), out
        run_python(f, argument, leaves[k], &plan, None, 0, shape[0], None)


# ---------------------------------------------------------------- the whole look

cdef object value_at_base(object f, object argument):
    cdef object value = f(argument)
    return value if PyFloat_CheckExact(value) else as_scalar(value, at_base, 0)


cdef bint all_finite(list values) except -1:
    for value in values:
        if not fabs(<double> value) < INFINITY:
            return False
    return True


def first_look(object f, object moved, object argument, list leaves, list found, object log,
               cnp.ndarray claimed, tuple eps, object parts, object rules, list bases, list tables,
               list samples, list told, double rtol, double atol):
    cdef list values, steps
    cdef list granted = []
    cdef double tiny, wild, floor_, least, noise_bound, unit_bound, kink, power
    cdef double level, unit, most, variation
    cdef Py_ssize_t different_, k
    cdef NoiseRules noises
    cdef StepRules lengths
    cdef FactorRules factors
    cdef Numbers numbers
    (noise_bound, unit_bound, slow, times, different_, tiny, wild, floor_, least, kink, power,
     noise_rules, step_rules, factor_rules) = <tuple> rules  # of kinds with names, as these
    spacings, signs, widths = <tuple> parts
    started = perf_counter()
    base = value_at_base(f, argument)
    bases.append(base)
    if perf_counter() - started > slow or not fabs(<double> base) < INFINITY:
        return None
    bases.append(value_at_base(f, argument))
    if <double> bases[1] != <double> base:
        return None
    for k in range(len(<tuple> widths)):
        values = []
        tables.append(values)
        try:
            odd_table(moved, argument, leaves, found, log, signs, widths[k], times, base, values)
        except Exception as error:
            if len(leaves) == 1:
                _errors.annotate(error, f"{leaves[0].path}[...]")
            raise
        if len(values) == 2:  # this spacing moves nothing
            continue
        values = [base, *values]
        if not all_finite(values):
            return None
        read_numbers(&numbers, values)
        if different(&numbers) > different_:
            break
    else:
        return None
    most, has_tiny_ = survey(claimed, found, tiny)
    read_rules(&noises, <tuple> noise_rules)
    level, unit, coarse = table_of(&numbers, 0.0, &noises)
    if has_tiny_ or coarse or level > wild * numbers.largest:
        return None
    level = larger(level, floor_)
    variation = larger(least * fabs(<double> base), most)
    lengths.least, lengths.spacings, lengths.largest = <tuple> step_rules
    read_factor_rules(&factors, <tuple> factor_rules)
    steps = [step_for(level, variation, <double> spacing, &lengths) for spacing in <tuple> spacings]
    for k in range(len(steps)):
        granted.append(factors_for(steps[k], eps[k], spacings[k], &factors))
    told.extend((level, unit, len(tables) - 1, steps))
    central_samples(moved, argument, leaves, found, steps, samples)
    return agreement(claimed, samples, base, noise_bound * level, unit_bound * unit, granted,
                     rtol, atol, kink, power)


# ---------------------------------------------------------------- judging all entries at once

cdef struct Factors:
    double safety          # of the noise
    double share           # of the entry itself
    double truncation      # of the largest entry, as this and the next
    double rounding
    double condition       # of the gap between the one-sided quotients


cdef void read_factors(Factors* factors, tuple given):
    factors.safety, factors.share, factors.truncation, factors.rounding, factors.condition = given


cdef struct FactorRules:
    double safety
    double own             # of truncation, as this and the next three
    double material
    double most
    double leaf
    double rounding
    double condition


cdef int read_factor_rules(FactorRules* rules, tuple given) except -1:
    (rules.safety, rules.own, rules.material, rules.most, rules.leaf, rules.rounding,
     rules.condition) = given
    return 0


@cython.cdivision(True)
cdef tuple factors_for(double relative, double eps, double spacing, const FactorRules* rules):
    cdef double own = larger(rules.own * (relative * relative), rules.material)
    return (rules.safety, own if own < rules.most else rules.most,
            (relative * relative) * rules.leaf, rules.rounding * eps,
            rules.condition * spacing / relative)


def first_factors(double relative, double eps, double spacing, object rules):
    cdef FactorRules mine
    read_factor_rules(&mine, <tuple> rules)  # of a kind with names
    return factors_for(relative, eps, spacing, &mine)


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


cdef inline bint within(double analytic, double numeric, double bound, double rtol,
                        double atol) noexcept nogil:
    return fabs(analytic - numeric) <= bound + (atol + rtol * fabs(numeric))


def agreeing(cnp.ndarray analytic, cnp.ndarray numeric, cnp.ndarray bounds, double rtol,
             double atol):
    cdef Py_ssize_t i
    cdef cnp.npy_intp n = cnp.PyArray_DIM(analytic, 0)
    analytic, numeric = doubles_of(analytic, n), doubles_of(numeric, n)
    bounds = doubles_of(bounds, n)
    cdef const double* a = <const double*> cnp.PyArray_DATA(analytic)
    cdef const double* d = <const double*> cnp.PyArray_DATA(numeric)
    cdef const double* bound = <const double*> cnp.PyArray_DATA(bounds)
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &n, cnp.NPY_BOOL, False)
    cdef char* out = <char*> cnp.PyArray_DATA(found)
    for i in range(n):
        out[i] = within(a[i], d[i], bound[i], rtol, atol)
    return found


cdef bint agree(const double* a, const double* rows, Py_ssize_t n, const Factors* mine,
                double rtol, double atol, double kink, double power, double* bounds) noexcept nogil:
    """Whether nothing about a leaf is in doubt, of the `quotients` of its entries in rows."""
    cdef Py_ssize_t i
    cdef const double* d = rows + n
    cdef const double* ahead = d + n
    cdef const double* behind = ahead + n
    cdef const double* noise = behind + n
    cdef double gap, scale, allowed
    cdef double claimed = 0.0
    cdef double size = 0.0
    cdef double open_ = 0.0
    cdef double widest = 0.0
    cdef bint agrees = True
    for i in range(n):
        gap = fabs(ahead[i] - behind[i])
        # No number, and no move, is for a closer look.
        agrees &= fabs(a[i]) < INFINITY and fabs(d[i]) < INFINITY and gap < INFINITY
        agrees &= d[i] != 0.0 or gap != 0.0
        claimed, size = larger(claimed, fabs(a[i])), larger(size, fabs(d[i]))
        open_ = larger(open_, gap)
    scale = claimed if claimed < size else size
    allowed = mine.truncation * scale + mine.rounding * scale
    agrees &= not open_ > kink * scale
    for i in range(n):
        bounds[i] = bound_of(mine, a[i], d[i], noise[i], ahead[i] - behind[i], allowed)
        agrees &= within(a[i], d[i], bounds[i], rtol, atol)
        widest = larger(widest, bounds[i])
    return agrees and widest <= power * scale


cpdef agreement(cnp.ndarray analytic, list samples, double base, double noise, double unit,
                list factors, double rtol, double atol, double kink, double power):
    cdef cnp.npy_intp total = cnp.PyArray_DIM(analytic, 0)
    cdef cnp.ndarray numeric = cnp.PyArray_EMPTY(1, &total, cnp.NPY_FLOAT64, False)
    cdef cnp.ndarray bounds = cnp.PyArray_EMPTY(1, &total, cnp.NPY_FLOAT64, False)
    cdef const double* a = <const double*> cnp.PyArray_DATA(analytic)
    cdef double* d = <double*> cnp.PyArray_DATA(numeric)
    cdef double* out = <double*> cnp.PyArray_DATA(bounds)
    cdef const double* rows
    cdef cnp.ndarray found
    cdef Factors mine
    cdef Py_ssize_t k, n
    cdef Py_ssize_t done = 0
    for k in range(len(samples)):
        moved, values = samples[k]
        found = quotients(moved, values, base, noise, unit)
        rows, n = <const double*> cnp.PyArray_DATA(found), cnp.PyArray_DIM(found, 1)
        if done + n > total:
            raise ValueError(f"{total} entries are claimed, and more were measured")
        read_factors(&mine, factors[k])
        if not agree(a + done, rows, n, &mine, rtol, atol, kink, power, out + done):
            return None
        memcpy(d + done, rows + n, n * sizeof(double))
        done += n
    if done != total:
        raise ValueError(f"{total} entries are claimed, and {done} were measured")
    return numeric, bounds


cpdef survey(cnp.ndarray claimed, list found, double below):
    cdef Fingerprint each
    cdef const double* a = <const double*> cnp.PyArray_DATA(claimed)
    cdef double most = 0.0
    cdef double size
    cdef double room[TERMS]
    cdef const double* at
    cdef int64_t bits
    cdef int64_t count
    cdef bint tiny = False
    cdef Py_ssize_t n, cols, part
    cdef Py_ssize_t start
    cdef Py_ssize_t done = 0
    for each in found:
        n = cnp.PyArray_SIZE(each.view)
        if done + n > cnp.PyArray_DIM(claimed, 0):
            raise ValueError(f"{cnp.PyArray_DIM(claimed, 0)} entries are claimed, there are more")
        cols = side_by_side(&each.held.array, 1, n)
        start = 0
        while start < n:
            part = n - start
            at = wide(&each.held.array, cols, start, &part, room)
            steepest_run(&bits, a + done + start, at, part)
            memcpy(&size, &bits, sizeof(size))
            most = larger(most, size)
            tiny_run(&count, at, below, part)
            tiny |= count > 0
            start += part
        done += n
    return most, tiny


# Sizes, of which none is negative, are ordered as their bits are: the largest is found without a
# branch. Lengths are written out, as in directions.pxi.
cdef in_vectors steepest_run(int64_t* most, const double* claimed, const double* x,
                             Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef int64_t bits
    cdef int64_t largest = 0
    cdef double size
    for i in range(n):
        size = fabs(x[i])
        size = size if (1.0 < size) & (size < INFINITY) else 1.0
        size = fabs(claimed[i]) * size
        size = size if size < INFINITY else 0.0
        memcpy(&bits, &size, sizeof(size))
        largest = bits if bits > largest else largest
    most[0] = largest


def steepest(cnp.ndarray claimed, cnp.ndarray x):
    cdef int64_t bits
    cdef double most
    steepest_run(&bits, <const double*> cnp.PyArray_DATA(claimed),
                 <const double*> cnp.PyArray_DATA(x), cnp.PyArray_DIM(claimed, 0))
    memcpy(&most, &bits, sizeof(most))
    return most


cdef in_vectors tiny_run(int64_t* count, const double* x, double below,
                         Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef int64_t found = 0
    cdef double size
    for i in range(n):
        size = fabs(x[i])
        found += 1 if (0.0 < size) & (size < below) else 0
    count[0] = found


def has_tiny(cnp.ndarray x, double below):
    cdef View mine
    cdef double room[TERMS]
    cdef const double* at
    cdef Py_ssize_t part
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t size = cnp.PyArray_SIZE(x)
    cdef int64_t found = 0
    if is_fortran(x):  # in any order: that of the memory takes a fiftieth of the time
        x = cnp.PyArray_Transpose(x, NULL)
    describe(&mine, x)
    cdef Py_ssize_t cols = side_by_side(&mine, 1, size)
    while done < size and found == 0:
        part = size - done
        at = wide(&mine, cols, done, &part, room)
        tiny_run(&found, at, below, part)
        done += part
    return found != 0


cdef const double* wide(const View* view, Py_ssize_t cols, Py_ssize_t start, Py_ssize_t* n,
                        double* room) noexcept nogil:
    """Entries from `start` on as float64: where they lie, or copied to where there is room.

    Of `n` that are wanted as many as lie side by side, of which `cols` do.
    """
    cdef Py_ssize_t i
    cdef char* at = locate(view, start)
    n[0] = min(min(n[0], TERMS), cols - start % cols)
    if view.itemsize == 8:
        return <const double*> at
    for i in range(n[0]):
        room[i] = (<const float*> at)[i]
    return room


# The exponent of a float64.
cdef uint64_t EXPONENT = <uint64_t> 0x7FF0000000000000


cdef in_vectors odd_run(double* out, const double* x, const int8_t* factors, double width,
                        double odd, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double move
    cdef uint64_t bits
    for i in range(n):
        move = fabs(x[i])
        move = width * (move if (1.0 < move) & (move < INFINITY) else 1.0)
        # The largest power of two that is not above a normal number is its exponent alone.
        memcpy(&bits, &move, sizeof(move))
        bits &= EXPONENT
        memcpy(&move, &bits, sizeof(move))
        out[i] = move / 2 * factors[i] * odd


cpdef odd_moves(cnp.ndarray before, cnp.ndarray factors, double width, double odd):
    cdef View mine
    cdef double room[TERMS]
    cdef const double* at
    cdef Py_ssize_t part
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t size = cnp.PyArray_SIZE(before)
    cdef const int8_t* sign = <const int8_t*> cnp.PyArray_DATA(factors)
    cdef cnp.ndarray moves = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(before), cnp.PyArray_DIMS(before), cnp.NPY_FLOAT64, False)
    cdef double* out = <double*> cnp.PyArray_DATA(moves)
    describe(&mine, before)
    cdef Py_ssize_t cols = side_by_side(&mine, 1, size)
    while done < size:
        part = size - done
        at = wide(&mine, cols, done, &part, room)
        odd_run(out + done, at, sign + done, width, odd, part)
        done += part
    return moves
