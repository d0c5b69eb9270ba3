"""Pages of docs whose Python is run, with one seed; ``python -m tests.pages`` runs them with more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(*arguments):
    """What Python prints, in the repository, as numbers."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(word.rstrip(",")) for word in done.stdout.split() if word != "median"]


@pytest.mark.slow
def test_a_convolutional_net_learns_the_digits():
    assert python("-m", "tests.pages", "docs/convolution.md", "--seeds", "1")[-1] >= 0.987


@pytest.mark.slow
def test_an_lstm_solves_the_adding_problem(tmp_path):
    picture = tmp_path / "errors.svg"
    assert python("-m", "tests.pages", "docs/sequences.md", "--seeds", "1", "--picture", str(picture))[-1] < 0.01
    assert "LSTM" in picture.read_text()


def test_the_adding_problem_of_short_sequences():
    """The page of sequences, with three epochs of six steps: better than 1/6, what always answering 1 has."""
    program = "from tests import pages; print(pages.run('docs/sequences.md', length=6, epochs=3)['mse'])"
    (mse,) = python("-c", program)
    assert mse < 0.01
