"""The entry loop: perturb in place, evaluate, put the saved bits back; and the filling of batches.

`fastgrad/_reference.py` is the contract: same names, same signatures, same results to the last
bit. The arithmetic (`seize`, `step_of`, `place`, `poke`, `combine`) is `noexcept nogil` and knows nothing
of Python, so that any kind of objective can drive it. The loop over a C function is in native.pxi,
what of it other extensions may call in fastgrad/_kernel.pxd.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_AsVoidPtr
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from libc.float cimport DBL_EPSILON
from libc.math cimport INFINITY, NAN, fabs
from libc.stdint cimport int16_t, intptr_t, uint64_t
from libc.string cimport memcmp, memcpy

from time import perf_counter

cimport cython
cimport numpy as cnp
from numpy import ndarray

from fastgrad import _errors
from fastgrad._memory import claims, next_key, overwritten, refuse_if_taken
from fastgrad._evaluation.native import Native
from fastgrad._returns import as_scalar, at_base

cdef extern from "Python.h":
    object PyObject_CallOneArg(object callable, object argument)
    ctypedef object (*vectorcallfunc)(object, PyObject* const*, size_t, PyObject*)
    vectorcallfunc PyVectorcall_Function(object callable)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET

cnp.import_array()

cdef enum:
    MAX_DIMS = 64
    MAX_QUOTIENTS = 4
    SIGNALS_EVERY = 16    # entries between looks for Ctrl-C, for an `f` that is not Python


# ---------------------------------------------------------------- memory: where an entry lives

cdef struct View:
    char* data
    int ndim
    int itemsize           # 4: float32, 8: float64
    int type
    bint contiguous
    bint writeable
    cnp.npy_intp nbytes
    cnp.npy_intp shape[MAX_DIMS]
    cnp.npy_intp strides[MAX_DIMS]


cdef struct Hold:
    View array             # as `f` knows it
    View owner             # of its memory: the array itself, or what it is a view of
    bint is_view


cdef struct Cell:
    char* address
    int itemsize
    uint64_t saved         # the bits, not the value: a signalling NaN must survive
    uint64_t written
    double x


cdef void look(View* view, cnp.ndarray array) noexcept:
    cdef int d
    view.data = cnp.PyArray_BYTES(array)
    view.ndim = cnp.PyArray_NDIM(array)
    view.itemsize = <int> cnp.PyArray_ITEMSIZE(array)
    view.type = cnp.PyArray_TYPE(array)
    view.contiguous = cnp.PyArray_IS_C_CONTIGUOUS(array)
    view.writeable = cnp.PyArray_ISWRITEABLE(array)
    view.nbytes = cnp.PyArray_NBYTES(array)
    for d in range(view.ndim):
        view.shape[d] = cnp.PyArray_DIM(array, d)
        view.strides[d] = cnp.PyArray_STRIDE(array, d)


cdef inline bint resized(const View* view, cnp.ndarray array) noexcept:
    """Whether the memory that `look` saw may be gone: touching it would then be unsafe."""
    cdef int d
    cdef const cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    if cnp.PyArray_BYTES(array) != view.data or cnp.PyArray_NDIM(array) != view.ndim:
        return True
    for d in range(view.ndim):
        if shape[d] != view.shape[d]:
            return True
    return False


cdef inline bint moved(const View* view, cnp.ndarray array) noexcept:
    """Whether the array no longer is what `look` saw."""
    cdef int d
    cdef const cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    cdef const cnp.npy_intp* strides = cnp.PyArray_STRIDES(array)
    if (cnp.PyArray_BYTES(array) != view.data or cnp.PyArray_NDIM(array) != view.ndim
            or cnp.PyArray_TYPE(array) != view.type
            or cnp.PyArray_ISWRITEABLE(array) != view.writeable):
        return True
    for d in range(view.ndim):
        if shape[d] != view.shape[d] or strides[d] != view.strides[d]:
            return True
    return False


cdef cnp.ndarray owner_of(cnp.ndarray array):
    """The array whose memory this one is a view of."""
    cdef object base = cnp.get_array_base(array)
    while isinstance(base, cnp.ndarray):
        array = <cnp.ndarray> base
        base = cnp.get_array_base(array)
    return array


cdef void hold(Hold* held, cnp.ndarray array, cnp.ndarray owner) noexcept:
    look(&held.array, array)
    look(&held.owner, owner)
    held.is_view = owner is not array


cdef inline bint disturbed(const Hold* held, cnp.ndarray array, cnp.ndarray owner) noexcept:
    return moved(&held.array, array) or (held.is_view and resized(&held.owner, owner))


cdef inline bint stands(const Hold* held, cnp.ndarray owner) noexcept:
    """Whether the memory is still there, so that saved bits can be put back into it."""
    return (cnp.PyArray_BYTES(owner) == held.owner.data
            and cnp.PyArray_NBYTES(owner) == held.owner.nbytes)


cdef class Memory:
    cdef readonly cnp.ndarray array
    cdef readonly cnp.ndarray owner
    cdef readonly cnp.ndarray view
    cdef Hold held
    cdef bint native

    def __init__(self, cnp.ndarray array):
        self.array = array
        self.owner = owner_of(array)
        self.view = array.view(ndarray)
        hold(&self.held, array, self.owner)
        self.native = cnp.PyArray_ISNOTSWAPPED(array)

    def stands(self):
        return stands(&self.held, self.owner)

    def moved(self):
        return (moved(&self.held.array, self.array) or not stands(&self.held, self.owner)
                or cnp.PyArray_ISNOTSWAPPED(self.array) != self.native)


cdef inline char* locate(const View* view, Py_ssize_t entry) noexcept nogil:
    """Address of the entry with this index in C order, whatever the memory's order."""
    cdef int d
    cdef char* address = view.data
    if view.contiguous:
        return address + entry * view.itemsize
    for d in range(view.ndim - 1, -1, -1):
        address += (entry % view.shape[d]) * view.strides[d]
        entry //= view.shape[d]
    return address


