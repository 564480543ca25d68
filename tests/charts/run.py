#!/usr/bin/env python3
"""Checks charts/ and manifests/ without a cluster: `make test-charts`, or `run.py WORD…` for names that contain a word.

A tool that is missing is named with how to get it; with CI=true that counts as a failure.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / "real")]

import suite  # noqa: E402
import support  # noqa: E402

if __name__ == "__main__":
    if not support.BINARY.exists():
        sys.exit(f"{support.BINARY} is not built: make test-charts builds it\n0 passed, 1 failed")
    sys.exit(suite.run(HERE, sys.argv[1:], "make kube-tools"))
