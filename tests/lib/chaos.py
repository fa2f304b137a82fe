"""Random work from many clients at all servers, and what must hold of it whatever happens to the members: no
acknowledged write is lost, no read goes back, a repeated batch counts once, subscribers get every row once, in order.

VUG_CHAOS_SECONDS (25) for each test, VUG_CHAOS_SEED repeats its choices."""
import collections
import json
import os
import random
import re
import signal
import threading
import time
import unittest

from cluster import PATIENCE, SLOWNESS, Cluster, wait_until, wait_whole
from ledger import is_whole
from wire import WRITE_BATCH, Connection, Refused, frame, write_batch

SECONDS = float(os.environ.get('VUG_CHAOS_SECONDS', '25'))
SEED = int(os.environ.get('VUG_CHAOS_SEED', '0')) or random.SystemRandom().randrange(1 << 32)
GROUPS = 3
# A bucket that nobody serves for a while; it says whether the change may have happened.
UNSERVED = re.compile(r'(TIMEOUT|IN_DOUBT): Bucket \d+ of region /\w+ ')
TROUBLE = (OSError, EOFError, ValueError, Refused)  # what a client may see of a fault


def clock():
    """The time as the logs of members have it."""
    now = time.time()
    return time.strftime('%T', time.gmtime(now)) + f'.{int(now * 1000) % 1000:03}'


class Oracle:
    """What each key may be. One writer numbers the versions of a key; a removal is a version as well. Whatever was
    acknowledged or read sets a floor that no later read may fall below."""

    def __init__(self):
        self.lock = threading.Lock()
        self.versions = collections.defaultdict(list)  # key -> for each version: is it a put?
        self.floors = collections.defaultdict(int)
        self.wrong = []
        self.refusals = collections.Counter()
        self.counts = collections.Counter()

    def blame(self, text):
        with self.lock:
            self.wrong.append(f'{clock()} {text}')

    def issue(self, key, is_put):
        with self.lock:
            self.versions[key].append(is_put)
            return len(self.versions[key])

    def acknowledged(self, key, version):
        with self.lock:
            self.floors[key] = max(self.floors[key], version)

    def floors_of(self, keys):
        with self.lock:
            return [self.floors[key] for key in keys]

    def read(self, key, floor, value, where):
        """A read that began when `floor` was known."""
        with self.lock:
            versions = self.versions[key]
            if value is None:
                fits = [v for v in range(floor, len(versions) + 1) if v == 0 or not versions[v - 1]]
            else:
                v = value['n']  # 'pad' is for size alone
                fits = [v] if floor <= v <= len(versions) and versions[v - 1] and value['id'] == key else []
            if not fits:
                self.wrong.append(f'{clock()} {where}: {key} is {value}, the floor is {floor} of '
                                  f'{len(versions)}, puts {versions[max(0, floor - 3):floor + 3]}')
            else:
                self.floors[key] = max(self.floors[key], fits[0])

    def last(self, key):
        versions = self.versions[key]
        return {'id': key, 'n': len(versions), 'g': f'g{len(versions) % GROUPS}'} if versions and versions[-1] else None

    def puts(self):
        """key -> the versions that were put."""
        return {key: [v for v, is_put in enumerate(versions, 1) if is_put] for key, versions in self.versions.items()}