def is_native(cnp.ndarray array):
    cdef int type = cnp.PyArray_TYPE(array)
    return ((type == cnp.NPY_FLOAT64 or type == cnp.NPY_FLOAT32)
            and cnp.PyArray_ISALIGNED(array) and cnp.PyArray_ISNOTSWAPPED(array))


def is_plain(cnp.ndarray array):
    return is_native(array) and cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISWRITEABLE(array)


# ---------------------------------------------------------------- arithmetic, free of Python

cdef inline void seize(Cell* cell, const View* view, Py_ssize_t entry) noexcept nogil:
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


cdef inline void poke(Cell* cell, double point) noexcept nogil:
    cdef float narrow
    if cell.itemsize == 4:
        narrow = <float> point
        memcpy(&cell.written, &narrow, 4)
        memcpy(cell.address, &narrow, 4)
    else:
        memcpy(&cell.written, &point, 8)
        memcpy(cell.address, &point, 8)


cdef inline bint intact(const Cell* cell) noexcept nogil:
    """Whether the entry still holds what `poke` wrote."""
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


cdef inline void offsets_of(double* offsets, cnp.ndarray table) noexcept:
    """Where the points of a stencil lie, in steps: the first two columns of its table."""
    cdef const double* rows = <const double*> cnp.PyArray_DATA(table)
    cdef int k
    for k in range(2 * <int> cnp.PyArray_DIM(table, 0)):
        offsets[k] = rows[3 * (k // 2) + k % 2]


# ---------------------------------------------------------------- the loop over a Python `f`

cdef inline object call(object f, vectorcallfunc vectorcall, object argument):
    """``f(argument)``; the pointer saves the look-up and the checks that only debug callees."""
    cdef PyObject* arguments[2]
    if vectorcall == NULL:
        return PyObject_CallOneArg(f, argument)
    arguments[1] = <PyObject*> argument
    return vectorcall(f, &arguments[1], 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)


# Out of the loop's way: what it rarely needs, in functions of their own, keeps it small and fast.

cdef double reduced(object value, object leaf, Py_ssize_t entry) except? -1.0:
    return as_scalar(value, leaf.name, entry)


cdef int refuse(bint gone, object leaf, Py_ssize_t entry) except -1:
    raise _errors.moved_error(leaf.path) if gone else _errors.written_error(leaf.name(entry), undone=True)


cpdef sweep(object f, object argument, object leaf, object stencil, double absolute,
            double relative, cnp.ndarray steps, double base, cnp.ndarray out, Py_ssize_t start,
            Py_ssize_t stop, cnp.ndarray entries=None, cnp.ndarray raw=None):
    cdef cnp.ndarray array = leaf.real
    cdef cnp.ndarray owner = owner_of(array)
    cdef cnp.ndarray out_owner = None if out is None else owner_of(out)
    cdef double* sample
    cdef cnp.ndarray table = stencil.table
    cdef const double* rows = <const double*> cnp.PyArray_DATA(table)
    cdef int quotients = <int> cnp.PyArray_DIM(table, 0)
    cdef vectorcallfunc vectorcall = PyVectorcall_Function(f)
    cdef Hold mine, target
    cdef Cell cell
    cdef double offsets[2 * MAX_QUOTIENTS]
    cdef double points[2 * MAX_QUOTIENTS]
    cdef double values[2 * MAX_QUOTIENTS]
    cdef double h
    cdef object value
    cdef int count = 2 * quotients
    cdef int k
    cdef bint held = False
    cdef Py_ssize_t position = start
    cdef Py_ssize_t entry = start
    if leaf.found is not None:
        leaf.check_found()
    hold(&mine, array, owner)
    offsets_of(offsets, table)
    if raw is None:
        hold(&target, out, out_owner)
    try:
        while position < stop:
            entry = position
            if entries is not None:
                entry = (<cnp.npy_intp*> cnp.PyArray_DATA(entries))[position]
            seize(&cell, &mine.array, entry)
            if steps is None:
                h = step_of(cell.x, absolute, relative)
            else:
                h = (<double*> cnp.PyArray_DATA(steps))[position]
            place(points, &cell, offsets, count, h)
            if raw is None and not distinct(points, quotients):
                raise _errors.step_vanished_error(leaf.name(entry), cell.x, h, array.dtype)
            for k in range(count):
                if offsets[k] == 0.0:
                    values[k] = base
                    continue
                poke(&cell, points[k])
                held = True
                value = call(f, vectorcall, argument)
                if PyFloat_Check(value):
                    values[k] = PyFloat_AS_DOUBLE(value)
                else:
                    values[k] = reduced(value, leaf, entry)
                if disturbed(&mine, array, owner) or not intact(&cell):
                    refuse(disturbed(&mine, array, owner), leaf, entry)
            restore(&cell)
            held = False
            position += 1
            if raw is not None:
                sample = <double*> cnp.PyArray_DATA(raw) + 2 * count * (position - 1)
                for k in range(count):
                    sample[2 * k] = points[k] - cell.x
                    sample[2 * k + 1] = values[k]
            elif resized(&target.owner, out_owner):
                raise _errors.moved_error("out")
            else:
                store(&target.array, entry, combine(rows, quotients, points, values))
            if position % SIGNALS_EVERY == 0:
                PyErr_CheckSignals()
    except Exception as error:
        _errors.annotate(error, leaf.name(entry))
        raise
    finally:
        if held and stands(&mine, owner):
            restore(&cell)


def small_gradient(object f, object leaf, object stencil, double relative):
    cdef cnp.ndarray array = leaf.array
    cdef cnp.ndarray owner = owner_of(array)
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_TYPE(array), False)
    cdef Hold mine
    cdef double base = 0.0
    cdef object written = None
    cdef object key = next_key()
    cdef bytes saved = None
    cdef bytes now = None
    cdef bint gone
    try:
        (<dict> claims)[key] = (PyThread_get_thread_ident(), (array,))
        if len(<dict> claims) > 1:
            refuse_if_taken(key, (array,))
        # Not before: another thread's moves would be taken for the values.
        hold(&mine, array, owner)
        saved = mine.array.data[:mine.array.nbytes]
        if stencil.uses_base:
            base = as_scalar(f(array), at_base, 0)
            if disturbed(&mine, array, owner):
                raise _errors.moved_error(leaf.path)
        if type(f) is Native:
            native_sweep(f, array, leaf, stencil, 0.0, relative, None, base, out, 0, out.size)
        else:
            sweep(f, array, leaf, stencil, 0.0, relative, None, base, out, 0, out.size)
    finally:
        gone = saved is not None and not stands(&mine, owner)
        if (saved is not None and not gone
                and memcmp(mine.array.data, <const char*> saved, mine.array.nbytes) != 0):
            now = mine.array.data[:mine.array.nbytes]
            memcpy(mine.array.data, <const char*> saved, mine.array.nbytes)
        (<dict> claims).pop(key, None)
        if gone:
            written = _errors.moved_error(leaf.path)
        elif now is not None:
            written = overwritten(leaf.path, now, saved, out)
    if written is not None:
        raise written
    return out


# ---------------------------------------------------------------- many entries, many points

include "many.pxi"

# ---------------------------------------------------------------- the loop over a native `f`

include "native.pxi"
