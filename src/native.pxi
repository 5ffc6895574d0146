# The loop over a native `f`, a C function: included by _kernel.pyx, whose arithmetic it shares.

cdef enum:
    WIDE = 1               # bits of a kind: `n` is an intptr_t, not an int
    STATUS = 2             # the value goes to a pointer, and an error code is returned
    GROWTH = 16            # from slice to slice at most, for an `f` that slows down

cdef double SLICE = 0.02   # seconds between looks for Ctrl-C
cdef double LARGE = 1e300

ctypedef double (*narrow_value)(int, double*, void*) noexcept nogil
ctypedef double (*wide_value)(intptr_t, double*, void*) noexcept nogil
ctypedef int (*narrow_status)(int, const double*, double*, void*) noexcept nogil
ctypedef int (*wide_status)(intptr_t, const double*, double*, void*) noexcept nogil


cdef struct Plan:
    int kind
    void* function
    intptr_t n
    double* x
    void* user
    const double* rows     # of the stencil
    int quotients
    double absolute
    double relative
    double base
    const double* steps    # by position, or NULL
    const intptr_t* entries  # by position, or NULL
    const View* out        # where `raw` is NULL
    double* raw
    double* common         # `out` once more, or NULL if `run_common` will not do
    # What stopped it.
    int outcome
    int code


cdef inline int evaluate(int kind, void* function, intptr_t n, double* x, void* user,
                         double* value) noexcept nogil:
    """Value of `f`; returned is the error code, 0 where there is none."""
    if kind == 0:
        value[0] = (<narrow_value> function)(<int> n, x, user)
        return 0
    if kind == WIDE:
        value[0] = (<wide_value> function)(n, x, user)
        return 0
    value[0] = NAN
    if kind == STATUS:
        return (<narrow_status> function)(<int> n, x, value, user)
    return (<wide_status> function)(n, x, value, user)


cdef inline double step_at(const Plan* plan, intptr_t position, double x) noexcept nogil:
    return step_of(x, plan.absolute, plan.relative) if plan.steps == NULL else plan.steps[position]


cdef inline intptr_t entry_at(const Plan* plan, intptr_t position) noexcept nogil:
    return position if plan.entries == NULL else plan.entries[position]


cdef int measure(Plan* plan, double* place, const double* offsets, const double* points,
                 double* values) noexcept nogil:
    """Values at the points; afterwards the entry has its bits back. Returns an outcome."""
    cdef uint64_t saved
    cdef int outcome = DONE
    cdef int k
    memcpy(&saved, place, 8)
    for k in range(2 * plan.quotients):
        if offsets[k] == 0.0:
            values[k] = plan.base
            continue
        memcpy(place, &points[k], 8)
        plan.code = evaluate(plan.kind, plan.function, plan.n, plan.x, plan.user, &values[k])
        if plan.code != 0 or memcmp(place, &points[k], 8) != 0:
            outcome = WRITTEN if plan.code == 0 else FAILED
            break
    memcpy(place, &saved, 8)
    return outcome


