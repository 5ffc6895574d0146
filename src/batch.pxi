# The whole gradient by one small array, in two calls of a batched `f`: included by _kernel.pyx.

cdef cnp.ndarray rows_for(cnp.ndarray array, cnp.npy_intp count):
    """Memory for so many arrays like this one, one below the other."""
    cdef cnp.npy_intp shape[MAX_DIMS]
    cdef int d
    shape[0] = count
    for d in range(cnp.PyArray_NDIM(array)):
        shape[d + 1] = cnp.PyArray_DIM(array, d)
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array) + 1, shape, cnp.PyArray_TYPE(array), False)


cdef void scaled(char* row, const View* array, double share, double off_zero) noexcept nogil:
    """This share of each entry, or another value where all are zero."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = array.nbytes // array.itemsize
    cdef bint zero = True
    for i in range(n):
        if array.itemsize == 4:
            zero &= (<float*> array.data)[i] == 0.0
            (<float*> row)[i] = <float> ((<float*> array.data)[i] * share)
        else:
            zero &= (<double*> array.data)[i] == 0.0
            (<double*> row)[i] = (<double*> array.data)[i] * share
    for i in range(n if zero else 0):
        if array.itemsize == 4:
            (<float*> row)[i] = <float> off_zero
        else:
            (<double*> row)[i] = off_zero


cdef cnp.ndarray column_of(object value, Py_ssize_t count, object where):
    """What a batched `f` returned: float64, contiguous."""
    cdef cnp.ndarray column
    if cnp.PyArray_CheckExact(value):
        column = value
        if (cnp.PyArray_TYPE(column) == cnp.NPY_FLOAT64 and cnp.PyArray_NDIM(column) == 1
                and cnp.PyArray_DIM(column, 0) == count and is_plain(column)):
            return column
    return as_scalars(value, count, where)


cdef inline bint alike(double a, double b, double rounding) noexcept nogil:
    """Whether two values are equal but for rounding, or neither is finite."""
    cdef double size = fabs(a) if fabs(a) > fabs(b) else fabs(b)
    if fabs(a) < INFINITY and fabs(b) < INFINITY:
        return fabs(a - b) <= rounding * size
    return not (fabs(a) < INFINITY or fabs(b) < INFINITY)


cdef object value_beside(object f, const View* view, cnp.ndarray array, tuple shares,
                         double off_zero, object where):
    """The value of the middle one of three rows, or None: `f` raised, or wrote into them."""
    cdef cnp.ndarray rows = rows_for(array, 3)
    cdef char* data = cnp.PyArray_BYTES(rows)
    cdef const char* before
    cdef cnp.ndarray column
    scaled(data, view, shares[0], off_zero)
    memcpy(data + view.nbytes, view.data, view.nbytes)
    scaled(data + 2 * view.nbytes, view, shares[1], off_zero)
    cdef bytes copy = data[:3 * view.nbytes]
    try:
        with errstate(all="ignore"):
            column = column_of(f(rows), 3, where)
    except Exception:
        return None
    before = copy
    if cnp.PyArray_BYTES(rows) != data or cnp.PyArray_NBYTES(rows) != 3 * view.nbytes:
        return None
    if memcmp(data, before, 3 * view.nbytes) != 0:
        return None
    return (<const double*> cnp.PyArray_DATA(column))[1]


cdef object in_two_calls(object f, const Tracked* mine, cnp.ndarray array, cnp.ndarray owner,
                         object leaf, object stencil, object steps, tuple beside, object where,
                         object known):
    cdef const View* view = &mine.array
    cdef Plan plan
    cdef Rows batch
    cdef View target
    cdef Py_ssize_t n = view.nbytes // view.itemsize
    cdef Py_ssize_t count = n * <Py_ssize_t> stencil.evaluations
    cdef Py_ssize_t row
    shares, off_zero, rounding = beside
    value = value_beside(f, view, array, shares, off_zero, where)
    if changed(mine, array, owner):
        raise _errors.moved_error(leaf.path)
    if value is None:
        return None
    cdef cnp.ndarray rows = rows_for(array, count + 1)
    batch.data, batch.own = cnp.PyArray_BYTES(rows), view[0]
    batch.width, batch.entries = view.nbytes, NULL
    for row in range(count + 1):
        memcpy(batch.data + row * batch.width, view.data, batch.width)
    plan_derivatives(&plan, stencil, steps, 0.0, 0, 0)
    cdef cnp.npy_intp size = n * plan.count
    cdef cnp.ndarray points = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT64, False)
    if fill(&batch, &plan, 0, n, <double*> cnp.PyArray_DATA(points)) >= 0:
        return None
    try:
        found = f(rows)
    except Exception as error:
        _errors.annotate_batch(error, where())
        raise
    cdef cnp.ndarray column = column_of(found, count + 1, where)
    cdef const double* values = <const double*> cnp.PyArray_DATA(column)
    if changed(mine, array, owner):
        raise _errors.moved_error(leaf.path)
    if not alike(value, values[count], rounding):
        return None
    base = values[count] if known is None else known
    plan.base = base
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(view.ndim, view.shape, view.type, False)
    describe(&target, out)
    collect(&plan, <const double*> cnp.PyArray_DATA(points), values, 0, n, &target)
    return out, any_doubt(view, out, steps.small, steps.large), base


def small_batch(object f, object leaf, object stencil, object steps, tuple beside, object where,
                object known=None):
    cdef cnp.ndarray array = leaf.array
    cdef cnp.ndarray owner = owner_of(array)
    cdef Tracked mine
    cdef object written = None
    cdef object key = next_key()
    cdef bytes saved = None
    try:
        (<dict> locks)[key] = (PyThread_get_thread_ident(), (array,))
        if len(<dict> locks) > 1:
            refuse_if_locked(key, (array,))
        track(&mine, array, owner)
        saved = mine.array.data[:mine.array.nbytes]
        found = in_two_calls(f, &mine, array, owner, leaf, stencil, steps, beside, where, known)
    finally:
        written = put_back(&mine, owner, saved, key, leaf)
    if written is not None:
        raise written
    return found
