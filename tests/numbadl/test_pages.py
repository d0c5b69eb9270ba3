"""Pages of docs whose Python is run, with one seed; ``python -m tests.pages`` runs them with more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_convolutional_net_learns_the_digits():
    command = [sys.executable, "-m", "tests.pages", "docs/convolution.md", "--seeds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) >= 0.987, done.stdout
