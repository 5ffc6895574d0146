"""The entry loop: perturb in place, evaluate, put the saved bits back; and the filling of batches.

`fastgrad/_reference.py` is the contract: same names, same signatures, same results to the last
bit, but for checksums. The arithmetic (`load`, `step_of`, `place`, `write`, `combine`) is `noexcept nogil` and knows
nothing of Python, so that any kind of objective can drive it. The loop over a C function is in
native.pxi, and the part of it that other extensions may call in fastgrad/_kernel.pxd; what an array
looks like is in memory.pxi, values that are vectors are in vectors.pxi, moves of many entries at
once are in many.pxi, the gradient by one small array in batch.pxi, what tells noise from values is
in noise.pxi, quotients at many steps are in steps.pxi, what values at larger scales say is in
beside.pxi, what a first look at a gradient asks for in first.pxi, and colors of sparse matrices are
in coloring.pxi.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check, PyFloat_CheckExact
from cpython.long cimport PyLong_AsVoidPtr
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.pythread cimport PyThread_get_thread_ident
from libc.float cimport DBL_EPSILON, DBL_MAX
from libc.math cimport INFINITY, NAN, fabs, floor, frexp, ldexp, pow, sqrt
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, intptr_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from time import perf_counter

cimport cython
cimport numpy as cnp
from numpy import errstate

from fastgrad import _errors
from fastgrad._memory import locks, next_key, overwritten, refuse_if_locked
from fastgrad._returns import as_scalar, as_scalars, at_base, at_block

cdef extern from "Python.h":
    object PyObject_CallOneArg(object callable, object argument)
    ctypedef object (*vectorcallfunc)(object, PyObject* const*, size_t, PyObject*)
    vectorcallfunc PyVectorcall_Function(object callable)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    char* PyOS_double_to_string(double value, char code, int precision, int flags, int* kind)

cdef extern from "numpy/arrayobject.h":
    PyTypeObject PyArray_Type
    cnp.ndarray PyArray_View(cnp.ndarray array, void* dtype, PyTypeObject* type)

cnp.import_array()

cdef double LOG10_2 = 0.30102999566398120

cdef enum:
    MAX_DIMS = 64
    MAX_QUOTIENTS = 4
    MAX_POINTS = 16       # of a table of differences, and more than its orders
    SIGNALS_EVERY = 16    # entries between looks for Ctrl-C, for an `f` that is not Python


# ---------------------------------------------------------------- memory: where an entry lives

include "memory.pxi"

# ---------------------------------------------------------------- arithmetic, free of Python

cdef struct Cell:
    char* address
    int itemsize
    uint64_t saved         # the bits, not the value: a signalling NaN must survive
    uint64_t written
    double x


cdef inline void load(Cell* cell, const View* view, Py_ssize_t entry) noexcept nogil:
    """Remember where the entry lives and the bits it holds."""
    cell.address = locate(view, entry)
    cell.itemsize = view.itemsize
    if cell.itemsize == 4:
        cell.x = (<float*> cell.address)[0]
        memcpy(&cell.saved, cell.address, 4)
    else:
        cell.x = (<double*> cell.address)[0]
        memcpy(&cell.saved, cell.address, 8)


cdef inline double step_of(double x, double absolute, double relative) noexcept nogil:
    return absolute + relative * (fabs(x) if fabs(x) > 1.0 else 1.0)


cdef inline void place(double* points, const Cell* cell, const double* offsets, int count,
                       double h) noexcept nogil:
    """The points really evaluated: the nearest numbers that the entry's type can hold."""
    cdef int k
    for k in range(count):
        points[k] = cell.x + offsets[k] * h
    # A loop of its own: GCC 12 miscompiles a choice between rounding and not inside the first.
    if cell.itemsize == 4:
        for k in range(count):
            points[k] = <float> points[k]


cdef inline void write(Cell* cell, double point) noexcept nogil:
    cdef float narrow
    if cell.itemsize == 4:
        narrow = <float> point
        memcpy(&cell.written, &narrow, 4)
        memcpy(cell.address, &narrow, 4)
    else:
        memcpy(&cell.written, &point, 8)
        memcpy(cell.address, &point, 8)


cdef inline bint unchanged(const Cell* cell) noexcept nogil:
    """Whether the entry still holds what `write` wrote."""
    if cell.itemsize == 4:
        return memcmp(cell.address, &cell.written, 4) == 0
    return memcmp(cell.address, &cell.written, 8) == 0


cdef inline void restore(const Cell* cell) noexcept nogil:
    if cell.itemsize == 4:
        memcpy(cell.address, &cell.saved, 4)
    else:
        memcpy(cell.address, &cell.saved, 8)


