"""The servers under comparison: each on loopback, pinned to one core, ended by its own handle."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'lib'))
import cluster as vug_cluster  # noqa: E402

SERVER_CORE, CLIENT_CORE = 0, 1
REGION = 'bench'


@contextlib.contextmanager
def on_core(core):
    """What is started inside runs on this core, all of its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores_are_two():
    return {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0)


def find_program(name, folders):
    """A program that the build made: bench-load, bench-echo."""
    for folder in folders:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    sys.exit(f'tests/bench/run: {name} is not in {" or ".join(folders)}; '
             'build first: meson setup build && ninja -C build')


class Wrong(Exception):
    """A peer answered wrongly, or not at all."""


class Load:
    """The load generator."""

    def __init__(self, program, connections, keys, value_bytes):
        self.program = program
        self.options = {'connections': connections, 'keys': keys, 'value-bytes': value_bytes}

    def run(self, peer, protocol, wait=600, **options):
        """One run; its line of JSON."""
        words = [self.program, '--protocol', protocol, '--port', str(peer.port), '--pid', str(peer.pid)]
        for name, value in {**self.options, **options}.items():
            name = '--' + name.replace('_', '-')
            if value is not False:
                words += [name] if value is True else [name, str(value)]
        with on_core(CLIENT_CORE):
            done = subprocess.run(words, capture_output=True, text=True, timeout=wait, check=False)
        if done.returncode != 0:
            raise Wrong(f'{" ".join(words[1:])}\n{done.stdout}{done.stderr}')
        return json.loads(done.stdout)

    def fill(self, peer, protocol, keys):
        """Writes every key once."""
        return self.run(peer, protocol, depth=64, keys=keys, requests=keys, sequential=True)


class Peer:
    """A process on loopback. `operations`: {shown name: protocol}; `filler`: the protocol that writes."""
    name = ''
    operations = {}
    filler = None
    child = None

    @property
    def pid(self):
        return self.child.pid

    @property
    def rss(self):
        """Resident memory in bytes."""
        with open(f'/proc/{self.pid}/status') as file:
            return int(re.search(r'^VmRSS:\s+(\d+)', file.read(), flags=re.M).group(1)) * 1024

    def close(self):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Echo(Peer):
    name = 'echo'
    operations = {'echo': 'echo'}

    def __init__(self, program):
        with on_core(SERVER_CORE):
            self.child = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
        self.port = int(self.child.stdout.readline().split()[1])

    def close(self):
        super().close()
        self.child.stdout.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Foreign(Peer):
    """A peer that cannot pick a free port by itself."""

    def __init__(self):
        for _ in range(5):
            self.port = free_port()
            with on_core(SERVER_CORE):
                self.child = subprocess.Popen(self.arguments(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if self.answers():
                return
            self.close()
        raise Wrong(f'{self.name} does not start: {" ".join(self.arguments())}')

    def arguments(self):
        raise NotImplementedError

    def answers(self):
        deadline = time.monotonic() + 10
        while self.child.poll() is None and time.monotonic() < deadline:
            with socket.socket() as conn:
                if conn.connect_ex(('127.0.0.1', self.port)) == 0:
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(0.02)
        return False


class Redis(Foreign):
    name = 'redis'
    program = 'redis-server'
    operations = {'get': 'redis-get', 'put': 'redis-set'}
    filler = 'redis-set'

    def arguments(self):
        return [self.program, '--bind', '127.0.0.1', '--port', str(self.port), '--save', '', '--appendonly', 'no',
                '--dir', tempfile.gettempdir()]


class Memcached(Foreign):
    name = 'memcached'
    program = 'memcached'
    operations = {'get': 'memcached-get', 'put': 'memcached-set'}
    filler = 'memcached-set'

    def arguments(self):
        user = ['-u', 'nobody'] if os.getuid() == 0 else []
        return [self.program, '-l', '127.0.0.1', '-p', str(self.port), '-U', '0', '-t', '1', '-m', '8192', *user]


class Vug(Peer):
    """A locator and one server; `wrapper` is a command that the server runs under."""
    name = 'vug'
    operations = {'get': 'vug-get', 'put': 'vug-put', 'write batch': 'vug-writebatch'}
    filler = 'vug-put'

    def __init__(self, program, wrapper=(), tables=False):
        vug_cluster.VUG = program
        self.folder = tempfile.mkdtemp(prefix='vug-bench-')
        try:
            with on_core(SERVER_CORE):
                self.cluster = vug_cluster.Cluster(servers=0)
                if wrapper:
                    vug_cluster.VUG = self.wrap(program, wrapper)
                try:
                    self.server = self.cluster.start_server('bench')
                finally:
                    vug_cluster.VUG = program
                self.cluster.servers.append(self.server)
            self.cluster.create_region(REGION)
            if tables:
                self.cluster.create_region('my_region')
                self.cluster.ok('sql', vug_cluster.DDL)
        except BaseException:
            self.close()
            raise

    def wrap(self, program, wrapper):
        path = os.path.join(self.folder, 'wrapped')
        with open(path, 'w') as file:
            file.write('#!/bin/sh\nexec ' + ' '.join(wrapper) + f' {program} "$@"\n')
        os.chmod(path, 0o755)
        return path

    @property
    def child(self):
        return self.server.child

    @property
    def port(self):
        return self.server.port

    def close(self):
        if hasattr(self, 'cluster'):
            self.cluster.close(check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop_server(self):
        """SIGTERM for the server alone, and its end."""
        self.server.stop()


def start_peers(programs, wanted, note):
    """Everybody who is installed and wanted, echo first. The caller closes them."""
    peers = []
    try:
        peers.append(Echo(programs['bench-echo']))
        peers.append(Vug(programs['vug']))
        for kind in (Redis, Memcached):
            if kind.name not in wanted:
                continue
            if shutil.which(kind.program) is None:
                note(f'{kind.program} is not installed: left out')
                continue
            peers.append(kind())
    except BaseException:
        close_peers(peers)
        raise
    return peers


def close_peers(peers):
    for peer in reversed(peers):
        peer.close()


def pressure():
    """Percent of the last ten seconds in which somebody waited for a CPU; None if the kernel does not tell."""
    try:
        with open('/proc/pressure/cpu') as file:
            return float(re.search(r'avg10=([\d.]+)', file.read()).group(1))
    except OSError:
        return None


def probe(program, seconds=0.3):
    """[share of time lost] on each of the two cores."""
    lost = []
    for core in (SERVER_CORE, CLIENT_CORE):
        with on_core(core):
            done = subprocess.run([program, '--probe', '--seconds', str(seconds)], capture_output=True, text=True,
                                  check=True)
        lost.append(json.loads(done.stdout)['lost'])
    return lost


class Noise:
    """What others did on this machine before and after a run."""

    def __init__(self, program):
        self.program = program
        self.lost = [probe(program)]

    def label(self):
        self.lost.append(probe(self.program))
        worst = [max(pair) for pair in zip(*self.lost)]
        shown = ', '.join(f'{100 * share:.0f} %' for share in worst)
        waits = pressure()
        text = 'quiet' if max(worst) < 0.10 else 'noisy'
        waiting = '' if waits is None else f'; CPU pressure {waits:.0f} %'
        return f'{text}: time lost on the cores {shown}{waiting}'


def quartiles(values):
    """(first quartile, median, third quartile)."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method='inclusive')
    return first, median, third


def interrupt(process):
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)
