#!/usr/bin/env python3
"""The rules of the repository, as tests: a TAP line for each rule, and for each a planted violation that it must find.

    tests/tidy.py             checks this tree, then itself
    tests/tidy.py --tree DIR  checks another tree

CONTRIBUTING.md tells what the rules are for. Where a file has a good reason to differ, it stands in one of the tables
below with that reason; a row that is no longer needed is a violation too.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Which folders a file of a folder may include.
LAYERS = {
    'common': ('common',),
    'protocol': ('common', 'protocol'),
    'query': ('common', 'protocol', 'query'),
    'server': ('common', 'protocol', 'query', 'server'),
    'locator': ('common', 'protocol', 'query', 'locator'),
    'client': ('common', 'protocol', 'client'),
    'cli': ('common', 'protocol', 'query', 'server', 'locator', 'client', 'cli'),
}
PRODUCT = tuple(LAYERS)

# What only the real sides of the seams may use: pattern of an include or call, then the files that may.
SEAMS = (
    (r'#include <(event2/|event\.h)',
     ('common/loop_event.c', 'common/net_event*.c', 'common/net_event_impl.h', 'common/http_event.c')),
    (r'#include <(sys/socket|netinet/|arpa/|netdb|sys/epoll|poll)',
     ('common/net_event*.c', 'common/net_event_impl.h', 'common/http_event.c')),
    (r'#include <openssl/ssl', ('common/net_tls.c',)),
    (r'#include <openssl/rand', ('common/loop_event.c',)),
    (r'(?<![\w.>])(clock_gettime|gettimeofday|time|ftime|timespec_get)\(', ('common/loop_event.c', 'common/log.c')),
)
# Files beyond that, with the reason.
SEAM_EXCEPTIONS = {
    'locator/client_address.c': 'inet_pton() and inet_ntop() turn text into addresses and back, nothing more',
    'cli/cli.c': 'poll() waits for a reader of stdout, or for the end of the command',
}

BANNED = ('strcpy', 'strcat', 'sprintf', 'vsprintf', 'gets', 'atoi', 'atol', 'atoll', 'atof', 'strtok', 'rand',
          'srand', 'sleep', 'usleep', 'nanosleep', 'alloca', 'setlocale')
HEAP = ('malloc', 'calloc', 'realloc', 'free', 'strdup', 'strndup', 'aligned_alloc', 'posix_memalign', 'asprintf')

FUNCTION_LINES = 70
FILE_LINES = 600
TEST_FILE_LINES = 1000  # a test file is a list; its cases belong together
LINE_COLUMNS = 100
# "path:function" or "path": (allowed lines, reason).
LENGTH_EXCEPTIONS = {}

# Sources without a unit test of their name: the test that covers them instead, and why.
COMMAND = 'a command, run as a process'
MIRROR_EXCEPTIONS = {
    'protocol/session_execute.c': ('tests/unit/protocol/session.c', 'a request means nothing without its session'),
    'cli/cli.c': ('tests/cluster/test_cli.py', 'the executable itself'),
    'cli/cluster.c': ('tests/cluster/test_cli.py', 'the executable itself'),
    'cli/cluster_status.c': ('tests/cluster/test_members.py', 'the executable itself'),
    'cli/cq.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/cq_offline.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/cq_print.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/data.c': ('tests/cluster/test_cli.py', 'the executable itself'),
    'cli/demo.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/demo_cluster.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/demo_show.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/events.c': ('tests/cluster/test_failover.py', 'the executable itself'),
    'cli/rebalance.c': ('tests/cluster/test_failover.py', 'the executable itself'),
    'cli/forget.c': ('tests/cluster/test_cli_errors.py', 'the executable itself'),
    'cli/import.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/importer.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/input.c': ('tests/cluster/test_founding.py', 'the executable itself'),
    'cli/locator.c': ('tests/cluster/test_members.py', 'the executable itself'),
    'cli/main.c': ('tests/cluster/test_cli.py', 'the executable itself'),
    'cli/member.c': ('tests/cluster/test_members.py', 'the executable itself'),
    'cli/region.c': ('tests/cluster/test_cli.py', 'the executable itself'),
    'cli/server.c': ('tests/cluster/test_members.py', 'the executable itself'),
    'cli/sql.c': ('tests/cluster/test_cli.py', 'the executable itself'),
    'client/sync.c': ('tests/cluster/test_cli.py', 'the command line goes through it'),
    'server/cq_instance.c': ('tests/unit/server/cq.c', 'an instance means nothing without its buckets'),
    **{f'cli/{name}.c': ('tests/cluster/test_cli.py', COMMAND) for name in
       ('cli', 'cluster', 'cluster_status', 'cq', 'cq_print', 'data', 'main', 'region', 'sql')},
    **{f'cli/{name}.c': ('tests/cluster/test_members.py', COMMAND) for name in
       ('import', 'importer', 'input', 'locator', 'member', 'server')},
    **{f'cli/{name}.c': ('tests/cluster/test_founding.py', COMMAND) for name in
       ('cq_offline', 'demo', 'demo_cluster')},
    'client/sync.c': ('tests/cluster/test_cli.py', 'the blocking side, which is what one-shot commands use'),
    'server/call_execute.c': ('tests/unit/server/call.c', 'a call means nothing without its queue'),
    'server/call_remote.c': ('tests/unit/server/call.c', 'a call means nothing without its queue'),
    'server/gather.c': ('tests/unit/server/call.c', 'over calls to another server'),
    'server/op_call.c': ('tests/unit/server/call.c', 'over calls to another server'),
    'server/forward.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_clear.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_cq.c': ('tests/unit/server/op_sql_execute.c', 'over a session'),
    'server/op_cq_subscribe.c': ('tests/unit/server/registry.c', 'over a session'),
    'server/op_get.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_get_all.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_get_region_names.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_get_size.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_key_set.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_put.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_put_all.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_put_if_absent.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_remove.c': ('tests/unit/server/op.c', 'over a session'),
    'server/op_select.c': ('tests/unit/server/op_sql_execute.c', 'over a session'),
    'server/op_sql.c': ('tests/unit/server/op_sql_execute.c', 'over a session'),
    'server/server.c': ('tests/sim/founding.c', 'needs a locator'),
    'server/ask.c': ('tests/sim/founding.c', 'from loop to loop, to a locator'),
    'server/cq_image.c': ('tests/unit/server/rows.c', 'what is packed is what two servers made'),
    'server/reconcile.c': ('tests/unit/server/registry.c', 'its second half'),
    'server/registry_plan.c': ('tests/unit/server/registry.c', 'over a catalog and its map'),
    'server/rows_feed.c': ('tests/unit/server/rows.c', 'rows mean nothing without both their servers'),
    'server/rows_out.c': ('tests/unit/server/rows.c', 'rows mean nothing without both their servers'),
    'server/rows_pull.c': ('tests/unit/server/rows.c', 'rows mean nothing without both their servers'),
    'server/subscription_client.c': ('tests/unit/server/subscription.c', 'over a session'),
    'query/aggregate_pack.c': ('tests/unit/query/state_pack.c', 'what is packed is the state of groups'),
    'server/snapshot.c': ('tests/unit/server/subscription_push.c', 'what is cut is what is pushed'),
    'server/worker.c': ('tests/sim/founding.c', 'needs a locator'),
}
# Unit tests of what is no product source: what they test instead.
OTHER_TESTS = {
    'tests/unit/common/sim.c': 'the simulated sides of the seams, tests/sim/',
    'tests/unit/query/vectors.c': 'the whole engine, on the recorded answers of a real Flink',
}

# Places of one machine, and hosts: the project needs none but the licence's.
FOREIGN = r'/ro' r'ot/|/home/\w|https?://(?!www\.apache\.org/licenses|127\.0\.0\.1|localhost|%s|\{|")[\w.-]+'
UNFINISHED = r'\b(TO' r'DO|FIX' r'ME|XX' r'X|HA' r'CK)\b'


class Tree:
    """The files of one source tree, without what is built or generated."""

    SKIP = re.compile(r'^(\.git|build.*|\.cache|__pycache__)$')

    def __init__(self, root):
        self.root = root
        self.files = {}
        for folder, names, files in os.walk(root):
            names[:] = [n for n in names if not self.SKIP.match(n)]
            for name in files:
                path = os.path.relpath(os.path.join(folder, name), root)
                if name.endswith(('.csv', '.tsv', '.pyc', '.bin', '.swp')) or '/data/fuzz/' in path:
                    continue
                with open(os.path.join(folder, name), 'rb') as file:
                    data = file.read()
                try:
                    self.files[path] = data.decode()
                except UnicodeDecodeError:
                    self.files[path] = ''
        self._code = {}

    def paths(self, *endings, top=None):
        for path in sorted(self.files):
            if path.endswith(endings) and (top is None or path.split('/')[0] in top):
                yield path

    def code(self, path):
        """The text with comments, literals and preprocessor definitions blanked; places stay."""
        if path not in self._code:
            self._code[path] = blank(self.files[path])
        return self._code[path]


def blank(text):
    def spaces(match):
        return re.sub(r'[^\n]', ' ', match.group())

    text = re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
                  lambda m: m.group() if in_include(text, m.start()) else spaces(m), text, flags=re.S)
    return re.sub(r'^[ \t]*#[ \t]*define(?:\\\n|[^\n])*', spaces, text, flags=re.M)


def in_include(text, at):
    start = text.rfind('\n', 0, at) + 1
    return text[start:at].lstrip().startswith('#include')


def line_of(text, at):
    return text.count('\n', 0, at) + 1


def matches_any(path, patterns):
    return any(re.fullmatch(p.replace('.', r'\.').replace('*', r'\w*'), path) for p in patterns)


# ---- Rules: each yields (path, line, what) ----

def rule_include_direction(tree):
    """a folder includes only the folders before it"""
    for path in tree.paths('.c', '.h', '.re', '.y', top=LAYERS):
        allowed = LAYERS[path.split('/')[0]]
        for match in re.finditer(r'^#include "([^"]+)"', tree.files[path], flags=re.M):
            target = match.group(1)
            if '/' not in target or '..' in target:
                if target.endswith('.pb-c.h') or '/' not in target and target.startswith('query_'):
                    continue
                yield path, line_of(tree.files[path], match.start()), f'"{target}" is not a path from the root'
            elif target.split('/')[0] not in allowed:
                yield path, line_of(tree.files[path], match.start()), f'"{target}" is not below this folder'


def rule_seams(tree):
    """only the real sides of the seams reach the clock, the network and the random source"""
    used = set()
    for path in tree.paths('.c', '.h', '.re', '.y', top=PRODUCT):
        for pattern, allowed in SEAMS:
            for match in re.finditer(pattern, tree.code(path)):
                if matches_any(path, allowed):
                    continue
                if path in SEAM_EXCEPTIONS:
                    used.add(path)
                    continue
                yield path, line_of(tree.files[path], match.start()), f'{match.group()} goes past the seams'
    for path in SEAM_EXCEPTIONS:
        if path not in used and path in tree.files:
            yield path, 0, 'stands in SEAM_EXCEPTIONS without need'


def calls(tree, path, names):
    pattern = r'(?<![\w.>])(' + '|'.join(names) + r')\s*\('
    for match in re.finditer(pattern, tree.code(path)):
        yield line_of(tree.files[path], match.start()), match.group(1)


def rule_banned_calls(tree):
    """banned calls are not made"""
    for path in tree.paths('.c', '.h', '.re', '.y'):
        for line, name in calls(tree, path, BANNED):
            yield path, line, f'{name}() is banned'


def rule_heap(tree):
    """the heap is reached through common/mem.h alone"""
    for path in tree.paths('.c', '.h', '.re', '.y', top=PRODUCT):
        if path != 'common/mem.c':
            for line, name in calls(tree, path, HEAP):
                yield path, line, f'{name}() goes past common/mem.h'


def rule_no_mutable_globals(tree):
    """nothing mutable lives at file scope or in a static local"""
    for path in tree.paths('.c', '.h', top=PRODUCT):
        code = re.sub(r'^[ \t]*#[^\n]*', lambda m: ' ' * len(m.group()), tree.code(path), flags=re.M)
        depth, start = 0, 0
        for at, char in enumerate(code):
            if char == '{':
                if depth == 0 and mutable(code[start:at]):
                    yield path, line_of(code, at), f'mutable: {flat(code[start:at])}'
                depth += 1
            elif char == '}':
                depth -= 1
                start = at + 1 if depth == 0 else start
            elif char == ';' and depth == 0:
                if mutable(code[start:at]):
                    yield path, line_of(code, at), f'mutable: {flat(code[start:at])}'
                start = at + 1
        for match in re.finditer(r'^[ \t]+static\s+(?!const\b|inline\b|_Noreturn\b)[^;({]*[;={]', code, flags=re.M):
            if 'const' not in match.group():
                yield path, line_of(code, match.start()), f'mutable: {flat(match.group())}'


def flat(text):
    return ' '.join(text.split())


def mutable(declaration):
    text = flat(declaration)
    declared = text.split('=')[0].strip()
    if '(' in declared and not re.search(r'\(\*', declared):
        return False  # a function
    if re.match(r'(typedef|extern|_Static_assert)\b', text):
        return False
    if not re.match(r'(static\s+|_Thread_local\s+|const\s+|volatile\s+)*(struct|enum|union|unsigned|signed)?\s*'
                    r'[\w]+[\s*]+(const\s+)?\w+\s*(\[[^\]]*\]\s*)*$', declared):
        return False  # a type, or no declaration
    if re.fullmatch(r'(struct|enum|union)\s+\w+', declared):
        return False
    after_pointer = declared.rsplit('*', 1)[-1] if '*' in declared else declared
    return not re.search(r'\bconst\b', after_pointer)


def functions(text):
    """(name, first line of the body, lines) of each function: braces in the first column."""
    lines = text.split('\n')
    start = None
    for number, line in enumerate(lines):
        if line == '{':
            start = number
        elif line == '}' and start is not None:
            head = ' '.join(lines[max(0, start - 6):start])
            names = re.findall(r'(\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$', head)
            yield (names[-1] if names else '?'), start + 1, number - start - 1
            start = None


def rule_function_length(tree):
    """functions have at most 70 lines"""
    for path in tree.paths('.c', '.h', '.re'):
        for name, line, length in functions(tree.files[path]):
            allowed = LENGTH_EXCEPTIONS.get(f'{path}:{name}', (FUNCTION_LINES,))[0]
            if length > allowed:
                yield path, line, f'{name}() has {length} lines, {allowed} are allowed'
            elif length <= FUNCTION_LINES < allowed:
                yield path, line, f'{name}() stands in LENGTH_EXCEPTIONS without need'


def rule_file_length(tree):
    """files have at most 600 lines, those of tests 1000"""
    for path in tree.paths('.c', '.h', '.re', '.y', '.py'):
        length = tree.files[path].count('\n')
        usual = TEST_FILE_LINES if path.startswith('tests/') else FILE_LINES
        allowed = LENGTH_EXCEPTIONS.get(path, (usual,))[0]
        if length > allowed:
            yield path, length, f'{length} lines, {allowed} are allowed'
        elif length <= usual < allowed:
            yield path, length, 'stands in LENGTH_EXCEPTIONS without need'


def rule_mirror(tree):
    """each source has a unit test of its name, and each unit test its source"""
    for path in tree.paths('.c', '.re', '.y', top=PRODUCT):
        test = f'tests/unit/{os.path.splitext(path)[0]}.c'
        if path in MIRROR_EXCEPTIONS:
            cover = MIRROR_EXCEPTIONS[path][0]
            if test in tree.files:
                yield path, 0, 'stands in MIRROR_EXCEPTIONS without need'
            elif cover not in tree.files:
                yield path, 0, f'{cover}, which should cover it, does not exist'
        elif test not in tree.files:
            yield path, 0, f'{test} does not exist'
    for path in tree.paths('.c'):
        if path.startswith('tests/unit/'):
            source = os.path.splitext(path[len('tests/unit/'):])[0]
            if path not in OTHER_TESTS and not any(source + end in tree.files for end in ('.c', '.h', '.re', '.y')):
                yield path, 0, f'there is no {source}.c that it could mirror'


def rule_built(tree):
    """each source and each unit test is named by a meson.build"""
    for path in tree.paths('.c', '.re', '.y'):
        folder, name = os.path.split(path)
        build = tree.files.get(folder + '/meson.build', '')
        if folder == 'cli':
            build += tree.files.get('meson.build', '')
        wanted = name if path.startswith(PRODUCT) else os.path.splitext(name)[0]
        if folder.split('/')[0] in PRODUCT + ('tests',) and not re.search(rf"\b{re.escape(wanted)}\b", build):
            yield path, 0, f'{folder}/meson.build does not name it'


def rule_guards(tree):
    """include guards carry the file's path"""
    for path in tree.paths('.h', top=PRODUCT + ('tests',)):
        guard = 'VUG_' + re.sub(r'[/.]', '_', path).upper()
        if f'#ifndef {guard}\n#define {guard}\n' not in tree.files[path]:
            yield path, 1, f'the guard should be {guard}'