cdef inline void store(const View* view, Py_ssize_t entry, double value) noexcept nogil:
    if view.itemsize == 4:
        (<float*> locate(view, entry))[0] = <float> value
    else:
        (<double*> locate(view, entry))[0] = value


cdef inline bint distinct(const double* points, int quotients) noexcept nogil:
    """Whether every quotient has a width left after rounding."""
    cdef int j
    for j in range(quotients):
        if points[2 * j] == points[2 * j + 1]:
            return False
    return True


cdef inline double combine(const double* rows, int quotients,
                           const double* points, const double* values) noexcept nogil:
    """Weighted sum of difference quotients, each over the step actually taken."""
    cdef int j
    cdef double width
    cdef double total = 0.0
    for j in range(quotients):
        width = points[2 * j] - points[2 * j + 1]
        if not width < INFINITY:
            return NAN
        total += rows[3 * j + 2] * ((values[2 * j] - values[2 * j + 1]) / width)
    return total


cdef inline bint doubtful(const double* inner, int quotients, double apart,
                          double noise, const double* points, const double* values,
                          double derivative) noexcept nogil:
    """Whether the inner difference, of all quotients but the last, is too far from the derivative."""
    cdef int j
    cdef double width
    cdef double total = 0.0
    cdef double largest = 0.0
    for j in range(2 * quotients):
        if fabs(values[j]) > largest:
            largest = fabs(values[j])
    for j in range(quotients - 1):
        width = points[2 * j] - points[2 * j + 1]
        total += inner[j] * ((values[2 * j] - values[2 * j + 1]) / width)
    width = points[0] - points[1]
    return not fabs(derivative - total) <= apart * fabs(derivative) + noise * (largest / width)


# ---------------------------------------------------------------- what a loop is to do

cdef struct Vector:
    int type               # of the arrays that `f` returns, float64 or float32; -1: of another kind
    int ndim
    cnp.npy_intp shape[MAX_DIMS]


cdef struct Plan:
    const double* rows     # of the stencil, to combine by; NULL where samples are wanted
    const double* inner    # weights of its inner difference, NULL where nothing is doubted
    double apart           # how far both may be apart: see `Steps`
    double noise
    int count              # points of each entry
    double offsets[2 * MAX_QUOTIENTS]
    double absolute
    double relative
    double base            # stands for the value at offset 0
    const double* steps    # by position, or NULL
    const intptr_t* entries  # by position, or NULL: all of them
    intptr_t first         # the entry whose derivative is stored first
    double* moved          # of shape (positions, count)
    double* values         # the same, or (positions, count, width): of vectors to combine, (count, width)
    intptr_t width         # of the vectors that `f` returns; -1 where it returns numbers
    Vector vector          # how they look where they need no conversion
    const double* base_vector  # stands for the value at offset 0


cdef inline double derivative_of(const Plan* plan, const double* points,
                                 const double* values) noexcept nogil:
    """What is stored for an entry: NaN where the derivative is doubtful."""
    cdef int quotients = plan.count // 2
    cdef double derivative = combine(plan.rows, quotients, points, values)
    if plan.inner != NULL and doubtful(plan.inner, quotients, plan.apart, plan.noise,
                                       points, values, derivative):
        return NAN
    return derivative


cdef void plan_steps(Plan* plan, object steps):
    cdef cnp.ndarray given = steps.given
    plan.absolute, plan.relative = steps.absolute, steps.relative
    plan.steps = NULL if given is None else <const double*> cnp.PyArray_DATA(given)


cdef void plan_offsets(Plan* plan, cnp.ndarray offsets):
    plan.count = <int> cnp.PyArray_DIM(offsets, 0)
    memcpy(plan.offsets, cnp.PyArray_DATA(offsets), plan.count * sizeof(double))


cdef void plan_doubt(Plan* plan, object stencil, object steps):
    cdef cnp.ndarray inner
    plan.inner = NULL
    if plan.count > 2 and steps.apart > 0.0 and stencil.inner is not None:
        inner = stencil.inner
        plan.inner = <const double*> cnp.PyArray_DATA(inner)
        plan.apart, plan.noise = steps.apart, steps.noise


cdef void plan_derivatives(Plan* plan, object stencil, object steps, double base, intptr_t start,
                           intptr_t first):
    cdef cnp.ndarray table = stencil.table
    plan_steps(plan, steps)
    plan_offsets(plan, stencil.offsets)
    plan.rows = <const double*> cnp.PyArray_DATA(table)
    plan.base, plan.first = base, first
    plan_doubt(plan, stencil, steps)
    if plan.steps != NULL:
        plan.steps -= start  # they are those of the entries from `start` on
    plan.entries, plan.moved, plan.values, plan.width = NULL, NULL, NULL, -1


