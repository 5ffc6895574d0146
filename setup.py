"""Builds the compiled kernel; everything else about the package is in pyproject.toml.

Environment variables:

FASTGRAD_REQUIRE_KERNEL=1  fail if the kernel cannot be built (otherwise the install is pure)
FASTGRAD_BUILD=debug       bounds checks, no optimization
FASTGRAD_BUILD=asan        the same under AddressSanitizer (see CONTRIBUTING.md)
"""

import os
import pathlib
import sys

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

REQUIRED = os.environ.get("FASTGRAD_REQUIRE_KERNEL") == "1"
BUILD = os.environ.get("FASTGRAD_BUILD", "release")
ASAN = ["-fsanitize=address", "-fno-omit-frame-pointer"]
# A fused multiply-add would round differently from the pure twin.
GCC = {
    "release": ["-O3", "-ffp-contract=off"],
    "debug": ["-O0", "-g", "-ffp-contract=off"],
    "asan": ["-O1", "-g", "-ffp-contract=off", *ASAN],
}
if BUILD not in GCC:
    sys.exit(f"FASTGRAD_BUILD must be one of {', '.join(GCC)}; got {BUILD!r}")


class BuildOrFallBack(build_ext):
    """Says so, loudly, where the kernel cannot be built."""

    def build_extension(self, ext):
        """Build the kernel; without a compiler, go on without it unless it is required."""
        try:
            super().build_extension(ext)
        except Exception as error:
            if REQUIRED:
                raise
            # One that an earlier build left would be packed as if it were new.
            pathlib.Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            print(
                f"*** fastgrad: the compiled kernel could not be built ({error}). ***\n"
                "*** Installing the pure backend, which is many times slower. Install a C "
                "compiler and the Python headers, then reinstall. ***",
                file=sys.stderr,
            )


kernel = Extension(
    "fastgrad._kernel",
    ["src/_kernel.pyx"],
    include_dirs=[np.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_22_API_VERSION")],
    extra_compile_args=["/fp:precise"] if sys.platform == "win32" else GCC[BUILD],
    extra_link_args=ASAN[:1] if BUILD == "asan" else [],
)
checked = BUILD != "release"
extensions = cythonize(
    [kernel],
    build_dir="build",
    force=True,
    compiler_directives={
        "language_level": 3,
        "boundscheck": checked,
        "wraparound": False,
        "cdivision": not checked,
    },
)
for extension in extensions:
    extension.optional = not REQUIRED  # cythonize drops the flag

setup(ext_modules=extensions, cmdclass={"build_ext": BuildOrFallBack})
