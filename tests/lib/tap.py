#!/usr/bin/env python3
"""Runs unittest modules and prints TAP as they go: tests/lib/tap.py tests/wire/test_exchanges.py ...

With VUG_SANITIZED set, tests marked plain_only are left out: they have run in the plain build."""
import importlib.util
import os
import sys
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


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
        for line in ''.join(traceback.format_exception(*error)).rstrip().split('\n'):
            print(f'# {line}', flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(True, test)

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
    for path in sys.argv[1:]:
        if path.startswith('k='):
            continue
        unittest.TestSuite(t for t in flatten(load(path)) if wanted(t)).run(result)
    print(f'1..{result.number}')
    sys.exit(1 if result.bad else 0)


if __name__ == '__main__':
    main()
