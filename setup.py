"""Builds the Cython core; everything else is in pyproject.toml.

PROXYWARDEN_TRACE=1 builds it with line tracing, for coverage.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

trace = os.environ.get("PROXYWARDEN_TRACE") == "1"

setup(
    ext_modules=cythonize(
        [
            Extension(
                "core.*",
                ["core/*.pyx"],
                extra_compile_args=["-O3", "-fno-strict-aliasing", "-Wall"],
                define_macros=[("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if trace else [],
            )
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            "linetrace": trace,
        },
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
    data_files=[
        ("share/proxywarden", ["config/proxywarden.toml", "config/never-scan.txt", "config/never-list.txt"]),
    ],
)
