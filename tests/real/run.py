#!/usr/bin/env python3
"""Runs the tests against parts that we did not write: `make test-real`, or `run.py WORD…` for names that contain a word.

A part that is not installed is named with how to install it; with CI=true that counts as a failure. Ends with
`N passed, N failed`.
"""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import support  # noqa: E402


class Result(unittest.TextTestResult):
    """Counts what passed; a skipped test says why on its own line."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def tests(suite):
    for entry in suite:
        yield from tests(entry) if isinstance(entry, unittest.TestSuite) else [entry]


def main():
    words = sys.argv[1:]
    loader = unittest.TestLoader()
    suite, unloadable = unittest.TestSuite(), 0
    for file in sorted(HERE.glob("test_*.py")):
        try:
            suite.addTests(loader.loadTestsFromName(file.stem))
        except ImportError as error:
            print(f"{file.stem}: skipped, {error}: make install-test-tools")
            unloadable += 1
    if not support.BINARY.exists():
        sys.exit(f"{support.BINARY} is not built: make test-real builds it\n0 passed, 1 failed")
    chosen = unittest.TestSuite(test for test in tests(suite) if not words or any(word in test.id() for word in words))
    result = unittest.TextTestRunner(resultclass=Result, verbosity=2, stream=sys.stdout).run(chosen)
    for test, reason in result.skipped:
        print(f"skipped: {test.id()}: {reason}")
    missing = len(result.skipped) + unloadable
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    if support.IN_CI:
        failed += missing
    if result.testsRun == 0 and not missing:
        failed += 1
        print("no test has such a name")
    print(f"{result.passed} passed, {failed} failed" + (f" ({missing} not run for want of a part)" if missing else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
