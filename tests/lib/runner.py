"""The engine of tests/run: builds, runs the programs of each suite two at a time, counts their TAP lines.

Builds lie in build-tests/: plain, asan (ASan and UBSan), tsan, fuzz (clang). Python suites get the executable under
test in the environment variable VUG; with a sanitizer also VUG_SANITIZED."""
import concurrent.futures
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILDS = os.path.join(ROOT, 'build-tests')
JOBS = max(1, min(4, os.cpu_count() or 1))
FUZZ_SECONDS = 20
PROGRAM_SECONDS = 1800  # after that a test program hangs
SHOWN_LINES = 400  # of a program that failed
OPTIONS = {
    'plain': ['-Dwerror=true'],
    'asan': ['-Dwerror=true', '-Db_sanitize=address,undefined', '-Db_lundef=false', '-Doptimization=1'],
    'tsan': ['-Dwerror=true', '-Db_sanitize=thread', '-Db_lundef=false', '-Doptimization=1'],
    'fuzz': ['-Dfuzz=true', '-Db_sanitize=address,undefined', '-Db_lundef=false', '-Dc_args=-fsanitize=fuzzer-no-link'],
}
# Which builds each suite runs in; tidy needs none.
SUITES = {
    'tidy': [None],
    'unit': ['plain', 'asan', 'tsan'],
    'wire': ['plain', 'asan'],
    'sim': ['plain', 'asan'],
    'cluster': ['plain', 'asan', 'tsan'],
    'fuzz': ['fuzz'],
}
# Of the cluster suite under ThreadSanitizer: what has threads at work.
TSAN_MODULES = ('test_failover', 'test_load', 'test_subscribe', 'test_writes')
SANITIZER_ENV = {
    'asan': {'ASAN_OPTIONS': 'detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1',
             'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1', 'VUG_SANITIZED': 'asan'},
    'fuzz': {'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1'},
    'tsan': {'TSAN_OPTIONS': 'halt_on_error=0:exitcode=66:history_size=4', 'VUG_SANITIZED': 'tsan'},
}


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []  # a line each, to be repeated at the end of everything

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures

    @property
    def total(self):
        return self.passed + self.failed + self.skipped

    def __str__(self):
        return f'{self.passed} passed, {self.failed} failed, {self.skipped} skipped'


def say(text):
    print(text, flush=True)


