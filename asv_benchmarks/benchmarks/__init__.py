"""Benchmarks of every operation for asv, from the cases of `numbadl.bench`; ``NUMBADL_BENCH_PROFILE`` chooses how many.

Nothing here may start the kernels' threads while modules are imported: asv forks its workers afterwards.
"""

import os

import numba
import numpy as np

import numbadl as nd

nd.relu(
    np.zeros(16, np.float32)
)  # loads what all kernels share once, not in each worker; so few elements start no threads
ALL = numba.config.NUMBA_NUM_THREADS  # get_num_threads would start them
PROFILES = {  # name -> (elements, dtypes, threads)
    "fast": ([1 << 16], ["float32"], [ALL]),
    "regular": ([1 << 16, 1 << 20], ["float32", "float64"], [ALL]),
    "large": ([1 << 16, 1 << 20, 1 << 24], ["float32", "float64"], sorted({1, ALL})),
}
PROFILE = os.environ.get("NUMBADL_BENCH_PROFILE", "fast")
if PROFILE not in PROFILES:
    raise ValueError(f"NUMBADL_BENCH_PROFILE: got {PROFILE!r}, accepted are {', '.join(PROFILES)}")
SIZES, DTYPES, THREADS = PROFILES[PROFILE]
