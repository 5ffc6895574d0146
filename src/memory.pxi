# What an array looks like, and whether it still does: included by _kernel.pyx.

cdef struct View:
    char* data
    int ndim
    int itemsize           # 4: float32, 8: float64
    int type
    bint contiguous
    bint writeable
    bint swapped
    cnp.npy_intp nbytes
    cnp.npy_intp shape[MAX_DIMS]
    cnp.npy_intp strides[MAX_DIMS]


cdef struct Tracked:
    View array             # as `f` knows it
    View owner             # of its memory: the array itself, or what it is a view of
    bint is_view


cdef void describe(View* view, cnp.ndarray array) noexcept:
    cdef int d
    view.data = cnp.PyArray_BYTES(array)
    view.ndim = cnp.PyArray_NDIM(array)
    view.itemsize = <int> cnp.PyArray_ITEMSIZE(array)
    view.type = cnp.PyArray_TYPE(array)
    view.contiguous = cnp.PyArray_IS_C_CONTIGUOUS(array)
    view.writeable = cnp.PyArray_ISWRITEABLE(array)
    view.swapped = not cnp.PyArray_ISNOTSWAPPED(array)
    view.nbytes = cnp.PyArray_NBYTES(array)
    for d in range(view.ndim):
        view.shape[d] = cnp.PyArray_DIM(array, d)
        view.strides[d] = cnp.PyArray_STRIDE(array, d)


cdef inline bint resized(const View* view, cnp.ndarray array) noexcept:
    """Whether the memory that `describe` saw may be gone: touching it would then be unsafe."""
    cdef int d
    cdef const cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    if cnp.PyArray_BYTES(array) != view.data or cnp.PyArray_NDIM(array) != view.ndim:
        return True
    for d in range(view.ndim):
        if shape[d] != view.shape[d]:
            return True
    return False


cdef inline bint altered(const View* view, cnp.ndarray array) noexcept:
    """Whether the array no longer is what `describe` saw."""
    cdef int d
    cdef const cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    cdef const cnp.npy_intp* strides = cnp.PyArray_STRIDES(array)
    if (cnp.PyArray_BYTES(array) != view.data or cnp.PyArray_NDIM(array) != view.ndim
            or cnp.PyArray_TYPE(array) != view.type
            or cnp.PyArray_ISWRITEABLE(array) != view.writeable
            or cnp.PyArray_ISNOTSWAPPED(array) == view.swapped):
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


cdef void track(Tracked* held, cnp.ndarray array, cnp.ndarray owner) noexcept:
    describe(&held.array, array)
    describe(&held.owner, owner)
    held.is_view = owner is not array


cdef inline bint changed(const Tracked* held, cnp.ndarray array, cnp.ndarray owner) noexcept:
    return altered(&held.array, array) or (held.is_view and resized(&held.owner, owner))


cdef inline bint alive(const Tracked* held, cnp.ndarray owner) noexcept:
    """Whether the memory is still there, so that saved bits can be put back into it."""
    return (cnp.PyArray_BYTES(owner) == held.owner.data
            and cnp.PyArray_NBYTES(owner) == held.owner.nbytes)


cdef class Fingerprint:
    cdef readonly cnp.ndarray array
    cdef readonly cnp.ndarray owner
    cdef readonly cnp.ndarray view
    cdef Tracked held

    def __init__(self, cnp.ndarray array):
        self.take(array)

    cdef int take(self, cnp.ndarray array) except -1:
        self.array = array
        self.owner = owner_of(array)
        self.view = PyArray_View(array, NULL, &PyArray_Type)
        track(&self.held, array, self.owner)
        return 0

    def alive(self):
        return alive(&self.held, self.owner)

    cpdef bint same_bits(self, Fingerprint other):
        cdef cnp.npy_intp size = self.held.array.nbytes
        if not alive(&self.held, self.owner) or other.held.array.nbytes != size:
            return False
        if self.held.array.contiguous and other.held.array.contiguous:
            return memcmp(self.held.array.data, other.held.array.data, size) == 0
        if not (is_native(self.view) and is_native(other.view)
                and self.held.array.itemsize == other.held.array.itemsize
                and cnp.PyArray_SAMESHAPE(self.view, other.view)):
            return False
        if is_fortran(self.view) and is_fortran(other.view):
            return memcmp(self.held.array.data, other.held.array.data, size) == 0
        return same_rows(&self.held.array, &other.held.array)

    def changed(self):
        return altered(&self.held.array, self.array) or not alive(&self.held, self.owner)


cdef bint same_rows(const View* one, const View* other) noexcept:
    """Whether arrays of one shape and type hold the same bits, rows of which lie side by side.

    False may also mean that many entries lie apart: NumPy compares those in less time.
    """
    cdef View both[2]
    cdef Py_ssize_t row = 0
    cdef Py_ssize_t size = one.nbytes // one.itemsize
    both[0], both[1] = one[0], other[0]
    cdef Py_ssize_t cols = side_by_side(both, 2, size)
    if cols == 1 and size > TERMS:
        return False
    while row < size:
        if memcmp(locate(one, row), locate(other, row), cols * one.itemsize) != 0:
            return False
        row += cols
    return True


cdef Fingerprint found_in(cnp.ndarray array):
    cdef Fingerprint made = Fingerprint.__new__(Fingerprint)
    made.take(array)
    return made


def copied(list arrays):
    cdef Fingerprint each
    cdef list found = []
    cdef list copies = []
    for array in arrays:
        each = found_in(array)
        found.append(each)
        copies.append(found_in(cnp.PyArray_NewCopy(each.view, cnp.NPY_CORDER)))
    return found, copies


def all_same(list found, list copies):
    cdef Fingerprint each, copy
    cdef Py_ssize_t k
    for k in range(len(found)):
        each, copy = found[k], copies[k]
        if not alive(&copy.held, copy.owner) or not each.same_bits(copy):
            return False
    return True


def any_changed(list found):
    cdef Fingerprint each
    for each in found:
        if altered(&each.held.array, each.array) or not alive(&each.held, each.owner):
            return True
    return False


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


def bounds(cnp.ndarray array):
    cdef char* low = cnp.PyArray_BYTES(array)
    cdef char* high = low + cnp.PyArray_ITEMSIZE(array)
    cdef cnp.npy_intp reach
    cdef int d
    if cnp.PyArray_SIZE(array) == 0:
        return <size_t> low, <size_t> low
    for d in range(cnp.PyArray_NDIM(array)):
        reach = (cnp.PyArray_DIM(array, d) - 1) * cnp.PyArray_STRIDE(array, d)
        if reach < 0:
            low += reach
        else:
            high += reach
    return <size_t> low, <size_t> high


cpdef bint is_native(cnp.ndarray array):
    cdef int type = cnp.PyArray_TYPE(array)
    return ((type == cnp.NPY_FLOAT64 or type == cnp.NPY_FLOAT32)
            and cnp.PyArray_ISALIGNED(array) and cnp.PyArray_ISNOTSWAPPED(array))


cdef inline bint is_fortran(cnp.ndarray array) noexcept:
    """Whether entries lie side by side in Fortran's order alone."""
    return cnp.PyArray_IS_F_CONTIGUOUS(array) and not cnp.PyArray_IS_C_CONTIGUOUS(array)


cpdef bint is_plain(cnp.ndarray array):
    return is_native(array) and cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISWRITEABLE(array)
