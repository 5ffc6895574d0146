"""What other Cython extensions can cimport from fastgrad: finite differences of a C function.

    from libc.stdint cimport intptr_t
    from fastgrad cimport _kernel as fg

    cdef double cost(intptr_t n, double* x, void* user_data) noexcept nogil:
        return x[0] * x[1]

    with nogil:
        outcome = fg.gradient(cost, NULL, n, x, g, fg.CENTRAL, 2, 0.0, NULL)

Importing fastgrad is all that involves Python; the calls need no GIL, allocate nothing and can
run in several threads on different `x`. Of NumPy nothing is needed, not even its headers. The
results are those of ``fastgrad.gradient`` to the last bit.
"""

from libc.stdint cimport intptr_t

# Returns the value at the `n` numbers from `x` on, which it leaves alone. NaN is a value like
# others. It must not raise; what goes wrong it can say through `user_data`.
ctypedef double (*Objective)(intptr_t n, double* x, void* user_data) noexcept nogil

# The difference to take; see fastgrad.forward, backward and central for the orders there are.
cdef enum Method:
    FORWARD
    BACKWARD
    CENTRAL

# What came of it.
cdef enum Outcome:
    DONE
    REFUSED                # `method` has no such `order`, or `eps` is negative or not finite
    VANISHED               # `eps` is lost in the rounding of the entry
    WRITTEN                # `f` wrote into the entry that had been moved
    FAILED                 # never: only a function of another type returns an error code

# Writes the derivatives with respect to `x[0]` to `x[n - 1]` to `g`, and returns an Outcome. Each
# entry is moved in place and gets its saved bits back, whatever the outcome. `eps` is the absolute
# step; 0.0 stands for the automatic one of ``fastgrad.gradient``. Where the outcome is not DONE,
# `*stopped_at` is the entry at which it stopped, unless `stopped_at` is NULL; the derivatives
# before it are in `g`.
cdef int gradient(Objective f, void* user_data, intptr_t n, double* x, double* g, int method,
                  int order, double eps, intptr_t* stopped_at) noexcept nogil

# The same for the entries `start` to `stop - 1` alone, for threads that share the work: each
# needs an `x` of its own, and all can share `g`, which has `n` places here too.
cdef int gradient_part(Objective f, void* user_data, intptr_t n, double* x, double* g, int method,
                       int order, double eps, intptr_t start, intptr_t stop,
                       intptr_t* stopped_at) noexcept nogil
