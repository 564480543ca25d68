#!/usr/bin/env python3
"""Runs the tests against parts that we did not write: `make test-real`, or `run.py WORD…` for names that contain a word."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import suite  # noqa: E402
import support  # noqa: E402

if __name__ == "__main__":
    if not support.BINARY.exists():
        sys.exit(f"{support.BINARY} is not built: make test-real builds it\n0 passed, 1 failed")
    sys.exit(suite.run(HERE, sys.argv[1:], "make install-test-tools"))
