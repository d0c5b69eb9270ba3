"""Where the command ``numbadl`` starts: Ctrl-C, or a setting that Numba refuses, while the package is imported.

It is no part of the package, because importing anything from there imports NumPy and Numba first, half a second.
"""

import sys


def main():
    """Run ``numbadl`` (see `numbadl.cli.main`); returns the exit status."""
    try:
        from numbadl.cli import main as run
    except KeyboardInterrupt:
        print("\nnumbadl: interrupted", file=sys.stderr)
        return 130
    except ImportError as error:
        print(f"numbadl: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
