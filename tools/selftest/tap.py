# SPDX-License-Identifier: GPL-2.0-only
"""unittest with KTAP as its output."""

import signal
import sys
import time
import traceback
import unittest


# For one test. None takes a tenth of it on a quiet machine; one that waits for
# ever is to say where, while there is time for the others.
DEADLINE = 600

# Exit status of tests that ended for want of their guest, which tools/selftest/run knows
LOST = 3


def overdue(*_):
    raise TimeoutError("no end within %d s" % DEADLINE)


def diagnostic(text):
    for line in text.splitlines():
        print("# " + line, flush=True)


class Result(unittest.TestResult):
    """Prints a line for each test, and above it what the test had to say."""

    def __init__(self):
        super().__init__()
        self.begin = 0.0
        self.verdict = None
        self.failed = 0
        self.lost = False

    def end(self, *_):
        """SIGTERM: this test cleans up, and there is no other one."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.stop()
        raise SystemExit("ended by SIGTERM")

    def startTest(self, test):
        super().startTest(test)
        self.begin = time.monotonic()
        self.verdict = None
        signal.alarm(DEADLINE)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(str(err[1]))

    def addError(self, test, err):
        super().addError(test, err)
        self._failed("".join(traceback.format_exception(*err)))
        if is_loss(err[0]):
            self.stop()                 # without the guest, all would fail
            self.verdict = "lost"
            self.lost = True

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.verdict = "skip"
        self.reason = reason

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self._failed("%s: %s" % (dict(subtest.params), err[1]))

    def _failed(self, text):
        self.verdict = "failed"
        diagnostic(text)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        diagnostic("%.1f s" % (time.monotonic() - self.begin))
        failed = self.verdict in ("failed", "lost")
        self.failed += failed
        line = "%sok %d %s" % ("not " if failed else "", self.testsRun,
                               test.shortDescription())
        if self.verdict == "skip":
            line += " # SKIP " + self.reason
        if self.verdict == "lost":
            line += " # LOST"
        print(line, flush=True)


def is_loss(error):
    return error.__name__ == "LabError"


def main(program):
    """Ends with the exit status that @program returns: LOST, if the guest was lost where
    no test ran."""
    try:
        status = program()
    except Exception as error:
        if not is_loss(type(error)):
            raise
        traceback.print_exc()
        status = LOST
    sys.exit(status)


def run(suite):
    """Runs the tests; gives the exit status: 0, 1, or LOST."""
    print("KTAP version 1\n1..%d" % suite.countTestCases(), flush=True)
    signal.signal(signal.SIGALRM, overdue)
    result = Result()
    signal.signal(signal.SIGTERM, result.end)
    suite.run(result)
    diagnostic("failed: %d of %d" % (result.failed, result.testsRun))
    if result.lost:
        return LOST
    return 0 if result.wasSuccessful() else 1