cdef int plan_samples(Plan* plan, cnp.ndarray offsets, object steps, cnp.ndarray entries,
                      cnp.ndarray moved, cnp.ndarray values, object outputs) except -1:
    plan_steps(plan, steps)
    plan_offsets(plan, offsets)
    plan.rows, plan.inner, plan.base, plan.first = NULL, NULL, NAN, 0
    plan.entries = <const intptr_t*> cnp.PyArray_DATA(entries)
    plan.moved = <double*> cnp.PyArray_DATA(moved)
    plan.values = <double*> cnp.PyArray_DATA(values)
    plan.width = -1
    if outputs is not None:
        plan.width = cnp.PyArray_DIM(values, 2)
        plan_vector(&plan.vector, outputs)


cdef inline double step_at(const Plan* plan, intptr_t position, double x) noexcept nogil:
    if plan.steps != NULL:
        return plan.steps[position]
    if plan.rows == NULL and not fabs(x) < INFINITY:
        return plan.absolute + plan.relative  # samples beside infinity are no reason to stop
    return step_of(x, plan.absolute, plan.relative)


cdef inline intptr_t entry_at(const Plan* plan, intptr_t position) noexcept nogil:
    return position if plan.entries == NULL else plan.entries[position]


cdef inline void keep_samples(const Plan* plan, intptr_t position, double x, const double* points,
                              const double* values) noexcept nogil:
    """Displacements really made, and the values there unless they are vectors, kept already."""
    cdef double* moved = plan.moved + position * plan.count
    cdef int k
    for k in range(plan.count):
        moved[k] = points[k] - x
    if plan.width < 0:
        memcpy(plan.values + position * plan.count, values, plan.count * sizeof(double))


# ---------------------------------------------------------------- values that are vectors

include "vectors.pxi"

# ---------------------------------------------------------------- the loop over a Python `f`

cdef inline object call(object f, vectorcallfunc vectorcall, object argument):
    """``f(argument)``; the pointer saves the look-up and the checks that only debug callees."""
    cdef PyObject* arguments[2]
    if vectorcall == NULL:
        return PyObject_CallOneArg(f, argument)
    arguments[1] = <PyObject*> argument
    return vectorcall(f, &arguments[1], 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)


cdef class Forgiving:
    """An `f` that may raise: see the twin. The loops look for it, and call what is inside."""

    cdef object f
    cdef object raised
    cdef object nothing

    def __init__(self, f, raised, nothing):
        self.f, self.raised, self.nothing = f, raised, nothing

    def __call__(self, argument):
        return forgiven(self.f, NULL, argument, self)


forgiving = Forgiving


cdef inline Forgiving forgiving_or_none(object f):
    return <Forgiving> f if type(f) is Forgiving else None


cdef inline object forgiven(object f, vectorcallfunc vectorcall, object argument, Forgiving soft):
    # Exceptions are in a function of their own: with them the compiler does not inline this one.
    if soft is None:
        return call(f, vectorcall, argument)
    return noted(f, vectorcall, argument, soft)


cdef object noted(object f, vectorcallfunc vectorcall, object argument, Forgiving soft):
    """``f(argument)``, or nothing where it raised, of which a note is taken."""
    try:
        return call(f, vectorcall, argument)
    except Exception as error:
        soft.raised.note(error)
        return soft.nothing()


# Out of the loop's way: what it rarely needs, in functions of their own, keeps it small and fast.

cdef double reduced(object value, object leaf, intptr_t entry) except? -1.0:
    return as_scalar(value, leaf.name, entry)


cdef int refuse(bint gone, object leaf, intptr_t entry) except -1:
    raise _errors.moved_error(leaf.path) if gone else _errors.written_error(leaf.name(entry), undone=True)