def rule_text(tree):
    """lines fit, end clean, and nothing is left unfinished"""
    for path, text in sorted(tree.files.items()):
        if path == 'LICENSE':
            continue
        code = path.endswith(('.c', '.h', '.re', '.y', '.py', '.build', '.proto'))
        for number, line in enumerate(text.split('\n'), 1):
            if line != line.rstrip():
                yield path, number, 'white space at the end of the line'
            if '\t' in line and code:
                yield path, number, 'a tab'
            if code and len(line) > LINE_COLUMNS + (20 if path.endswith(('.py', '.build')) else 0):
                yield path, number, f'{len(line)} columns'
            if re.search(UNFINISHED, line) and path != 'tests/tidy.py':
                yield path, number, 'left unfinished: ' + line.strip()
        if text and not text.endswith('\n'):
            yield path, text.count('\n') + 1, 'no line end at the end of the file'


def rule_stands_alone(tree):
    """no file names a machine's folders or a registry's host"""
    for path, text in sorted(tree.files.items()):
        if path == 'tests/tidy.py':
            continue
        for match in re.finditer(FOREIGN, text):
            yield path, line_of(text, match.start()), f'names {match.group()}'


def rule_limits_used(tree):
    """each limit of common/limits.h is enforced somewhere"""
    limits = tree.files.get('common/limits.h', '')
    rest = '\n'.join(tree.code(p) for p in tree.paths('.c', '.h', '.re', '.y', top=PRODUCT))
    defines = '\n'.join(re.findall(r'^#define(?:\\\n|[^\n])*', '\n'.join(
        tree.files[p] for p in tree.paths('.c', '.h', '.re', '.y', top=PRODUCT)), flags=re.M))
    for match in re.finditer(r'^#define (LIMIT_\w+)', limits, flags=re.M):
        name = match.group(1)
        if not re.search(rf'\b{name}\b', rest) and len(re.findall(rf'\b{name}\b', defines)) < 2:
            yield 'common/limits.h', line_of(limits, match.start()), f'{name} is used nowhere'


