# Values that are vectors: stored, and combined to rows of a Jacobian. Included by _kernel.pyx.

from fastgrad._outputs import Outputs


cdef int plan_vector(Vector* vector, object outputs) except -1:
    cdef object plain = outputs.plain
    cdef int d
    vector.type = -1
    if plain is None or len(plain.shape) > MAX_DIMS:
        return 0
    vector.type = cnp.NPY_FLOAT64 if plain.dtype.char == "d" else cnp.NPY_FLOAT32
    vector.ndim = <int> len(plain.shape)
    for d in range(vector.ndim):
        vector.shape[d] = plain.shape[d]
    return 0


cdef object described(const Vector* vector):
    """The outputs of an `f` that returns such arrays: made where a value is not one of them."""
    return Outputs.of(cnp.PyArray_EMPTY(vector.ndim, vector.shape, vector.type, False))


cdef inline bint is_plain_vector(object value) noexcept:
    """Whether it is an array whose numbers can be copied as they lie in memory."""
    return cnp.PyArray_CheckExact(value) and is_native(value) and cnp.PyArray_IS_C_CONTIGUOUS(value)


cdef inline bint needs_no_conversion(const Vector* vector, object value) noexcept:
    """Whether the numbers of a value lie in memory as those of the first value did."""
    cdef cnp.ndarray array
    cdef int d
    if not cnp.PyArray_CheckExact(value):
        return False
    array = <cnp.ndarray> value
    if (cnp.PyArray_TYPE(array) != vector.type or cnp.PyArray_NDIM(array) != vector.ndim
            or not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISALIGNED(array)
            or not cnp.PyArray_ISNOTSWAPPED(array)):
        return False
    for d in range(vector.ndim):
        if cnp.PyArray_DIM(array, d) != vector.shape[d]:
            return False
    return True


cdef void widen(double* target, const float* values, intptr_t n) noexcept nogil:
    cdef intptr_t i
    for i in range(n):
        target[i] = values[i]


cdef inline double* vector_at(const Plan* plan, intptr_t position, int k) noexcept nogil:
    """Where the value at a point goes; vectors to combine are kept for one entry at a time."""
    if plan.rows != NULL:
        position = 0
    return plan.values + (position * plan.count + k) * plan.width


cdef int keep_vector(const Plan* plan, intptr_t position, int k, object value, object leaf,
                     intptr_t entry, object outputs) except -1:
    """Copy a value at once, as it may be a buffer of `f`'s, or a view of what has moved."""
    cdef double* target = vector_at(plan, position, k)
    cdef cnp.ndarray vector
    if plan.vector.type != -1 and needs_no_conversion(&plan.vector, value):
        vector = <cnp.ndarray> value
        if plan.vector.type == cnp.NPY_FLOAT32:
            widen(target, <const float*> cnp.PyArray_DATA(vector), plan.width)
            return 0
    elif plan.vector.type != -1 and plan.vector.ndim == 0 and PyFloat_Check(value):
        target[0] = PyFloat_AS_DOUBLE(value)
        return 0
    else:
        if outputs is None:
            outputs = described(&plan.vector)
        vector = outputs.flat(value, leaf.name, entry)
    memcpy(target, cnp.PyArray_DATA(vector), plan.width * sizeof(double))
    return 0


