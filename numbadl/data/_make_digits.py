"""Write digits.npz: ``python -m numbadl.data._make_digits [PATH]``. Only this script needs scikit-learn.

The split is stored, not computed at load time, so that accuracies stay comparable whatever becomes of
scikit-learn's random numbers.
"""

import sys
from pathlib import Path

import numpy as np


def make_digits():
    """The arrays of digits.npz: pixels 0..16, labels 0..9, and the row numbers of the test rows."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    rows = np.arange(len(digits.target))
    _, test_rows = train_test_split(rows, test_size=0.25, random_state=0, stratify=digits.target)
    return {
        "x": digits.data.astype(np.uint8),
        "y": digits.target.astype(np.uint8),
        "test_rows": np.sort(test_rows).astype(np.uint16),
    }


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("digits.npz")
    np.savez_compressed(target, **make_digits())
    print(f"{target}: {target.stat().st_size:,} bytes")
