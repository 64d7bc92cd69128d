"""Builds the compiled core: every ``.pyx`` is one extension. Metadata is in pyproject.toml."""

import os
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

DEBUG = os.environ.get("KLINECORE_DEBUG") == "1"
# One copy of Cython's memoryview runtime for all modules: smaller binaries and a faster build.
SHARED = "klinecore._cyutility"
# gcc would fuse a*b+c on some CPUs and not on others; results must be bit-identical everywhere.
# Roots and divisions set no errno and raise no traps here: else loops with them stay scalar.
FLAGS = [
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    *(["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"]),
]
LINK = [] if DEBUG or sys.platform != "linux" else ["-s"]
DIRECTIVES = {
    "language_level": "3",
    "binding": True,  # real signatures for inspect and stubtest
    "embedsignature": False,
    "wraparound": False,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "cdivision": True,  # in both builds: division must not change meaning with the build
}
Options.warning_errors = True


def extension(path: Path) -> Extension:
    name = ".".join(path.with_suffix("").parts)
    return Extension(
        name,
        [str(path)],
        include_dirs=[str(path.parent), numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        depends=sorted(map(str, path.parent.glob("*.h"))),
        extra_compile_args=FLAGS,
        extra_link_args=LINK,
    )


sources = sorted(p for package in ("klinecore", "server") for p in Path(package).rglob("*.pyx"))
shared = Extension(
    SHARED, ["klinecore/_cyutility.c"], extra_compile_args=FLAGS, extra_link_args=LINK
)

setup(
    ext_modules=cythonize(
        [*map(extension, sources), shared],
        compiler_directives=DIRECTIVES,
        shared_utility_qualified_name=SHARED,
        annotate=DEBUG,
        # A directory per build: debug C files must never be linked into a release build.
        build_dir="build/debug" if DEBUG else "build/release",
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