def rule_operations(tree):
    """each row's handler exists: for Geode's requests in the op_*.c file of its name"""
    for folder in ('server', 'locator'):
        rows = tree.files.get(f'{folder}/ops.c')
        if rows is None:
            continue
        files = {p: tree.files[p] for p in tree.paths('.c', top=(folder,))}
        for match in re.finditer(r'\{\s*(\w+)\s*,[^{}]*?\b((?:locator_)?op_(\w+))\s*\}', rows):
            number, name, short = match.groups()
            found = [p for p, text in files.items() if re.search(rf'^[\w ]+\b{name}\(', text, flags=re.M)]
            if not found:
                yield f'{folder}/ops.c', line_of(rows, match.start()), f'nothing in {folder}/ defines {name}()'
            elif number.isdigit() and int(number) < 1001 and found != [f'{folder}/op_{short}.c']:
                yield found[0], 1, f'{name}() should stand in {folder}/op_{short}.c'
        for path, text in files.items():
            for name in re.findall(r'^enum error (op_\w+)\(struct session \*session, struct slice body\)', text,
                                   flags=re.M):
                if not re.search(rf'\b{name}\b', rows):
                    yield path, 1, f'{folder}/ops.c has no row for {name}()'


def rule_documents(tree):
    """commands, options, paths and tests that the documents name exist"""
    sources = '\n'.join(tree.files[p] for p in tree.paths('.c', '.h', top=('cli', 'common', 'server', 'locator')))
    words = set(re.findall(r'"(?:--)?([a-z][a-z0-9-]+)"', sources)) | {'help'}
    for name in re.findall(r'\.name = "([a-z -]+)"', sources):
        words.update(name.split())
    for path in tree.paths('.md'):
        if '/' in path and not path.startswith('docs/'):
            continue
        for match in re.finditer(r'^```\w*\n(.*?)^```', tree.files[path], flags=re.M | re.S):
            for offset, line in enumerate(match.group(1).split('\n')):
                number = line_of(tree.files[path], match.start(1)) + offset
                yield from check_command(tree, path, number, line, words)
        for match in re.finditer(r'`((?:common|protocol|query|server|locator|client|cli|tests|deploy|docs)/[\w./-]+)`',
                                 tree.files[path]):
            name = match.group(1).rstrip('/')
            if re.search('NAME|DIR', name):
                continue
            if name not in tree.files and not any(p.startswith(name + '/') for p in tree.files) and \
                    not os.path.exists(os.path.join(tree.root, name)):
                yield path, line_of(tree.files[path], match.start()), f'{name} does not exist'
        for match in re.finditer(r'`(test_\w+)\.(test_\w+)`', tree.files[path]):
            module = tree.files.get(f'tests/cluster/{match.group(1)}.py', '')
            if not re.search(rf'^    def {match.group(2)}\(', module, flags=re.M):
                yield path, line_of(tree.files[path], match.start()), f'there is no test {match.group(0)}'