class Client:
    """A thread that works at one random server after the other."""

    def __init__(self, chaos, name):
        self.chaos, self.oracle, self.name = chaos, chaos.oracle, name
        self.random = random.Random(f'{SEED} {name}')
        self.conn, self.port = None, 0
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        self.chaos.cluster.enter()
        try:
            while not self.chaos.stopping.is_set():
                self.step()
        except Exception as error:  # pylint: disable=broad-except
            self.oracle.blame(f'{self.name} ended: {error!r}')
        self.leave()

    def leave(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = None

    def connection(self):
        if self.conn is not None and self.random.random() < 0.05:
            self.leave()
        if self.conn is None:
            server = self.random.choice(self.chaos.cluster.servers)
            self.port = server.port
            self.conn = Connection(self.port, server.host, timeout=self.random.choice((0.3, 2, 6)) * SLOWNESS)
        return self.conn

    def trouble(self, error):
        """Notes what went wrong and goes elsewhere."""
        with self.oracle.lock:
            self.oracle.refusals[str(error)[:120] if isinstance(error, (Refused, ValueError)) else
                                 type(error).__name__] += 1
        if isinstance(error, Refused) and error.code == 100 and not UNSERVED.match(error.text):
            self.oracle.blame(f'{self.name}: {error} at {self.port}')
        self.leave()
        time.sleep(0.005)  # not to ask without a pause

    def attempt(self, work):
        """work(connection); None when it failed."""
        try:
            found = work(self.connection())
        except TROUBLE as error:
            self.trouble(error)
            return None
        self.oracle.counts[type(self).__name__] += 1
        return found


class Writer(Client):
    """Versions of its own keys, by batches that it repeats at other servers until they are answered."""

    def __init__(self, chaos, name, region, keys=12):
        super().__init__(chaos, name)
        self.region = region
        self.keys = [f'{region}.{name}.{number}' for number in range(keys)]
        chaos.keys[region].extend(self.keys)
        self.id = os.urandom(16)
        self.sequence = 1

    def batch(self):
        """(keys with their versions, the operations of a batch)."""
        versions, operations = [], []
        for _ in range(self.random.randint(1, 12)):
            key = self.random.choice(self.keys)
            is_put = self.random.random() < 0.85
            version = self.oracle.issue(key, is_put)
            versions.append((key, version))
            row = {'id': key, 'n': version, 'g': f'g{version % GROUPS}'}
            if self.random.random() < 0.02:
                row['pad'] = 'x' * self.random.choice((5000, 70000, 300000))
            operations.append((key, row if is_put else None))
        return versions, operations

    def send(self, conn, batches, sequence):
        """All at once, then their answers; how many came."""
        answered = self.sequence - 1
        conn.send(b''.join(
            frame(WRITE_BATCH, write_batch(self.id, sequence + before, self.region, operations, answered))
            for before, operations in batches))
        for _ in batches:
            conn.reply()
        return len(batches)

    def step(self):
        """Up to four batches at once, repeated until all are answered."""
        made = [self.batch() for _ in range(self.random.choice((1, 1, 2, 4)))]
        batches, before = [], 0
        for _, operations in made:
            batches.append((before, operations))
            before += len(operations)
        began = time.monotonic()
        while self.attempt(lambda conn: self.send(conn, batches, self.sequence)) is None:
            if time.monotonic() - began > 60 * PATIENCE:
                raise AssertionError(f'batches of {[versions for versions, _ in made]} were not answered in a minute')
        for versions, _ in made:
            for key, version in versions:
                self.oracle.acknowledged(key, version)
        self.sequence += before


class Reader(Client):
    """Reads keys of writers."""

    def step(self):
        region = self.random.choice(list(self.chaos.keys))
        keys = self.random.sample(self.chaos.keys[region], self.random.choice((1, 1, 1, 5, 20)))
        floors = self.oracle.floors_of(keys)
        if len(keys) == 1:
            found = self.attempt(lambda conn: (conn.get(region, keys[0]),))
            found = None if found is None else {keys[0]: found[0]}
        else:
            found = self.attempt(lambda conn: conn.get_all(region, keys))
        if found is not None:
            for key, floor in zip(keys, floors):
                self.oracle.read(key, floor, found[key], f'{self.name} at {self.port}')


class Plain(Client):
    """Plain puts: what is in doubt is left alone, what was acknowledged is there at another server."""

    def __init__(self, chaos, name, region):
        super().__init__(chaos, name)
        self.region, self.generation, self.number = region, 0, 0
        self.acknowledged = {}  # key -> the value that it has
        self.doubtful = set()

    def step(self):
        key = f'plain.{self.name}.{self.generation}'
        self.number += 1
        if self.attempt(lambda conn: conn.put(self.region, key, self.number) or True) is None:
            self.doubtful.add(key)
            self.acknowledged.pop(key, None)
            self.generation += 1
            return
        self.acknowledged[key] = self.number
        if self.random.random() < 0.3:
            self.leave()
            found = self.attempt(lambda conn: (conn.get(self.region, key),))
            if found is not None and found[0] != self.number:
                self.oracle.blame(f'{self.name} at {self.port}: {key} is {found[0]}, not {self.number}')
        if self.random.random() < 0.2:
            self.generation += 1


class Racer(Client):
    """putIfAbsent of the same keys as another: one of them wins, and both agree who."""

    def __init__(self, chaos, name, region):
        super().__init__(chaos, name)
        self.region, self.number, self.results = region, 0, []

    def step(self):
        self.number += 1
        key = f'race.{self.number}'
        found = self.attempt(lambda conn: (conn.put_if_absent(self.region, key, self.name),))
        # (None,): it was absent; (value,): this one stands; None: in doubt
        self.results.append(None if found is None else found[0] or self.name)


class Events:
    """`vug cq`, which resumes by itself."""

    def __init__(self, chaos, query, encoding=None):
        words = ['--encoding', encoding] if encoding else []
        self.process = chaos.cluster.start('cq', query, '--start', 'latest', '-o', 'ndjson', *words)
        self.rows, self.statuses = [], []
        chaos.addCleanup(self.process.kill)  # before the cluster is closed
        self.process.follow(self._take)
        wait_until(lambda: self.statuses, f'{query} is subscribed', 20)

    def _take(self, line):
        event = json.loads(line)
        (self.statuses if 'status' in event else self.rows).append(event)

    def told(self):
        return [s for s in self.statuses if s['status'] in ('GAP', 'RESNAPSHOT', 'DATA_LOSS', 'ERROR', 'CLOSED', 'END')]


class Chaos(unittest.TestCase):
    was_silent = False
    alone = False  # one fault at a time

    def start(self, regions, cluster=None):
        print(f'# VUG_CHAOS_SEED={SEED}', flush=True)
        self.random = random.Random(SEED)
        self.cluster = cluster or Cluster(servers=3, regions=regions)
        self.addCleanup(self.cluster.close)
        self.oracle = Oracle()
        self.keys = collections.defaultdict(list)
        self.stopping = threading.Event()
        self.done = []
        self.wait_whole()
        names = [region[0] for region in regions]
        self.rows = {name: Events(self, f'SELECT id, n FROM {name}') for name in names}
        self.groups = {name: Events(self, f'SELECT g, COUNT(*) AS c, SUM(n) AS s FROM {name} GROUP BY g', 'upsert')
                       for name in names}
        self.clients = []
        for name in names:
            self.clients += [Writer(self, 'w1', name), Writer(self, 'w2', name), Plain(self, 'p1', name)]
        self.racers = [Racer(self, name, names[0]) for name in ('x1', 'x2')]
        self.clients += [*self.racers, *(Reader(self, f'r{number}') for number in range(3))]
        for client in self.clients:
            client.thread.start()
        self.until = time.monotonic() + SECONDS

    def wait_whole(self, seconds=60):
        try:
            wait_whole(self.cluster, seconds)
        except AssertionError as error:
            raise AssertionError(f'{error}\n{self.history(5)}') from None

    def history(self, most=20):
        """The last faults."""
        return '\n'.join(self.done[-most:])

    # ---- Faults ----

    def note(self, text):
        self.done.append(f'{clock()} {text}')

    def pause(self, most):
        time.sleep(self.random.random() * most)  # the length of a fault

    def settle(self):
        """A server that was silent may still be taken out of sets for a moment after it woke: only when nobody is
        about to do that any more does a kill leave a copy of all."""
        if self.was_silent:
            wait_until(self.is_settled, 'every server is heard, and no bucket about to move', 60)
        self.was_silent = False

    def is_settled(self):
        before = self.cluster.locator.metrics()
        servers = [server.metrics() for server in self.cluster.servers]
        after = self.cluster.locator.metrics()
        heard = all(server['vug_peer_silent_us'] < 500000 for server in servers)  # after 1 s it counts as silent
        return (heard and not any(server['vug_buckets_changing'] for server in servers) and
                before['vug_locator_failovers'] == after['vug_locator_failovers'] == 0 and
                is_whole(self.cluster) and
                before['vug_locator_map_epoch'] == self.cluster.locator.metrics()['vug_locator_map_epoch'])

    def fault(self, index):
        """Begins a fault of a server; what ends it."""
        server = self.cluster.servers[index]
        kind = self.random.choice(('kill', 'kill', 'stop', 'stop', 'term'))
        if kind == 'kill' and self.alone:
            self.settle()
        self.note(f'{kind} {server.arguments[2]} port {server.port}')
        if kind == 'stop':
            self.was_silent = True
            server.signal(signal.SIGSTOP)
            return lambda: server.signal(signal.SIGCONT)
        if kind == 'kill':
            server.kill()
        else:
            server.stop_well()

        def again():
            self.cluster.members.remove(server)
            self.cluster.servers[index] = self.cluster.start_server(server.arguments[2])
        return again

    def locator_away(self, most):
        self.cluster.locator.kill()
        self.cluster.members.remove(self.cluster.locator)
        self.pause(most)
        self.cluster.start_locator()

    def other(self):
        """Something that no client may notice."""
        kind = self.random.choice(('locator', 'rebalance', 'region'))
        self.note(f'{kind}')
        if kind == 'locator':
            self.locator_away(1)
        elif kind == 'rebalance':
            self.cluster.vug('rebalance', '--timeout', '2s')
        else:
            name = f'short{self.random.randrange(3)}'
            kind = self.random.choice(('PARTITION_REDUNDANT', 'REPLICATE'))
            self.cluster.ok('region', 'create', name, '--type', kind)
            for server in self.cluster.servers:
                with Connection(server.port, server.host, timeout=20) as conn:
                    if conn.get(name, server.port) is not None:
                        self.oracle.blame(f'{name} has contents of a region that was destroyed')
                    conn.put(name, server.port, 1)
            self.cluster.ok('region', 'destroy', name)

    # ---- The end ----

    def finish(self):
        self.wait_whole()
        self.stopping.set()
        for client in self.clients:
            client.thread.join(90 * PATIENCE)
            self.assertFalse(client.thread.is_alive(), f'{client.name} hangs')
        print(f'# {dict(self.oracle.counts)}', flush=True)
        for what, count in self.oracle.refusals.most_common():
            print(f'# {count} times {what}', flush=True)
        if self.oracle.wrong:
            self.fail('\n'.join([*self.oracle.wrong[:5], self.history()]))
        for region in self.rows:
            self.check_entries(region)
            self.check_events(region)
        self.check_races()

    def check_entries(self, region):
        plain = [client for client in self.clients if isinstance(client, Plain) and client.region == region]
        expected = {key: self.oracle.last(key) for key in self.keys[region]}
        for client in plain:
            expected.update(client.acknowledged)
        doubtful = set().union(*(client.doubtful for client in plain))
        for server in self.cluster.servers:
            with Connection(server.port, server.host) as conn:
                try:
                    found = conn.get_all(region, list(expected))
                except ValueError as error:
                    self.fail(f'{clock()} {error}\n{self.history()}')
                for value in found.values():
                    if isinstance(value, dict):
                        value.pop('pad', None)
                self.assertEqual(found, expected, self.history())
                here = {key for key in conn.keys(region) if not key.startswith('race')}
                self.assertEqual(here - doubtful, {key for key, value in expected.items() if value is not None})

    def check_events(self, region):
        puts = {key: versions for key, versions in self.oracle.puts().items() if key in self.keys[region]}
        rows = self.rows[region]
        total = sum(len(versions) for versions in puts.values())
        told = [s for s in rows.told() if s['status'] != 'END']
        self.assertEqual(told, [], self.history())
        seen = collections.defaultdict(list)

        def count():
            return sum(event['kind'] == '+I' and event['row'].get('id') is not None for event in list(rows.rows))
        try:
            wait_until(lambda: count() >= total, f'{total} rows of {region}', 20)
        finally:
            for event in list(rows.rows):
                if event['kind'] == '+I' and event['row'].get('id') is not None:
                    seen[event['row']['id']].append(int(event['row']['n']))
            self.assertEqual(seen, {key: versions for key, versions in puts.items() if versions}, self.history())
        groups = collections.defaultdict(lambda: [0, 0])
        for versions in puts.values():
            for version in versions:
                groups[f'g{version % GROUPS}'][0] += 1
                groups[f'g{version % GROUPS}'][1] += version

        def latest():
            return {event['row']['g']: [event['row']['c'], event['row']['s']]
                    for event in list(self.groups[region].rows) if event['row'].get('g') is not None}
        try:
            wait_until(lambda: latest() == groups, 'the groups are right', 10)
        except AssertionError:
            self.assertEqual(latest(), groups, f'{self.groups[region].told()}\n{self.history()}')

    def check_races(self):
        first, second = (racer.results for racer in self.racers)
        both = min(len(first), len(second))
        server = self.cluster.servers[0]
        with Connection(server.port, server.host) as conn:
            numbers = range(max(len(first), len(second)))
            found = {}
            for start in range(0, len(numbers), 500):
                found.update(conn.get_all(self.racers[0].region, [f'race.{n + 1}' for n in numbers[start:start + 500]]))
        for number in range(both):
            sayings = {saying for saying in (first[number], second[number]) if saying is not None}
            stands = found[f'race.{number + 1}']
            self.assertLessEqual(len(sayings), 1, f'race.{number + 1}: {first[number]}, {second[number]}, {stands}')
            self.assertTrue(not sayings or stands in sayings, f'race.{number + 1}: {sayings}, but it is {stands}')
