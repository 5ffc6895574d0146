# The loop over a native `f`, a C function: included by _kernel.pyx, whose arithmetic it shares.

cdef enum:
    WIDE = 1               # bits of a kind: `n` is an intptr_t, not an int
    STATUS = 2             # the value goes to a pointer, and an error code is returned
    GROWTH = 16            # from slice to slice at most, for an `f` that slows down

cdef double SLICE = 0.02   # seconds between looks for Ctrl-C

ctypedef double (*narrow_value)(int, double*, void*) noexcept nogil
ctypedef double (*wide_value)(intptr_t, double*, void*) noexcept nogil
ctypedef int (*narrow_status)(int, const double*, double*, void*) noexcept nogil
ctypedef int (*wide_status)(intptr_t, const double*, double*, void*) noexcept nogil


cdef struct Plan:
    void* function
    void* user
    int kind
    intptr_t n
    double* x
    double absolute
    double relative
    const double* steps    # by position, or NULL
    const intptr_t* entries  # by position, or NULL
    double base
    const double* rows
    int quotients
    const View* out        # where `raw` is NULL
    double* raw
    # What stopped it.
    Outcome outcome
    int code
    double h


cdef inline int evaluate(const Plan* plan, double* value) noexcept nogil:
    """Value of `f`; returned is the error code, 0 where there is none."""
    if plan.kind == 0:
        value[0] = (<narrow_value> plan.function)(<int> plan.n, plan.x, plan.user)
        return 0
    if plan.kind == WIDE:
        value[0] = (<wide_value> plan.function)(plan.n, plan.x, plan.user)
        return 0
    value[0] = NAN
    if plan.kind == STATUS:
        return (<narrow_status> plan.function)(<int> plan.n, plan.x, value, plan.user)
    return (<wide_status> plan.function)(plan.n, plan.x, value, plan.user)


cdef inline Outcome measure(Plan* plan, double* place, const double* points,
                            double* values, const double* offsets, int count) noexcept nogil:
    """Values at the points; afterwards the entry has its bits back."""
    cdef uint64_t saved
    cdef Outcome outcome = DONE
    cdef int k
    memcpy(&saved, place, 8)
    for k in range(count):
        if offsets[k] == 0.0:
            values[k] = plan.base
            continue
        place[0] = points[k]
        plan.code = evaluate(plan, &values[k])
        if memcmp(place, &points[k], 8) != 0:
            outcome = WRITTEN
            break
        if plan.code != 0:
            outcome = FAILED
            break
    memcpy(place, &saved, 8)
    return outcome