def check_command(tree, path, number, line, words):
    line = re.sub(r"'[^']*'|\"[^\"]*\"", 'x', line.removeprefix('$ '))
    line = line.split(' #')[0]
    command = re.match(r'(?:build/)?vug(?:\s+([a-z]+))?', line)
    if command and command.group(1) and command.group(1) not in words:
        yield path, number, f'there is no command "vug {command.group(1)}"'
    if command:
        for option in re.findall(r'(?<=\s)--([a-z][a-z0-9-]+)', line):
            if option not in words:
                yield path, number, f'there is no option --{option}'
    script = re.match(r'((?:deploy|tests|\.ci)/[\w./-]+)', line)
    if script and script.group(1) not in tree.files and not os.path.exists(os.path.join(tree.root, script.group(1))):
        yield path, number, f'{script.group(1)} does not exist'


def rule_format(tree):
    """clang-format changes nothing"""
    tool = shutil.which('clang-format')
    if tool is None:
        raise Skip('clang-format is not installed')
    paths = list(tree.paths('.c', '.h', top=PRODUCT + ('tests',)))
    halves = [paths[n::4] for n in range(4) if paths[n::4]]

    def run(half):
        return subprocess.run([tool, '--dry-run', '--ferror-limit=1'] + half, cwd=tree.root, capture_output=True,
                              text=True).stderr

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for output in pool.map(run, halves):
            seen = set()
            for match in re.finditer(r'^([^:\n]+):(\d+):\d+: (?:warning|error): (.*)$', output, flags=re.M):
                if match.group(1) not in seen:
                    seen.add(match.group(1))
                    yield match.group(1), int(match.group(2)), 'clang-format would change it'


