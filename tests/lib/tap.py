#!/usr/bin/env python3
"""Runs unittest modules and prints TAP as they go: tests/lib/tap.py tests/wire/test_exchanges.py ... [k=WORD ...]

With words, only the tests whose names have one of them. With VUG_SANITIZED set, tests marked plain_only are left out:
they have run in the plain build.

A failure says why in its first lines, then where, then the last words of the processes that the test had: VUG_LOG_LINES
(15) of each."""
import importlib.util
import os
import signal
import sys
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cluster

REASON_LINES = 20
LOG_LINES = int(os.environ.get('VUG_LOG_LINES', '15'))
COMPLAINT_LINES = 60
LOGS = 8


def shown(text, most):
    """The lines of a text, without those in its middle that are too many."""
    lines = text.rstrip().split('\n')
    if len(lines) > most:
        lines = [*lines[:most // 2], f'... ({len(lines) - most} lines)', *lines[len(lines) - most // 2:]]
    return [line if len(line) <= 400 else f'{line[:200]} ... {line[-200:]}' for line in lines]


def reason(error):
    """What was raised, and what it was raised from."""
    lines = []
    while error is not None:
        text = str(error)
        lines += shown(f'{type(error).__name__}: {text}' if text else type(error).__name__, REASON_LINES)
        hidden = error.__suppress_context__ and error.__cause__ is None
        error = None if hidden else error.__cause__ or error.__context__
        if error is not None:
            lines.append('after')
    return lines


def place(error):
    """Where, from the test down to what raised: the lines of this repository alone."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(cluster.ROOT)]
    return [f'at {os.path.relpath(frame.filename, cluster.ROOT)}:{frame.lineno} {frame.name}: {frame.line}'
            for frame in frames]


def last_words():
    """Of the processes that the test started, or had from its class: those that ended last, and those that run."""
    lines = []
    for process in cluster.Process.seen[-LOGS:]:
        code = process.child.poll()
        state = 'runs' if code is None else f'ended with {code}'
        lines += [f'--- {process.name} (pid {process.pid}, {state}) ---',
                  *shown('\n'.join(process.lines[-LOG_LINES:]), LOG_LINES)]
    return lines


def complaints():
    """Of the processes that the test had, also those that ended in its middle."""
    lines = []
    for process in cluster.Process.seen:
        if process.complaint():
            lines += [f'{process.name} (pid {process.pid}) complained', *shown(process.complaint(), COMPLAINT_LINES)]
    return lines


class Hung(BaseException):
    """Whoever runs the tests has lost patience, and said so by SIGTERM."""


class Result(unittest.TestResult):
    """One line a test, or a line for each sub-test that failed."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.bad = 0

    def line(self, good, test, note=''):
        self.number += 1
        self.bad += not good
        name = test.shortDescription() or test.id()
        if hasattr(test, '_subDescription'):
            name += ' ' + test._subDescription()
        print(f'{"ok" if good else "not ok"} {self.number} - {name}{note}', flush=True)

    def complain(self, test, error):
        self.line(False, test)
        for line in [*reason(error[1]), *place(error[1]), *complaints(), *last_words()]:
            print(f'# {line}', flush=True)

    def on_term(self, *_):
        """The running test fails where it stands; no other begins."""
        self.stop()
        raise Hung('ended by SIGTERM')

    def startTest(self, test):
        super().startTest(test)
        cluster.Process.seen[:] = [process for process in cluster.Process.seen if not process.ended]

    def addSuccess(self, test):
        super().addSuccess(test)
        wrong = complaints()
        self.line(not wrong, test)
        for line in wrong:
            print(f'# {line}', flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.complain(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.complain(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(True, test, f' # SKIP {reason}')

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is None:
            self.line(True, subtest)
        else:
            self.complain(subtest, err)


def load(path):
    name = os.path.splitext(os.path.basename(path))[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def wanted(test):
    method = getattr(test, test._testMethodName)
    if os.environ.get('VUG_SANITIZED') and (getattr(method, 'plain_only', False) or
                                            getattr(type(test), 'plain_only', False)):
        return False
    return not TESTS or any(word in test.id() for word in TESTS)


TESTS = [a[2:] for a in sys.argv[1:] if a.startswith('k=')]


def main():
    result = Result()
    signal.signal(signal.SIGTERM, result.on_term)
    for path in sys.argv[1:]:
        if path.startswith('k='):
            continue
        unittest.TestSuite(t for t in flatten(load(path)) if wanted(t)).run(result)
    print(f'1..{result.number}')
    sys.exit(1 if result.bad else 0)


if __name__ == '__main__':
    main()