cdef intptr_t differentiate(Plan* plan, intptr_t position, intptr_t stop) noexcept nogil:
    """Differentiate from position to `stop`; returns where it ended."""
    cdef double offsets[2 * MAX_QUOTIENTS]
    cdef double points[2 * MAX_QUOTIENTS]
    cdef double values[2 * MAX_QUOTIENTS]
    cdef int count = 2 * plan.quotients
    cdef int k
    cdef intptr_t entry
    cdef double x
    for k in range(count):
        offsets[k] = plan.rows[3 * (k // 2) + k % 2]
    while position < stop:
        entry = position if plan.entries == NULL else plan.entries[position]
        x = plan.x[entry]
        plan.h = (step_of(x, plan.absolute, plan.relative) if plan.steps == NULL
                  else plan.steps[position])
        for k in range(count):
            points[k] = x + offsets[k] * plan.h
        if plan.raw == NULL and not distinct(points, plan.quotients):
            plan.outcome = VANISHED
            return position
        plan.outcome = measure(plan, &plan.x[entry], points, values, offsets, count)
        if plan.outcome != DONE:
            return position
        if plan.raw == NULL:
            store(plan.out, entry, combine(plan.rows, plan.quotients, points, values))
        else:
            for k in range(count):
                plan.raw[2 * count * position + 2 * k] = points[k] - x
                plan.raw[2 * count * position + 2 * k + 1] = values[k]
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
    if raw is None:
        hold(&target, out, out_owner)
        plan.out = &target.array
    while position < stop:
        end = min(position + size, <intptr_t> stop)
        began = perf_counter()
        with nogil:
            position = differentiate(&plan, position, end)
        if disturbed(&mine, array, owner):
            raise errors.moved(leaf.path)
        if raw is None and resized(&target.owner, out_owner):
            raise errors.moved("out")
        if position < end:
            refuse_native(&plan, leaf, position)
        size = next_size(size, perf_counter() - began)
        PyErr_CheckSignals()


cdef intptr_t next_size(intptr_t size, double seconds) noexcept:
    """Entries of the next slice, going by the time that this one took."""
    if seconds * GROWTH <= SLICE:
        return size * GROWTH
    return max(<intptr_t> 1, <intptr_t> (<double> size * (SLICE / seconds)))


cdef int refuse_native(const Plan* plan, object leaf, intptr_t position) except -1:
    cdef intptr_t entry = position if plan.entries == NULL else plan.entries[position]
    if plan.outcome == VANISHED:
        raise errors.vanished(leaf.name(entry), plan.x[entry], plan.h, leaf.real.dtype)
    if plan.outcome == FAILED:
        raise errors.ObjectiveError(plan.code, leaf.name(entry))
    raise errors.written(leaf.name(entry), undone=True)


# ---------------------------------------------------------------- called from other extensions

cdef int lay_out(double* rows, Method method, int order) noexcept nogil:
    """Write the table of a stencil, as fastgrad/stencils.py defines it; returns its length."""
    cdef int step = 2 if method == CENTRAL else 1
    cdef int count = order // step
    cdef int a, b
    cdef double above, below, node, other
    if method != FORWARD and method != BACKWARD and method != CENTRAL:
        return 0
    if order < step or order % step != 0 or count > MAX_QUOTIENTS:
        return 0
    for a in range(1, count + 1):
        above, below = 1.0, 1.0
        node = a * a if method == CENTRAL else a
        for b in range(1, count + 1):
            other = b * b if method == CENTRAL else b
            if b != a:
                above *= other
                below *= other - node
        rows[3 * a - 3] = 0.0 if method == BACKWARD else a
        rows[3 * a - 2] = 0.0 if method == FORWARD else -a
        rows[3 * a - 1] = above / below
    return count


cdef Outcome gradient(Objective f, void* user_data, intptr_t n, double* x, double* g,
                      Method method, int order, double eps, intptr_t* stopped_at) noexcept nogil:
    return gradient_part(f, user_data, n, x, g, method, order, eps, 0, n, stopped_at)


cdef Outcome gradient_part(Objective f, void* user_data, intptr_t n, double* x, double* g,
                           Method method, int order, double eps, intptr_t start, intptr_t stop,
                           intptr_t* stopped_at) noexcept nogil:
    cdef double rows[3 * MAX_QUOTIENTS]
    cdef View out
    cdef Plan plan
    cdef intptr_t reached
    plan.quotients = lay_out(rows, method, order)
    if plan.quotients == 0 or not 0.0 <= eps < INFINITY:
        return REFUSED
    plan.function, plan.user, plan.kind = <void*> f, user_data, WIDE
    plan.n, plan.x = n, x
    plan.rows = rows
    plan.absolute = eps
    plan.relative = 0.0 if eps > 0.0 else pow(DBL_EPSILON, 1.0 / (order + 1))
    plan.steps, plan.entries, plan.raw = NULL, NULL, NULL
    plan.base = 0.0 if method == CENTRAL else f(n, x, user_data)
    out.data, out.itemsize, out.contiguous = <char*> g, 8, True
    plan.out = &out
    plan.outcome = DONE
    reached = differentiate(&plan, start, stop)
    if reached < stop and stopped_at != NULL:
        stopped_at[0] = reached
    return plan.outcome
