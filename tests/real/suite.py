"""Runs the test files of a folder and counts as `.ci/run` reads it: the tests against real parts and those on a cluster."""

import pathlib
import sys
import unittest

import support


class Result(unittest.TextTestResult):
    """Counts what passed; a skipped test says why on its own line."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def tests(suite):
    for entry in suite:
        yield from tests(entry) if isinstance(entry, unittest.TestSuite) else [entry]


def run(folder, words, install):
    """Runs the tests whose name contains one of `words`, or all; returns the exit status.

    A part that is not installed is named with how to `install` it; with CI=true that counts as a failure. Prints
    `N passed, N failed` at the end.
    """
    loader = unittest.TestLoader()
    suite, unloadable = unittest.TestSuite(), 0
    for file in sorted(pathlib.Path(folder).glob("test_*.py")):
        try:
            suite.addTests(loader.loadTestsFromName(file.stem))
        except ImportError as error:
            print(f"{file.stem}: skipped, {error}: {install}")
            unloadable += 1
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
    return 1 if failed else 0
