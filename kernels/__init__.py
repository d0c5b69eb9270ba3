"""Everything that Numba compiles: scalar definitions, and the loops that run them on CPU cores and on CUDA.

The folder is imported as ``numbadl.kernels``: a top-level module named ``kernels`` would overwrite another package.
"""

if __name__ != "numbadl.kernels":
    raise ImportError(
        f"this folder is the package numbadl.kernels, but it was imported as {__name__!r}; "
        "install the project with `pip install -e .` and import numbadl"
    )
