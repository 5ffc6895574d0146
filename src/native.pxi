# The loop over a native `f`, a C function: included by _kernel.pyx, whose arithmetic it shares.

cdef enum:
    WIDE = 1               # bits of a kind: `n` is an intptr_t, not an int
    STATUS = 2             # the value goes to a pointer, and an error code is returned
    VECTOR = 4             # besides, there are `m` values
    GROWTH = 16            # from slice to slice at most, for an `f` that slows down

# A macro of Cython's: what it names is laid out of the loop's way.
cdef extern from *:
    bint unlikely(bint condition) noexcept nogil

cdef double SLICE = 0.02   # seconds between looks for Ctrl-C
cdef double LARGE = 1e300
cdef double ONE = 1.0      # which compilers do not know: else they branch, and not take the larger

ctypedef double (*narrow_value)(int, double*, void*) noexcept nogil
ctypedef double (*wide_value)(intptr_t, double*, void*) noexcept nogil
ctypedef int (*narrow_status)(int, const double*, double*, void*) noexcept nogil
ctypedef int (*wide_status)(intptr_t, const double*, double*, void*) noexcept nogil
ctypedef int (*narrow_vector)(int, const double*, int, double*, void*) noexcept nogil
ctypedef int (*wide_vector)(intptr_t, const double*, intptr_t, double*, void*) noexcept nogil


cdef struct Ending:
    int outcome
    int code               # of an error, where the outcome is FAILED


cdef struct NativePlan:
    Plan plan
    int kind
    void* function
    intptr_t n
    double* x
    void* user
    const View* out        # where no samples are wanted
    double* common         # its memory once more, or NULL if `run_common` will not do
    Ending ending          # what stopped it


cdef inline int evaluate(int kind, void* function, intptr_t n, double* x, void* user,
                         double* value) noexcept nogil:
    """Value of `f`; returned is the error code, 0 where there is none."""
    if kind == 0:
        value[0] = (<narrow_value> function)(<int> n, x, user)
        return 0
    if kind == WIDE:
        value[0] = (<wide_value> function)(n, x, user)
        return 0
    value[0] = NAN  # what is left if the function writes none
    if kind == STATUS:
        return (<narrow_status> function)(<int> n, x, value, user)
    return (<wide_status> function)(n, x, value, user)


cdef inline int evaluate_vector(int kind, void* function, intptr_t n, double* x, void* user,
                                double* values, intptr_t m) noexcept nogil:
    """The same for `m` values; a function of one value is one of a vector of one."""
    cdef intptr_t i
    if not kind & VECTOR:
        return evaluate(kind, function, n, x, user, values)
    for i in range(m):
        values[i] = NAN
    if kind & WIDE:
        return (<wide_vector> function)(n, x, m, values, user)
    return (<narrow_vector> function)(<int> n, x, <int> m, values, user)


cdef int measure(NativePlan* native, double* place, const double* points, double* values,
                 intptr_t position) noexcept nogil:
    """Values at the points; afterwards the entry has its bits back. Returns an outcome."""
    cdef const Plan* plan = &native.plan
    cdef uint64_t saved
    cdef int outcome = DONE
    cdef int k
    memcpy(&saved, place, 8)
    for k in range(plan.count):
        if plan.offsets[k] == 0.0:
            values[k] = plan.base
            continue
        memcpy(place, &points[k], 8)
        if plan.width >= 0:
            native.ending.code = evaluate_vector(
                native.kind, native.function, native.n, native.x, native.user,
                vector_at(plan, position, k), plan.width)
        else:
            native.ending.code = evaluate(native.kind, native.function, native.n, native.x,
                                          native.user, &values[k])
        if native.ending.code != 0 or memcmp(place, &points[k], 8) != 0:
            outcome = WRITTEN if native.ending.code == 0 else FAILED
            break
    memcpy(place, &saved, 8)
    return outcome