def build(name):
    """Configures and builds; returns the directory, or None with the output shown."""
    folder = os.path.join(BUILDS, name)
    env = {**os.environ, **({'CC': 'clang'} if name == 'fuzz' else {})}
    started = time.monotonic()
    steps = [['ninja', '-C', folder]]
    if not os.path.exists(os.path.join(folder, 'build.ninja')):
        shutil.rmtree(folder, ignore_errors=True)
        steps.insert(0, ['meson', 'setup', folder, ROOT] + OPTIONS[name])
    else:
        steps.insert(0, ['meson', 'configure', folder] + OPTIONS[name])
    for step in steps:
        done = subprocess.run(step, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode != 0:
            say(done.stdout[max(0, done.stdout.find('FAILED')):][:20000])
            say(f'build {name}: FAILED at {" ".join(step[:2])}')
            return None
    say(f'build {name}: {time.monotonic() - started:.0f} s')
    return folder


def count_tap(output, code):
    """The counts of one program. A plan that was not kept, and an end that was not clean, are failures as well."""
    count = Count()
    planned = 0
    for line in output.split('\n'):
        plan = re.match(r'1\.\.(\d+)', line)
        result = re.match(r'(not )?ok\b(?! - tests$)(.*)', line)
        if plan:
            planned += int(plan.group(1))
        elif result and re.search(r'# skip\b', result.group(2), flags=re.I):
            count.skipped += 1
        elif result:
            count.failed += bool(result.group(1))
            count.passed += not result.group(1)
    why = None
    if count.total == 0:
        why = 'it ran no test'
    elif planned != count.total:
        why = f'it planned {planned} tests and reported {count.total}'
    elif code != 0 and count.failed == 0:
        why = f'it ended with {code}' if code > 0 else f'it died of {signal.Signals(-code).name}'
    elif code == 0 and count.failed:
        why = 'it ended with 0 in spite of failures'
    if why:
        count.failed += 1
    return count, why


def failures_of(output):
    """The lines of an output but for those of what passed."""
    return [line for line in output.rstrip().split('\n') if not re.match(r'ok\b|1\.\.\d+|TAP version', line)]


def reasons_of(shown):
    """A line for each test that failed: its name and the first line that explains it."""
    reasons = []
    for number, line in enumerate(shown):
        found = re.match(r'not ok \d+ - (.*)', line)
        if found:
            behind = shown[number + 1].lstrip('# ') if number + 1 < len(shown) else ''
            reasons.append(f'{found.group(1)}: {behind}'[:300])
    return reasons


def end(child):
    """Ends a test program that hangs, after it had time to say where; its output."""
    child.terminate()
    try:
        child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(child.pid, signal.SIGKILL)  # the group holds this program and what it started, nothing else
    except ProcessLookupError:
        pass
    return child.communicate()[0]


def run_program(name, command, env):
    """Runs one test program to its end; (name, count, why, output, seconds)."""
    started = time.monotonic()
    if not os.path.exists(command[0]):
        count = Count()
        count.failed = 1
        return name, count, 'it was not built', command[0], 0
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output, _ = child.communicate(timeout=PROGRAM_SECONDS)
        is_late = False
    except subprocess.TimeoutExpired:
        output = end(child)
        is_late = True
    text = output.decode(errors='replace')
    count, why = count_tap(text, child.returncode)
    if is_late:
        count.failed = max(count.failed, 1)
        why = f'it was ended after {PROGRAM_SECONDS} s'
    return name, count, why, text, time.monotonic() - started


def meson_tests(folder, suite):
    """[(name, command)] of a suite's programs in a build."""
    listed = json.loads(subprocess.run(['meson', 'introspect', '--tests', folder], capture_output=True, text=True,
                                       check=True).stdout)
    return [(test['name'], test['cmd']) for test in listed
            if any(s.split(':')[-1] == suite for s in test['suite'])]


def programs(suite, name, folder):
    """[(name, command, environment)] of what a suite runs in one build."""
    env = {'CMOCKA_MESSAGE_OUTPUT': 'TAP', **SANITIZER_ENV.get(name, {})}
    if suite == 'tidy':
        return [('tidy', [sys.executable, 'tests/tidy.py'], {})]
    if suite in ('unit', 'sim'):
        return [(test, command, env) for test, command in meson_tests(folder, suite)]
    if suite in ('wire', 'cluster'):
        env['VUG'] = os.path.join(folder, 'vug')
        modules = sorted(glob.glob(os.path.join(ROOT, 'tests', suite, 'test_*.py')))
        if name == 'tsan':
            modules = [m for m in modules if os.path.basename(m)[:-3] in TSAN_MODULES]
        return [(os.path.basename(m)[:-3], [sys.executable, 'tests/lib/tap.py', m], env) for m in modules]
    return []


def run_suite(suite, name, folder):
    where = f'{suite} ({name})' if name and name not in ('plain', 'fuzz') else suite
    total, started = Count(), time.monotonic()
    work = fuzz_programs(folder) if suite == 'fuzz' else programs(suite, name, folder)
    runner = run_fuzz if suite == 'fuzz' else run_program
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for future in concurrent.futures.as_completed([pool.submit(runner, *item) for item in work]):
            program, count, why, output, seconds = future.result()
            if count.failed:
                shown = failures_of(output)
                reasons = [*reasons_of(shown), *([why] if why else [])]
                count.failures = [f'{where}: {program}: {reason}' for reason in reasons]
                say('\n'.join([f'--- {where}: {program} FAILED ---', *reasons, '', *shown[:SHOWN_LINES], '---']))
            total.add(count)
            say(f'  {where}: {program}: {count} in {seconds:.1f} s')
    if not work:
        total.failed += 1
        total.failures.append(f'{where}: the suite has no programs')
    say(f'{where}: {total} ({time.monotonic() - started:.0f} s)')
    return total


def fuzz_programs(folder):
    return [(os.path.basename(p), p) for p in sorted(glob.glob(os.path.join(folder, 'tests', 'fuzz', 'fuzz-*')))
            if os.path.isfile(p) and os.access(p, os.X_OK)]


def run_fuzz(name, program):
    """Twenty seconds from the kept corpus; what is new goes to the build directory."""
    started = time.monotonic()
    folder = os.path.join(os.path.dirname(program), name + '-corpus')
    os.makedirs(folder, exist_ok=True)
    kept = os.path.join(ROOT, 'tests', 'data', 'fuzz', name.removeprefix('fuzz-'))
    done = subprocess.run([program, f'-max_total_time={FUZZ_SECONDS}', '-rss_limit_mb=2048', '-timeout=10',
                           '-print_final_stats=1', f'-artifact_prefix={folder}/crash-'] +
                          ([f'-dict={kept}.dict'] if os.path.exists(f'{kept}.dict') else []) + [folder] +
                          ([kept] if os.path.isdir(kept) else []), cwd=ROOT, capture_output=True, text=True,
                          errors='replace', check=False, env={**os.environ, **SANITIZER_ENV['fuzz']})
    count, why = Count(), None
    runs = re.search(r'stat::number_of_executed_units:\s*(\d+)', done.stderr)
    if done.returncode == 0 and runs and int(runs.group(1)) > 0:
        count.passed = 1
        name += f' ({int(runs.group(1)):,} runs)'
    else:
        count.failed, why = 1, f'it ended with {done.returncode}'
    return name, count, why, done.stderr, time.monotonic() - started


def main():
    with open(os.path.join(ROOT, 'tests', 'suites')) as file:
        named = [line.split()[0] for line in file if not line.startswith('#')]
    if named != list(SUITES):
        sys.exit('tests/run: tests/suites does not name the suites that tests/lib/runner.py knows')
    wanted = sys.argv[1:] or named
    for suite in wanted:
        if suite not in SUITES:
            sys.exit(f'tests/run: there is no suite "{suite}"; the suites are: {" ".join(SUITES)}')
    total, folders = Count(), {None: ROOT}
    for name in OPTIONS:
        if any(name in SUITES[suite] for suite in wanted):
            folders[name] = build(name)
            if folders[name] is None:
                total.failed += 1
                total.failures.append(f'build {name}')
    for suite in wanted:
        for name in SUITES[suite]:
            if folders[name]:
                total.add(run_suite(suite, name, folders[name]))
    for failure in total.failures:
        say(f'FAILED {failure}')
    say(str(total))
    sys.exit(1 if total.failed else 0)


if __name__ == '__main__':
    main()