@cython.cdivision(True)
cdef void combine_vectors(const Plan* plan, const double* points, const View* out,
                          intptr_t entry) noexcept nogil:
    """`combine` for each output: the row of an entry in `out`, of shape (entries, width)."""
    cdef double* row = <double*> out.data + (entry - plan.first) * plan.width
    cdef const double* above
    cdef const double* below
    cdef double width, weight
    cdef intptr_t i
    cdef int j
    for i in range(plan.width):
        row[i] = 0.0
    for j in range(plan.count // 2):
        width = points[2 * j] - points[2 * j + 1]
        if not width < INFINITY:
            for i in range(plan.width):
                row[i] = NAN
            return
        above, below = value_of(plan, 2 * j), value_of(plan, 2 * j + 1)
        weight = plan.rows[3 * j + 2]
        for i in range(plan.width):
            row[i] += weight * ((above[i] - below[i]) / width)


cdef inline const double* value_of(const Plan* plan, int k) noexcept nogil:
    return plan.base_vector if plan.offsets[k] == 0.0 else plan.values + k * plan.width


cdef cnp.ndarray plan_vectors(Plan* plan, object stencil, object steps, cnp.ndarray base,
                              cnp.ndarray out, intptr_t start, intptr_t first):
    """A plan to differentiate vectors, and the memory for those of one entry."""
    cdef cnp.npy_intp shape[2]
    plan_derivatives(plan, stencil, steps, NAN, start, first)
    plan.width = cnp.PyArray_DIM(out, 1)
    plan.base_vector = NULL if base is None else <const double*> cnp.PyArray_DATA(base)
    shape[0], shape[1] = plan.count, plan.width
    cdef cnp.ndarray scratch = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    plan.values = <double*> cnp.PyArray_DATA(scratch)
    return scratch


cpdef differentiate_vectors(object f, object argument, object leaf, object stencil, object steps,
                            cnp.ndarray base, cnp.ndarray out, Py_ssize_t start, Py_ssize_t stop,
                            Py_ssize_t first, object outputs):
    cdef Plan plan
    cdef cnp.ndarray scratch = plan_vectors(&plan, stencil, steps, base, out, start, first)
    plan_vector(&plan.vector, outputs)
    run_python(f, argument, leaf, &plan, out, start, stop, outputs)


# ---------------------------------------------------------------- the Jacobian of few numbers

cdef cnp.ndarray numbers_of(cnp.ndarray vector):
    """A copy in float64."""
    cdef cnp.npy_intp size = cnp.PyArray_SIZE(vector)
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT64, False)
    if cnp.PyArray_TYPE(vector) == cnp.NPY_FLOAT32:
        widen(<double*> cnp.PyArray_DATA(found), <const float*> cnp.PyArray_DATA(vector), size)
    else:
        memcpy(cnp.PyArray_DATA(found), cnp.PyArray_DATA(vector), size * sizeof(double))
    return found


cdef cnp.ndarray jacobian_of(object f, cnp.ndarray array, object leaf, object stencil,
                             object steps, bint native, cnp.ndarray first):
    """Rows of derivatives, of shape (entries, numbers of the first value)."""
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray base = numbers_of(first) if stencil.uses_base else None
    cdef Plan plan

    shape[0], shape[1] = cnp.PyArray_SIZE(array), cnp.PyArray_SIZE(first)
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, False)
    cdef cnp.ndarray scratch
    if native:
        native_differentiate_vectors(f, array, leaf, stencil, steps, base, out, 0, shape[0], 0,
                                     None)
        return out
    scratch = plan_vectors(&plan, stencil, steps, base, out, 0, 0)
    plan.vector.type, plan.vector.ndim = cnp.PyArray_TYPE(first), cnp.PyArray_NDIM(first)
    memcpy(plan.vector.shape, cnp.PyArray_DIMS(first), plan.vector.ndim * sizeof(cnp.npy_intp))
    run_python(f, array, leaf, &plan, out, 0, shape[0], None)
    return out


def small_jacobian(object f, object leaf, object stencil, object steps, bint native):
    cdef cnp.ndarray array = leaf.array
    cdef cnp.ndarray owner = owner_of(array)
    cdef Tracked mine
    cdef cnp.ndarray out = None
    cdef object written = None
    cdef object first = None
    cdef object key = next_key()
    cdef bytes saved = None
    try:
        (<dict> locks)[key] = (PyThread_get_thread_ident(), (array,))
        if len(<dict> locks) > 1:
            refuse_if_locked(key, (array,))
        # Not before: another thread's moves would be taken for the values.
        track(&mine, array, owner)
        saved = mine.array.data[:mine.array.nbytes]
        first = f(array)
        if changed(&mine, array, owner):
            raise _errors.moved_error(leaf.path)
        if is_plain_vector(first) and cnp.PyArray_ITEMSIZE(first) >= mine.array.itemsize:
            out = jacobian_of(f, array, leaf, stencil, steps, native, first)
    finally:
        written = put_back(&mine, owner, saved, key, leaf)
    if written is not None:
        raise written
    return first, out
