# Another package's extension: it differentiates functions of its own, without Python and NumPy.

from libc.stdint cimport intptr_t
from libc.stdlib cimport free, malloc

from fastgrad cimport _kernel as fg


cdef double cubes(intptr_t n, double* x, void* user_data) noexcept nogil:
    cdef double total = 0.0
    cdef intptr_t i
    for i in range(n):
        total += (i + 1) * x[i] * x[i] * x[i]
    return total


cdef double writes(intptr_t n, double* x, void* user_data) noexcept nogil:
    x[n - 1] = 0.0
    return 1.0


cdef api double exported(int n, double* x, void* user_data) noexcept nogil:
    return cubes(n, x, user_data)


METHODS = {"forward": fg.FORWARD, "backward": fg.BACKWARD, "central": fg.CENTRAL}
OUTCOMES = {
    "done": fg.DONE, "refused": fg.REFUSED, "vanished": fg.VANISHED, "written": fg.WRITTEN
}


def differentiate(double[::1] x, int method, int order, double eps=0.0, bint badly=False,
                  start=None, stop=None):
    """Outcome, where it stopped, and the derivatives."""
    cdef intptr_t n = x.shape[0]
    cdef intptr_t stopped_at = -1
    cdef intptr_t first = 0 if start is None else start
    cdef intptr_t last = n if stop is None else stop
    cdef fg.Objective f = writes if badly else cubes
    cdef int outcome
    cdef intptr_t i
    cdef double* g = <double*> malloc((n + 1) * sizeof(double))
    for i in range(n):
        g[i] = -1.0
    with nogil:
        if first == 0 and last == n:
            outcome = fg.gradient(f, NULL, n, &x[0], g, method, order, eps, &stopped_at)
        else:
            outcome = fg.gradient_part(f, NULL, n, &x[0], g, method, order, eps, first, last, NULL)
    result = [g[i] for i in range(n)]
    free(g)
    return outcome, stopped_at, result