cdef int measure_one(NativePlan* native, intptr_t position) noexcept nogil:
    """The derivative or the samples of the entry at one position; returns an outcome."""
    cdef const Plan* plan = &native.plan
    cdef double points[2 * MAX_QUOTIENTS]
    cdef double values[2 * MAX_QUOTIENTS]
    cdef intptr_t entry = entry_at(plan, position)
    cdef double x = native.x[entry]
    cdef double h = step_at(plan, position, x)
    cdef int outcome, k
    for k in range(plan.count):
        points[k] = x + plan.offsets[k] * h
    if plan.rows != NULL and not distinct(points, plan.count // 2):
        return VANISHED
    outcome = measure(native, &native.x[entry], points, values, position)
    if outcome != DONE:
        return outcome
    if plan.rows == NULL:
        keep_samples(plan, position, x, points, values)
    elif plan.width >= 0:
        combine_vectors(plan, points, native.out, entry)
    else:
        store(native.out, entry - plan.first, derivative_of(plan, points, values))
    return DONE


cdef inline double ordinary(double absolute, double relative) noexcept nogil:
    """Below this size of an entry no step vanishes in rounding, and nothing overflows."""
    if relative >= DBL_EPSILON:
        return LARGE
    return absolute / DBL_EPSILON if absolute < DBL_EPSILON * LARGE else 0.0


# The bits of numbers are written and compared as integers: those stay in registers while `f` runs,
# and numbers do not. From memory, and as numbers, each call takes a tenth longer.

cdef inline uint64_t bits_of(double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return bits


cdef inline void put(double* place, uint64_t bits) noexcept nogil:
    memcpy(place, &bits, 8)


cdef inline bint holds(const double* place, uint64_t bits) noexcept nogil:
    return bits_of(place[0]) == bits


cdef inline intptr_t run_common(int kind, void* function, intptr_t n, double* x, void* user,
                                double* out, double absolute, double relative, intptr_t position,
                                intptr_t stop, Ending* ending) noexcept nogil:
    """The commonest case, central differences of one array into another, as fast as a loop in C.

    It ends before an entry that is anything but ordinary, and where `f` did what it must not.
    """
    cdef double one = ONE
    cdef double before, size, h, ahead, behind, width
    cdef uint64_t saved, above, below
    cdef uint64_t limit = bits_of(ordinary(absolute, relative))
    cdef int failed = 0
    while position < stop:
        before = x[position]
        size = fabs(before)
        # Bits of numbers that are not negative have their order, and NaN comes last.
        if unlikely(bits_of(size) >= limit):
            return position
        h = absolute + relative * (size if size > one else one)
        saved, above, below = bits_of(before), bits_of(before + h), bits_of(before - h)
        width = (before + h) - (before - h)
        put(&x[position], above)
        failed = evaluate(kind, function, n, x, user, &ahead)
        if unlikely(failed != 0 or not holds(&x[position], above)):
            break
        put(&x[position], below)
        failed = evaluate(kind, function, n, x, user, &behind)
        if unlikely(failed != 0 or not holds(&x[position], below)):
            break
        put(&x[position], saved)
        # From 0.0 on, as `combine` sums: -0.0 becomes 0.0.
        out[position] = 0.0 + (ahead - behind) / width
        position += 1
    else:
        return position
    put(&x[position], saved)
    ending.code, ending.outcome = failed, WRITTEN if failed == 0 else FAILED
    return position


# A loop for each kind, which the compiler writes, and to each its registers: called by address,
# none becomes a part of a larger function, which would need some for itself.

ctypedef intptr_t (*Loop)(void*, intptr_t, double*, void*, double*, double, double, intptr_t,
                          intptr_t, Ending*) noexcept nogil

cdef Loop LOOPS[4]


cdef intptr_t run_narrow(void* function, intptr_t n, double* x, void* user, double* out,
                         double absolute, double relative, intptr_t position, intptr_t stop,
                         Ending* ending) noexcept nogil:
    return run_common(0, function, n, x, user, out, absolute, relative, position, stop, ending)


cdef intptr_t run_wide(void* function, intptr_t n, double* x, void* user, double* out,
                       double absolute, double relative, intptr_t position, intptr_t stop,
                       Ending* ending) noexcept nogil:
    return run_common(WIDE, function, n, x, user, out, absolute, relative, position, stop, ending)


cdef intptr_t run_narrow_status(void* function, intptr_t n, double* x, void* user, double* out,
                                double absolute, double relative, intptr_t position, intptr_t stop,
                                Ending* ending) noexcept nogil:
    return run_common(STATUS, function, n, x, user, out, absolute, relative, position, stop, ending)


cdef intptr_t run_wide_status(void* function, intptr_t n, double* x, void* user, double* out,
                              double absolute, double relative, intptr_t position, intptr_t stop,
                              Ending* ending) noexcept nogil:
    return run_common(WIDE | STATUS, function, n, x, user, out, absolute, relative, position, stop,
                      ending)


LOOPS[0], LOOPS[WIDE], LOOPS[STATUS] = run_narrow, run_wide, run_narrow_status
LOOPS[WIDE | STATUS] = run_wide_status


cdef intptr_t run(NativePlan* native, intptr_t position, intptr_t stop) noexcept nogil:
    """Work from a position to `stop`; returns where it ended, and leaves an outcome."""
    native.ending.outcome = DONE
    while position < stop:
        if native.common != NULL:
            position = LOOPS[native.kind](
                native.function, native.n, native.x, native.user, native.common,
                native.plan.absolute, native.plan.relative, position, stop, &native.ending)
            if position == stop or native.ending.outcome != DONE:
                return position
        native.ending.outcome = measure_one(native, position)
        if native.ending.outcome != DONE:
            return position
        position += 1
    return position


# ---------------------------------------------------------------- called from Python

cdef int run_native(object f, object leaf, NativePlan* native, cnp.ndarray out, intptr_t start,
                    intptr_t stop) except -1:
    cdef cnp.ndarray array = leaf.real
    cdef cnp.ndarray owner = owner_of(array)
    cdef cnp.ndarray out_owner = None if out is None else owner_of(out)
    cdef Tracked mine, target
    cdef intptr_t position = start, size = 1, end  # one entry first, to see how long it takes
    cdef double began
    track(&mine, array, owner)
    native.function, native.user = PyLong_AsVoidPtr(f.address), PyLong_AsVoidPtr(f.user)
    native.kind = f.kind
    native.n, native.x = cnp.PyArray_SIZE(array), <double*> mine.array.data
    native.common = NULL
    if out is not None:
        track(&target, out, out_owner)
        native.out = &target.array
        if is_common(&native.plan) and target.array.contiguous and target.array.itemsize == 8:
            native.common = <double*> target.array.data - native.plan.first
    while True:
        end = min(position + size, stop)
        began = perf_counter() if end < stop else 0.0
        with nogil:
            position = run(native, position, end)
        if changed(&mine, array, owner):
            raise _errors.moved_error(leaf.path)
        if out is not None and resized(&target.owner, out_owner):
            raise _errors.moved_error("out")
        if position < end:
            refuse_native(native, leaf, position)
        PyErr_CheckSignals()
        if end == stop:
            return 0
        size = next_size(size, perf_counter() - began)


cdef inline bint is_common(const Plan* plan) noexcept:
    """Whether these are second-order central differences at automatic or uniform steps."""
    return (plan.count == 2 and plan.width < 0 and plan.rows[0] == 1.0 and plan.rows[1] == -1.0
            and plan.steps == NULL and plan.entries == NULL)


cpdef native_differentiate(object f, object argument, object leaf, object stencil, object steps,
                           double base, cnp.ndarray out, Py_ssize_t start, Py_ssize_t stop,
                           Py_ssize_t first=0):
    cdef NativePlan native
    plan_derivatives(&native.plan, stencil, steps, base, start, first)
    run_native(f, leaf, &native, out, start, stop)


cpdef native_differentiate_vectors(object f, object argument, object leaf, object stencil,
                                   object steps, cnp.ndarray base, cnp.ndarray out,
                                   Py_ssize_t start, Py_ssize_t stop, Py_ssize_t first,
                                   object outputs):
    cdef NativePlan native
    cdef cnp.ndarray scratch = plan_vectors(&native.plan, stencil, steps, base, out, start, first)
    run_native(f, leaf, &native, out, start, stop)


def native_sample(object f, object argument, object leaf, cnp.ndarray offsets, object steps,
                  cnp.ndarray entries, cnp.ndarray moved, cnp.ndarray values,
                  object outputs=None):
    cdef NativePlan native
    plan_samples(&native.plan, offsets, steps, entries, moved, values, outputs)
    run_native(f, leaf, &native, None, 0, cnp.PyArray_DIM(entries, 0))


cdef intptr_t next_size(intptr_t size, double seconds) noexcept:
    """Entries of the next slice, going by the time that this one took."""
    if seconds * GROWTH <= SLICE:
        return size * GROWTH
    return max(<intptr_t> 1, <intptr_t> (<double> size * (SLICE / seconds)))


cdef int refuse_native(const NativePlan* native, object leaf, intptr_t position) except -1:
    cdef intptr_t entry = entry_at(&native.plan, position)
    cdef double x = native.x[entry]
    cdef double h = step_at(&native.plan, position, x)
    if native.ending.outcome == VANISHED:
        raise _errors.step_vanished_error(leaf.name(entry), x, h, leaf.real.dtype)
    if native.ending.outcome == FAILED:
        raise _errors.ObjectiveError(native.ending.code, leaf.name(entry))
    raise _errors.written_error(leaf.name(entry), undone=True)


# ---------------------------------------------------------------- called from other extensions

cdef enum:
    METHODS = 3
    ORDERS = 9             # and the order 0, which there is not

# As in fastgrad/_stencils.py, by method and order: quotients (0 where there is no such method), and
# for each the offsets of its points and its weight. Computed here, as other extensions call without
# the GIL and must not depend on what Python has imported.
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
    cdef Ending ending
    cdef bint common = method == CENTRAL and order == 2
    if not (common or is_method(method, order)) or not 0.0 <= eps < INFINITY:
        return REFUSED
    ending.outcome = DONE
    relative = 0.0 if eps > 0.0 else RELATIVE_STEPS[order]
    if common:
        reached = LOOPS[WIDE](<void*> f, n, x, user_data, g, eps, relative, start, stop, &ending)
        if reached == stop:
            return DONE
    if ending.outcome == DONE:
        reached = run_any(f, user_data, n, x, g, method, order, eps, relative, reached, stop,
                          &ending)
    if reached < stop and stopped_at != NULL:
        stopped_at[0] = reached
    return ending.outcome


cdef bint is_method(int method, int order) noexcept nogil:
    return 0 <= method < METHODS and 0 <= order < ORDERS and LENGTHS[method][order] != 0


cdef intptr_t run_any(Objective f, void* user_data, intptr_t n, double* x, double* g, int method,
                      int order, double eps, double relative, intptr_t start, intptr_t stop,
                      Ending* ending) noexcept nogil:
    """`run` for any method; a plan to carry out costs as much as a few evaluations."""
    cdef View out
    cdef NativePlan native
    cdef Plan* plan = &native.plan
    cdef intptr_t reached
    cdef int k
    plan.rows, plan.count = TABLES[method][order], 2 * LENGTHS[method][order]
    plan.inner = NULL
    for k in range(plan.count):
        plan.offsets[k] = plan.rows[3 * (k // 2) + k % 2]
    plan.absolute, plan.relative, plan.first = eps, relative, 0
    plan.base = 0.0 if method == CENTRAL else f(n, x, user_data)
    plan.steps, plan.entries, plan.width = NULL, NULL, -1
    native.kind, native.function, native.user = WIDE, <void*> f, user_data
    native.n, native.x, native.common = n, x, NULL
    out.data, out.itemsize, out.contiguous = <char*> g, 8, True
    native.out = &out
    reached = run(&native, start, stop)
    ending[0] = native.ending
    return reached