cdef int differentiate_one(Plan* plan, intptr_t position) noexcept nogil:
    """Differentiate with respect to the entry at one position; returns an outcome."""
    cdef double offsets[2 * MAX_QUOTIENTS]
    cdef double points[2 * MAX_QUOTIENTS]
    cdef double values[2 * MAX_QUOTIENTS]
    cdef int count = 2 * plan.quotients
    cdef intptr_t entry = entry_at(plan, position)
    cdef double x = plan.x[entry]
    cdef double h = step_at(plan, position, x)
    cdef double* sample
    cdef int outcome, k
    for k in range(count):
        offsets[k] = plan.rows[3 * (k // 2) + k % 2]
        points[k] = x + offsets[k] * h
    if plan.raw == NULL and not distinct(points, plan.quotients):
        return VANISHED
    outcome = measure(plan, &plan.x[entry], offsets, points, values)
    if outcome != DONE:
        return outcome
    if plan.raw == NULL:
        store(plan.out, entry, combine(plan.rows, plan.quotients, points, values))
        return DONE
    sample = plan.raw + 2 * count * position
    for k in range(count):
        sample[2 * k] = points[k] - x
        sample[2 * k + 1] = values[k]
    return DONE


cdef inline double ordinary(double absolute, double relative) noexcept nogil:
    """Below this size of an entry no step vanishes in rounding, and nothing overflows."""
    if relative >= DBL_EPSILON:
        return LARGE
    return absolute / DBL_EPSILON if absolute < DBL_EPSILON * LARGE else 0.0


cdef inline intptr_t run_common(int kind, void* function, intptr_t n, double* x, void* user,
                                double* out, double absolute, double relative, intptr_t position,
                                intptr_t stop, int* outcome, int* code) noexcept nogil:
    """The commonest case, central differences of one array into another, as fast as a loop in C.

    It ends before an entry that is anything but ordinary, and where `f` did what it must not.
    """
    cdef double limit = ordinary(absolute, relative)
    cdef double before, h, above, below, ahead, behind
    while position < stop:
        before = x[position]
        if not fabs(before) < limit:
            return position
        h = step_of(before, absolute, relative)
        above, below = before + h, before - h
        x[position] = above
        code[0] = evaluate(kind, function, n, x, user, &ahead)
        if code[0] != 0 or memcmp(&x[position], &above, 8) != 0:
            break
        x[position] = below
        code[0] = evaluate(kind, function, n, x, user, &behind)
        if code[0] != 0 or memcmp(&x[position], &below, 8) != 0:
            break
        x[position] = before
        out[position] = 0.0 + (ahead - behind) / (above - below)
        position += 1
    else:
        return position
    x[position] = before
    outcome[0] = WRITTEN if code[0] == 0 else FAILED
    return position


cdef inline intptr_t run_kind(int kind, Plan* plan, intptr_t position, intptr_t stop) noexcept nogil:
    return run_common(kind, plan.function, plan.n, plan.x, plan.user, plan.common, plan.absolute,
                      plan.relative, position, stop, &plan.outcome, &plan.code)


cdef intptr_t run(Plan* plan, intptr_t position, intptr_t stop) noexcept nogil:
    """Differentiate from a position to `stop`; returns where it ended, and leaves an outcome."""
    plan.outcome = DONE
    while position < stop:
        if plan.common != NULL:
            if plan.kind == 0:  # constants, for which the compiler writes a loop each
                position = run_kind(0, plan, position, stop)
            elif plan.kind == WIDE:
                position = run_kind(WIDE, plan, position, stop)
            else:
                position = run_kind(plan.kind, plan, position, stop)
            if position == stop or plan.outcome != DONE:
                return position
        plan.outcome = differentiate_one(plan, position)
        if plan.outcome != DONE:
            return position
        position += 1
    return position


# ---------------------------------------------------------------- called from Python

cpdef native_sweep(object f, object argument, object leaf, object stencil, double absolute,
                   double relative, cnp.ndarray steps, double base, cnp.ndarray out,
                   Py_ssize_t start, Py_ssize_t stop, cnp.ndarray entries=None,
                   cnp.ndarray raw=None):
    cdef cnp.ndarray array = leaf.real
    cdef cnp.ndarray owner = owner_of(array)
    cdef cnp.ndarray out_owner = None if out is None else owner_of(out)
    cdef cnp.ndarray table = stencil.table
    cdef Hold mine, target
    cdef Plan plan
    cdef intptr_t position = start, size = 1, end
    cdef double began
    if leaf.found is not None:
        leaf.check_found()
    hold(&mine, array, owner)
    plan.function = PyLong_AsVoidPtr(f.address)
    plan.user = PyLong_AsVoidPtr(f.user)
    plan.kind = f.kind
    plan.n = cnp.PyArray_SIZE(array)
    plan.x = <double*> mine.array.data
    plan.absolute, plan.relative, plan.base = absolute, relative, base
    plan.steps = NULL if steps is None else <double*> cnp.PyArray_DATA(steps)
    plan.entries = NULL if entries is None else <intptr_t*> cnp.PyArray_DATA(entries)
    plan.rows = <const double*> cnp.PyArray_DATA(table)
    plan.quotients = <int> cnp.PyArray_DIM(table, 0)
    plan.raw = NULL if raw is None else <double*> cnp.PyArray_DATA(raw)
    plan.common = NULL
    if raw is None:
        hold(&target, out, out_owner)
        plan.out = &target.array
        if (plan.quotients == 1 and plan.rows[0] == 1.0 and plan.rows[1] == -1.0
                and steps is None and entries is None and target.array.contiguous
                and target.array.itemsize == 8):
            plan.common = <double*> target.array.data
    while True:
        end = min(position + size, <intptr_t> stop)
        began = perf_counter() if end < stop else 0.0
        with nogil:
            position = run(&plan, position, end)
        if disturbed(&mine, array, owner):
            raise _errors.moved_error(leaf.path)
        if raw is None and resized(&target.owner, out_owner):
            raise _errors.moved_error("out")
        if position < end:
            refuse_native(&plan, leaf, position)
        PyErr_CheckSignals()
        if end == stop:
            break
        size = next_size(size, perf_counter() - began)


cdef intptr_t next_size(intptr_t size, double seconds) noexcept:
    """Entries of the next slice, going by the time that this one took."""
    if seconds * GROWTH <= SLICE:
        return size * GROWTH
    return max(<intptr_t> 1, <intptr_t> (<double> size * (SLICE / seconds)))


cdef int refuse_native(const Plan* plan, object leaf, intptr_t position) except -1:
    cdef intptr_t entry = entry_at(plan, position)
    cdef double x = plan.x[entry]
    if plan.outcome == VANISHED:
        raise _errors.step_vanished_error(leaf.name(entry), x, step_at(plan, position, x), leaf.real.dtype)
    if plan.outcome == FAILED:
        raise _errors.ObjectiveError(plan.code, leaf.name(entry))
    raise _errors.written_error(leaf.name(entry), undone=True)


# ---------------------------------------------------------------- called from other extensions

cdef enum:
    METHODS = 3
    ORDERS = 9             # and the order 0, which there is not

# As in fastgrad/stencils.py, by method and order: quotients (0 where there is no such method), and
# for each the offsets of its points and its weight.
cdef int LENGTHS[METHODS][ORDERS]
cdef double TABLES[METHODS][ORDERS][3 * MAX_QUOTIENTS]
cdef double RELATIVE_STEPS[ORDERS]


cdef int lay_out(double* rows, Method method, int order) noexcept:
    """Write the table of a stencil; returns the number of its quotients."""
    cdef int spread = 2 if method == CENTRAL else 1
    cdef int count = order // spread
    cdef double above, below
    cdef int a, b
    if order < 1 or order % spread != 0 or count > MAX_QUOTIENTS:
        return 0
    for a in range(1, count + 1):
        above, below = 1.0, 1.0
        for b in range(1, count + 1):
            if b != a:
                above *= b ** spread
                below *= b ** spread - a ** spread
        rows[3 * a - 3] = 0.0 if method == BACKWARD else a
        rows[3 * a - 2] = 0.0 if method == FORWARD else -a
        rows[3 * a - 1] = above / below
    return count


def _lay_out_all():
    cdef int method, order
    for order in range(ORDERS):
        RELATIVE_STEPS[order] = DBL_EPSILON ** (1.0 / (order + 1))
        for method in range(METHODS):
            LENGTHS[method][order] = lay_out(TABLES[method][order], <Method> method, order)


_lay_out_all()


cdef int gradient(Objective f, void* user_data, intptr_t n, double* x, double* g, int method,
                  int order, double eps, intptr_t* stopped_at) noexcept nogil:
    return gradient_part(f, user_data, n, x, g, method, order, eps, 0, n, stopped_at)


cdef int gradient_part(Objective f, void* user_data, intptr_t n, double* x, double* g, int method,
                       int order, double eps, intptr_t start, intptr_t stop,
                       intptr_t* stopped_at) noexcept nogil:
    cdef double relative
    cdef intptr_t reached = start
    cdef int outcome = DONE, code
    if not (0 <= method < METHODS and 0 <= order < ORDERS and 0.0 <= eps < INFINITY):
        return REFUSED
    if LENGTHS[method][order] == 0:
        return REFUSED
    relative = 0.0 if eps > 0.0 else RELATIVE_STEPS[order]
    if method == CENTRAL and order == 2:
        reached = run_common(WIDE, <void*> f, n, x, user_data, g, eps, relative, start, stop,
                             &outcome, &code)
        if reached == stop:
            return DONE
    if outcome == DONE:
        reached = run_any(f, user_data, n, x, g, method, order, eps, relative, reached, stop,
                          &outcome)
    if reached < stop and stopped_at != NULL:
        stopped_at[0] = reached
    return outcome


cdef intptr_t run_any(Objective f, void* user_data, intptr_t n, double* x, double* g, int method,
                      int order, double eps, double relative, intptr_t start, intptr_t stop,
                      int* outcome) noexcept nogil:
    """`run` for any method; a plan to carry out costs as much as a few evaluations."""
    cdef View out
    cdef Plan plan
    cdef intptr_t reached
    plan.rows, plan.quotients = TABLES[method][order], LENGTHS[method][order]
    plan.kind, plan.function, plan.user = WIDE, <void*> f, user_data
    plan.n, plan.x = n, x
    plan.absolute, plan.relative = eps, relative
    plan.base = 0.0 if method == CENTRAL else f(n, x, user_data)
    plan.steps, plan.entries, plan.raw, plan.common = NULL, NULL, NULL, NULL
    out.data, out.itemsize, out.contiguous = <char*> g, 8, True
    plan.out = &out
    reached = run(&plan, start, stop)
    outcome[0] = plan.outcome
    return reached