class Skip(Exception):
    pass


RULES = [rule for name, rule in sorted(globals().items()) if name.startswith('rule_')]

# ---- The rules find what they are for: one small tree that is clean, and what to add for each violation ----

CLEAN = {
    'README.md': '# X\n\n```sh\ntests/run\nvug put --locator=x r k v\n```\n',
    '.clang-format': 'BasedOnStyle: LLVM\nIndentWidth: 4\nBreakBeforeBraces: Linux\n'
                     'AllowShortFunctionsOnASingleLine: None\n',
    'meson.build': '', 'tests/run': '#!/bin/sh\n',
    'common/meson.build': "files('a.c')\n", 'tests/unit/common/meson.build': "['a']\n",
    'common/a.c': '#include "common/a.h"\n\nstatic const char *const names[] = {"put", "locator"};\n\n'
                  'const char *a_name(int i)\n{\n    return names[i % LIMIT_A];\n}\n',
    'common/a.h': '#ifndef VUG_COMMON_A_H\n#define VUG_COMMON_A_H\n\nconst char *a_name(int i);\n\n#endif\n',
    'common/limits.h': '#ifndef VUG_COMMON_LIMITS_H\n#define VUG_COMMON_LIMITS_H\n\n#define LIMIT_A 2\n\n#endif\n',
    'tests/unit/common/a.c': 'int main(void)\n{\n    return 0;\n}\n',
    'server/ops.c': '', 'server/meson.build': 'ops.c\n', 'tests/unit/server/ops.c': '',
    'tests/unit/server/meson.build': 'ops\n',
}
LONG = 'int f(void)\n{\n' + '    g();\n' * 71 + '}\n'
PLANTED = [
    ('rule_include_direction', 'common/a.c', '#include "server/ops.h"\n'),
    ('rule_include_direction', 'common/a.c', '#include "a.h"\n'),
    ('rule_seams', 'common/a.c', '#include <event2/event.h>\n'),
    ('rule_seams', 'server/ops.c', '#include <sys/socket.h>\n'),
    ('rule_seams', 'server/ops.c', 'int f(void)\n{\n    return time(NULL);\n}\n'),
    ('rule_banned_calls', 'common/a.c', 'int f(void)\n{\n    return atoi("1");\n}\n'),
    ('rule_banned_calls', 'tests/unit/common/a.c', 'void f(void)\n{\n    usleep(1);\n}\n'),
    ('rule_heap', 'common/a.c', 'void *f(void)\n{\n    return malloc(1);\n}\n'),
    ('rule_no_mutable_globals', 'common/a.c', 'static int count;\n'),
    ('rule_no_mutable_globals', 'common/a.c', 'static const char *last[] = {"x"};\n'),
    ('rule_no_mutable_globals', 'common/a.c', 'struct x *head = NULL;\n'),
    ('rule_no_mutable_globals', 'common/a.c', 'int f(void)\n{\n    static int n = 0;\n    return n++;\n}\n'),
    ('rule_function_length', 'common/a.c', LONG),
    ('rule_file_length', 'common/a.c', 'int x;\n' * 601),
    ('rule_mirror', 'common/b.c', 'int f(void);\n'),
    ('rule_mirror', 'tests/unit/common/c.c', 'int f(void);\n'),
    ('rule_built', 'common/b.c', 'int f(void);\n'),
    ('rule_guards', 'common/b.h', '#ifndef B_H\n#define B_H\n#endif\n'),
    ('rule_text', 'common/a.c', 'int f(void); \n'),
    ('rule_text', 'common/a.c', '/* ' + 'x' * 100 + ' */\n'),
    ('rule_text', 'common/a.c', '/* TO' 'DO: more */\n'),
    ('rule_text', 'common/a.c', 'int f(void);'),
    ('rule_stands_alone', 'README.md', 'see /ho' 'me/somebody\n'),
    ('rule_stands_alone', 'README.md', 'from ht' 'tps://example.org/x\n'),
    ('rule_limits_used', 'common/limits.h', '#define LIMIT_B 3\n'),
    ('rule_operations', 'server/ops.c', 'x = {{2, "put", 0, "DATA:WRITE", op_put}};\n'),
    ('rule_operations', 'server/op_get.c', 'enum error op_get(struct session *session, struct slice body)\n{\n}\n'),
    ('rule_documents', 'README.md', '```sh\nvug fly\n```\n'),
    ('rule_documents', 'README.md', '```sh\nvug put --wings\n```\n'),
    ('rule_documents', 'README.md', '```sh\ntests/nothing\n```\n'),
    ('rule_documents', 'README.md', 'look at `common/nothing.c`\n'),
    ('rule_documents', 'README.md', 'see `test_a.test_nothing`\n'),
    ('rule_format', 'common/a.c', 'int  f( void );\n'),
]