cdef int run_python(object f, object argument, object leaf, const Plan* plan, cnp.ndarray out,
                    intptr_t start, intptr_t stop, object outputs) except -1:
    cdef cnp.ndarray array = leaf.real
    cdef cnp.ndarray owner = owner_of(array)
    cdef cnp.ndarray out_owner = None if out is None else owner_of(out)
    cdef Forgiving soft = forgiving_or_none(f)
    f = f if soft is None else soft.f
    cdef vectorcallfunc vectorcall = PyVectorcall_Function(f)
    cdef Tracked mine, target
    cdef Cell cell
    cdef double points[2 * MAX_QUOTIENTS]
    cdef double values[2 * MAX_QUOTIENTS]
    cdef double h
    cdef object value
    cdef int k
    cdef bint held = False
    cdef intptr_t position = start
    cdef intptr_t entry = start
    track(&mine, array, owner)
    if out is not None:
        track(&target, out, out_owner)
    try:
        while position < stop:
            entry = entry_at(plan, position)
            load(&cell, &mine.array, entry)
            h = step_at(plan, position, cell.x)
            place(points, &cell, plan.offsets, plan.count, h)
            # Of samples a step that vanished is the caller's to see, in displacements of zero.
            if out is not None and not distinct(points, plan.count // 2):
                raise _errors.step_vanished_error(leaf.name(entry), cell.x, h, array.dtype)
            for k in range(plan.count):
                if plan.offsets[k] == 0.0:
                    values[k] = plan.base
                    continue
                write(&cell, points[k])
                held = True
                value = forgiven(f, vectorcall, argument, soft)
                if plan.width >= 0:
                    keep_vector(plan, position, k, value, leaf, entry, outputs)
                elif PyFloat_Check(value):
                    values[k] = PyFloat_AS_DOUBLE(value)
                else:
                    values[k] = reduced(value, leaf, entry)
                # Before anything is written again: `f` may have freed the memory.
                if changed(&mine, array, owner) or not unchanged(&cell):
                    refuse(changed(&mine, array, owner), leaf, entry)
            restore(&cell)
            held = False  # nothing moved is left for `finally`
            if out is None:
                keep_samples(plan, position, cell.x, points, values)
            elif resized(&target.owner, out_owner):
                raise _errors.moved_error("out")
            elif plan.width >= 0:
                combine_vectors(plan, points, &target.array, entry)
            else:
                store(&target.array, entry - plan.first, derivative_of(plan, points, values))
            position += 1
            if position % SIGNALS_EVERY == 0:
                PyErr_CheckSignals()
    except Exception as error:
        _errors.annotate(error, leaf.name(entry))
        raise
    finally:
        if held and alive(&mine, owner):
            restore(&cell)


cpdef differentiate(object f, object argument, object leaf, object stencil, object steps,
                    double base, cnp.ndarray out, Py_ssize_t start, Py_ssize_t stop,
                    Py_ssize_t first=0):
    cdef Plan plan
    plan_derivatives(&plan, stencil, steps, base, start, first)
    run_python(f, argument, leaf, &plan, out, start, stop, None)


def sample(object f, object argument, object leaf, cnp.ndarray offsets, object steps,
           cnp.ndarray entries, cnp.ndarray moved, cnp.ndarray values, object outputs=None):
    cdef Plan plan
    plan_samples(&plan, offsets, steps, entries, moved, values, outputs)
    run_python(f, argument, leaf, &plan, None, 0, cnp.PyArray_DIM(entries, 0), outputs)


def small_gradient(object f, object leaf, object stencil, object steps, bint native,
                   object known=None):
    cdef cnp.ndarray array = leaf.array
    cdef cnp.ndarray owner = owner_of(array)
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_TYPE(array), False)
    cdef Tracked mine
    cdef double base = 0.0
    cdef object written = None
    cdef object key = next_key()
    cdef bytes saved = None
    cdef bint doubt = False
    try:
        (<dict> locks)[key] = (PyThread_get_thread_ident(), (array,))
        if len(<dict> locks) > 1:
            refuse_if_locked(key, (array,))
        # Not before: another thread's moves would be taken for the values.
        track(&mine, array, owner)
        saved = mine.array.data[:mine.array.nbytes]
        if stencil.uses_base:
            base = as_scalar(f(array) if known is None else known, at_base, 0)
            if changed(&mine, array, owner):
                raise _errors.moved_error(leaf.path)
        if native:
            native_differentiate(f, array, leaf, stencil, steps, base, out, 0, out.size)
        else:
            differentiate(f, array, leaf, stencil, steps, base, out, 0, out.size)
        doubt = any_doubt(&mine.array, out, steps.small, steps.large)
    finally:
        written = put_back(&mine, owner, saved, key, leaf)
    if written is not None:
        raise written
    return out, doubt, base if stencil.uses_base else known


