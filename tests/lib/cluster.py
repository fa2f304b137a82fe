"""Real members for tests: `vug locator` and `vug server` as processes on loopback ports that the kernel picks.

Only processes started here are ended, each by its own handle."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

from wire import Connection

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VUG = os.environ.get('VUG', os.path.join(ROOT, 'build', 'vug'))
SANITIZED = os.environ.get('VUG_SANITIZED', '')
# How much slower a sanitizer build is.
SLOWNESS = 5 if SANITIZED else 1
# Deadlines are for what hangs, so that a slow and loaded machine does not reach them.
PATIENCE = 6 if SANITIZED else 3
COMPLAINTS = re.compile(r'ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|'
                        r'\b(INVARIANT|PRE|POST)\b.*:\d+')
READINGS = os.path.join(ROOT, 'deploy', 'data', 'weather-2013.csv')
DDL = ("CREATE TABLE SensorReadings (id STRING, timestamp BIGINT, temperature DOUBLE) "
       "WITH ('connector'='geode-region','region'='my_region')")
FOUNDING = 'SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings WHERE timestamp >= start_time'


def plain_only(test):
    """Marks a test of memory or speed, which says nothing in a sanitizer build: tap.py leaves it out there."""
    test.plain_only = True
    return test


def wait_until(condition, what, seconds=10):
    """Asks until it holds. For conditions that nobody announces, such as the memory of a process."""
    deadline = time.monotonic() + seconds * PATIENCE
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f'{what}: not within {seconds * PATIENCE} s')
        pause.wait(0.02)


def wait_whole(cluster, seconds=40):
    """Until all buckets have all their copies; a failure shows what lacks."""
    done = []
    try:
        wait_until(lambda: done.append(cluster.vug('status')) or done[-1].returncode == 0,
                   'all buckets have their copies', seconds)
    except AssertionError as error:
        raise AssertionError(f'{error}; vug status ends with {done[-1].returncode}:\n'
                             f'{done[-1].stdout}{done[-1].stderr}') from None


class Process:
    """A child whose stderr is read as it comes, so that a test can wait for a line. `command` are the words that run
    it, if it is not run here."""
    seen = []  # those of the running test, for tap.py to show when it fails

    def __init__(self, arguments, env=None, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, command=None):
        self.arguments = arguments
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self.follower = None
        self.child = subprocess.Popen(command or [VUG] + arguments, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                                      env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.seen.append(self)

    def _read(self):
        for line in self.child.stderr:
            with self.changed:
                self.lines.append(line.decode(errors='replace').rstrip('\n'))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def follow(self, take):
        """take(line) for each line of stdout as it comes, on a thread of its own that ends with the process."""
        def read():
            for line in self.child.stdout:
                take(line)
        self.follower = threading.Thread(target=read, daemon=True)
        self.follower.start()

    @property
    def name(self):
        return f'vug {" ".join(self.arguments[:3])}'

    @property
    def pid(self):
        return self.child.pid

    @property
    def log(self):
        with self.changed:
            return '\n'.join(self.lines)

    def wait_line(self, pattern, seconds=20, start=0):
        """The first line from `start` on that matches."""
        deadline = time.monotonic() + seconds * PATIENCE
        with self.changed:
            while True:
                for line in self.lines[start:]:
                    if re.search(pattern, line):
                        return line
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    why = 'it ended without' if self.ended else f'within {seconds * PATIENCE} s there was no'
                    raise AssertionError(f'{self.name}: {why} line {pattern!r}; its last line is {self.lines[-1:]}')
                start = len(self.lines)
                self.changed.wait(left)

    def wait(self, seconds=20):
        code = self.child.wait(seconds * PATIENCE)
        self.reader.join()
        if self.follower is not None:
            self.follower.join()
        return code

    def close_stdout(self):
        """After its end."""
        if self.child.stdout:
            self.child.stdout.close()

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        """kill -9, and gone when this returns."""
        if self.child.poll() is None:
            self.child.kill()
        return self.wait()

    def stop(self):
        """SIGTERM; the exit status."""
        if self.child.poll() is None:
            self.child.terminate()
            if self.stands_still():
                self.child.send_signal(signal.SIGCONT)  # or it would not hear it
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.wait()
            raise AssertionError(f'{self.name} did not end on SIGTERM within {20 * PATIENCE} s') from None

    def stands_still(self):
        """It was stopped. (A needless SIGCONT is not harmless: it can end the wait of a leak check for ever.)"""
        with open(f'/proc/{self.pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] == 'T'

    def stop_well(self):
        """SIGTERM, and it ends with 0."""
        code = self.stop()
        if code != 0:
            raise AssertionError(f'{self.name} ended with {code}')

    def complaint(self):
        """What a sanitizer, or a broken invariant, had to say; '' if nothing."""
        found = COMPLAINTS.search(self.log)
        return found.string[found.start():] if found else ''

    def status(self, name):
        """A field of /proc/PID/status, in KiB."""
        with open(f'/proc/{self.pid}/status') as file:
            return int(re.search(rf'^{name}:\s+(\d+)', file.read(), flags=re.M).group(1))

    @property
    def rss(self):
        """Resident memory in bytes."""
        return self.status('VmRSS') * 1024


class Member(Process):
    """A locator or a server that has said `ready in`."""
    host = '127.0.0.1'

    def __init__(self, arguments, env=None, ready=True, command=None):
        super().__init__(arguments, env, command=command)
        if ready:
            self.wait_ready()

    def wait_ready(self):
        line = self.wait_line(r'\bready in \d+ ms')
        self.ready_ms = int(re.search(r'ready in (\d+) ms', line).group(1))
        self.ports = dict(re.findall(r'^\s*([\w-]+)\s+[\w.\[\]:-]+:(\d+)\b', self.log.split('ready in')[0], flags=re.M))
        self.ports = {name: int(port) for name, port in self.ports.items()}
        self.port = self.ports[self.arguments[0]]

    def metrics(self):
        """name -> value, of /metrics."""
        with urllib.request.urlopen(f'http://{self.host}:{self.ports["http"]}/metrics', timeout=20 * PATIENCE) as page:
            lines = page.read().decode().split('\n')
        return {name: int(value) for name, value in (line.split() for line in lines if line and line[0] != '#')}


class Cluster:
    """A locator, servers, and the command line pointed at them."""
    locator_host = '127.0.0.1'

    def __init__(self, servers=1, regions=(), server_options=()):
        self.folder = tempfile.mkdtemp(prefix='vug-test-')
        self.members = []
        self.server_options = list(server_options)
        self.locator_port = 0
        self.servers = []
        try:
            self.start_locator()
            for number in range(servers):
                self.servers.append(self.start_server(f'srv{number + 1}'))
            for name, *options in regions:
                self.create_region(name, *options)
        except BaseException:
            self.close(check=False)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(check=kind is None)

    def enter(self):
        """Puts the calling thread where clients are."""

    @property
    def data_dir(self):
        return os.path.join(self.folder, 'locator')

    def start_locator(self, *options):
        """Starts the locator, or starts it again on its port and directory."""
        self.locator = Member(['locator', '--name', 'locator1', '--bind-address', '127.0.0.1', '--port',
                               str(self.locator_port), '--http-port', '0', '--data-dir', self.data_dir, *options])
        self.members.append(self.locator)
        self.locator_port = self.locator.port
        return self.locator

    def server_arguments(self, name, port=0):
        return ['server', '--name', name, '--bind-address', '127.0.0.1', '--server-port', str(port), '--http-port', '0',
                '--locators', f'127.0.0.1[{self.locator_port}]', *self.server_options]

    def start_server(self, name='srv1', *options, port=0):
        server = Member(self.server_arguments(name, port) + list(options))
        self.members.append(server)
        return server

    @property
    def server(self):
        return self.servers[0]

    @property
    def port(self):
        return self.server.port

    def restart_server(self, port=None):
        """Ends the first server with kill -9 if it still runs and starts it again, by default on its port."""
        old = self.servers[0]
        old.kill()
        self.members.remove(old)
        self.servers[0] = self.start_server(old.arguments[2], port=old.port if port is None else port)
        return self.servers[0]

    def arguments(self, *arguments):
        return [f'--locator=127.0.0.1[{self.locator_port}]', *arguments]

    def vug(self, *arguments, stdin=None, timeout=60):
        """Runs one command; its stdout, stderr and returncode."""
        return run(*self.arguments(*arguments), stdin=stdin, timeout=timeout)

    def ok(self, *arguments, stdin=None):
        """Runs a command that must succeed; its stdout."""
        done = self.vug(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise AssertionError(f'vug {" ".join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}')
        return done.stdout

    def start(self, *arguments):
        """Starts a command that runs for a while, with a pipe as stdout."""
        process = Process(self.arguments(*arguments), stdout=subprocess.PIPE)
        self.members.append(process)
        return process

    def create_region(self, name, kind='PARTITION', *options):
        self.ok('region', 'create', name, '--type', kind, *options)

    def connect(self, **options):
        """A client connection to the first server."""
        return Connection(self.port, **options)

    def put_reading(self, name, temperature, timestamp=0, region='my_region'):
        with self.connect() as conn:
            conn.put(region, name, {'id': name, 'timestamp': timestamp, 'temperature': temperature})

    def close(self, check=True):
        """Stops everything that still runs. With `check`, members must end with 0; for complaints tap.py looks."""
        wrong = []
        for member in reversed(self.members):
            running = member.child.poll() is None
            try:
                code = member.stop() if check else member.kill()
            except AssertionError as error:
                wrong.append(str(error))
                continue
            finally:
                member.close_stdout()
            if check and running and code != 0 and isinstance(member, Member):
                wrong.append(f'{member.name} ended with {code}')
        shutil.rmtree(self.folder, ignore_errors=True)
        if wrong and check:
            raise AssertionError('\n'.join(wrong))


def run(*arguments, stdin=None, timeout=60, env=None):
    """Runs `vug` without a cluster."""
    done = subprocess.run([VUG, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout * PATIENCE,
                          env={**os.environ, **(env or {})}, check=False)
    if COMPLAINTS.search(done.stderr):
        raise AssertionError(f'vug {" ".join(arguments)} complained:\n{done.stderr}')
    return done


def died_of(code):
    """The signal that ended a process, or None."""
    return signal.Signals(-code) if code < 0 else None