def violations(rule, files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), 'w') as file:
                file.write(text)
        return list(rule(Tree(root)))


def self_tests():
    """Yields (name, complaint or None) for each planted violation and for the clean tree."""
    by_name = {rule.__name__: rule for rule in RULES}
    for rule in RULES:
        found = violations(rule, CLEAN)
        yield f'{rule.__name__} is content with a clean tree', f'it found {found}' if found else None
    for name, path, text in PLANTED:
        planted = dict(CLEAN)
        planted[path] = planted.get(path, '') + text
        before = len(violations(by_name[name], CLEAN))
        found = violations(by_name[name], planted)
        shown = text.strip().split('\n')[0][:40]
        yield f'{name} finds {shown!r} in {path}', None if len(found) > before else 'it found nothing'


def report(number, name, complaints, skip=None):
    if skip:
        print(f'ok {number} - {name} # SKIP {skip}')
        return True
    print(f'{"not ok" if complaints else "ok"} {number} - {name}')
    for complaint in complaints:
        print(f'# {complaint}')
    return not complaints


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    own = True
    if len(sys.argv) == 3 and sys.argv[1] == '--tree':
        root, own = sys.argv[2], False
    elif len(sys.argv) > 1:
        sys.exit(__doc__)
    tree = Tree(root)
    number, good = 0, True
    for rule in RULES:
        number += 1
        try:
            found = [f'{path}:{line}: {what}' for path, line, what in rule(tree)]
            good &= report(number, rule.__doc__, found)
        except Skip as skip:
            report(number, rule.__doc__, [], str(skip))
    if own:
        for name, complaint in self_tests():
            if 'rule_format' in name and shutil.which('clang-format') is None:
                continue
            number += 1
            good &= report(number, name, [complaint] if complaint else [])
    print(f'1..{number}')
    sys.exit(0 if good else 1)


if __name__ == '__main__':
    main()