def small_gradients(object f, object argument, list leaves, object stencil, list steps,
                    object known=None):
    cdef tuple arrays = tuple([leaf.array for leaf in leaves])
    cdef list found = []
    cdef list saved = []
    cdef list results = []
    cdef Fingerprint each
    cdef cnp.ndarray out
    cdef bytes bits
    cdef Py_ssize_t k
    cdef double base = 0.0
    cdef object written = None
    cdef object key = next_key()
    cdef bint doubt = False
    try:
        (<dict> locks)[key] = (PyThread_get_thread_ident(), arrays)
        if len(<dict> locks) > 1:
            refuse_if_locked(key, arrays)
        # Not before: see above.
        for array in arrays:
            each = found_in(array)
            found.append(each)
            saved.append(each.held.array.data[:each.held.array.nbytes])
        if stencil.uses_base:
            base = as_scalar(f(argument) if known is None else known, at_base, 0)
        for k in range(len(arrays)):
            each, step = found[k], steps[k]
            intact(leaves[k], each)
            out = cnp.PyArray_EMPTY(each.held.array.ndim, each.held.array.shape,
                                    each.held.array.type, False)
            differentiate(f, argument, leaves[k], stencil, step, base, out, 0, out.size)
            doubt |= any_doubt(&each.held.array, out, step.small, step.large)
            results.append(out)
        for k in range(len(arrays)):
            intact(leaves[k], found[k])  # also while others moved
    finally:
        now = []
        for k in range(len(saved)):
            each = found[k]
            now.append(repaired(&each.held, each.owner, saved[k]))
        (<dict> locks).pop(key, None)
        for k in range(len(now)):
            each = found[k]
            written = written or told(&each.held, each.owner, saved[k], now[k], leaves[k])
    if written is not None:
        raise written
    return results, doubt, base if stencil.uses_base else known


cdef bint share_memory(tuple arrays):
    """Whether two plain arrays have a byte in common."""
    cdef cnp.ndarray a, b
    cdef Py_ssize_t i, k
    for k in range(len(arrays)):
        a = arrays[k]
        for i in range(k):
            b = arrays[i]
            if (cnp.PyArray_BYTES(a) < cnp.PyArray_BYTES(b) + cnp.PyArray_NBYTES(b)
                    and cnp.PyArray_BYTES(b) < cnp.PyArray_BYTES(a) + cnp.PyArray_NBYTES(a)):
                return True
    return False


# What ends a run on small arrays, in two steps: no call into Python, which an interrupt could end,
# before all bits are back.

cdef bytes repaired(Tracked* mine, cnp.ndarray owner, bytes saved):
    """The bits that are there, where others were saved and are put back."""
    cdef bytes now
    cdef const char* before
    cdef cnp.npy_intp size = mine.array.nbytes
    if saved is None or not alive(mine, owner):
        return None
    before = saved
    if memcmp(mine.array.data, before, size) == 0:
        return None
    now = mine.array.data[:size]
    memcpy(mine.array.data, before, size)
    return now


cdef object told(Tracked* mine, cnp.ndarray owner, bytes saved, bytes now, object leaf):
    """What to say of memory that is gone, or was `repaired`."""
    if saved is not None and not alive(mine, owner):
        return _errors.moved_error(leaf.path)
    if now is None:
        return None
    like = cnp.PyArray_EMPTY(mine.array.ndim, mine.array.shape, mine.array.type, False)
    return overwritten(leaf.path, now, saved, like)


cdef object put_back(Tracked* mine, cnp.ndarray owner, bytes saved, object key, object leaf):
    """End a run on one array; returns what to say of it if `f` wrote into it."""
    cdef bytes now = repaired(mine, owner, saved)
    (<dict> locks).pop(key, None)
    return told(mine, owner, saved, now, leaf)


cdef bint any_doubt(const View* array, cnp.ndarray out, double small, double large):
    """Whether an entry is small or large, or a derivative is no number: see `Steps`."""
    cdef const char* derivatives = <const char*> cnp.PyArray_DATA(out)
    cdef Py_ssize_t i
    cdef double x, d
    for i in range(array.nbytes // array.itemsize):
        if array.itemsize == 4:
            x, d = (<float*> array.data)[i], (<const float*> derivatives)[i]
        else:
            x, d = (<double*> array.data)[i], (<const double*> derivatives)[i]
        if (fabs(x) < small and x != 0.0) or fabs(x) > large or not fabs(d) < INFINITY:
            return True
    return False


# ---------------------------------------------------------------- many entries, many points

include "directions.pxi"
include "many.pxi"
include "noise.pxi"
include "steps.pxi"
include "beside.pxi"
include "first.pxi"
include "batch.pxi"

# ---------------------------------------------------------------- sparse matrices

include "coloring.pxi"

# ---------------------------------------------------------------- the loop over a native `f`

include "native.pxi"
