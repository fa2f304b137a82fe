"""Writers and a subscriber for tests of faults: every write is known, and so is every average that must come of it."""
import collections
import itertools
import json
import os
import random
import threading
import time

from cluster import FOUNDING, PATIENCE, wait_until
from wire import Connection, Refused, find_server


class Writer:
    """An idempotent writer of readings: repeats a batch, wherever it gets a connection, until it is answered. Without
    `key_is_id` each reading has a key of its own, and all temperatures of the writer are different."""

    def __init__(self, cluster, name, ids=5, region='my_region', batch=8, pause=0.0, key_is_id=True):
        self.key_is_id = key_is_id
        self.cluster, self.name, self.region, self.batch, self.pause = cluster, name, region, batch, pause
        self.ids = [f'{name}-{number}' for number in range(ids)]
        self.random = random.Random(name)
        self.id = os.urandom(16)
        self.sequence = 1
        self.written = collections.defaultdict(list)  # id -> temperatures that were acknowledged, in order
        self.acknowledged = 0
        self.repeated = 0
        self.longest = 0.0  # seconds that a batch took
        self.trouble = None  # the last that it met
        self.failures = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _find(self, last):
        """Where the locator sends a client; while it is away, where it sent this one before."""
        try:
            return find_server(self.cluster.locator_port, self.cluster.locator_host, timeout=5 * PATIENCE)
        except OSError:
            if last is None:
                raise
            return last

    def _run(self):
        conn = server = None
        self.cluster.enter()
        while not self.stopping.is_set():
            rows = []
            for number in range(self.random.randint(1, self.batch)):
                name, place = self.random.choice(self.ids), self.sequence + number
                temperature = self.random.randrange(-64 * 40, 64 * 40) if self.key_is_id else place * 40503 % 65521
                rows.append((name if self.key_is_id else f'{self.name}#{place}',
                             {'id': name, 'timestamp': place, 'temperature': temperature / 64}))
            began = time.monotonic()
            while True:
                try:
                    if conn is None:
                        server = self._find(server)
                        conn = Connection(server[1], host=server[0], timeout=15 * PATIENCE)
                    _, repeated = conn.write_batch(self.id, self.sequence, self.region, rows, self.sequence - 1)
                    break
                except (OSError, EOFError, ValueError, Refused) as error:
                    if conn is not None:
                        conn.close()
                        self.trouble = f'{error!r} from {server}'
                    conn = None
                    if time.monotonic() - began > 60 * PATIENCE:
                        self.failures.append(f'{self.name}: no answer within {60 * PATIENCE} s after '
                                             f'{self.acknowledged} writes: {error!r}; before that: {self.trouble}')
                        return
                    time.sleep(0.01)  # not to ask without a pause
            self.longest = max(self.longest, time.monotonic() - began)
            self.repeated += repeated
            for _, row in rows:
                self.written[row['id']].append(row['temperature'])
            self.sequence += len(rows)
            self.acknowledged += len(rows)
            if self.pause:
                self.stopping.wait(self.pause)
        if conn is not None:
            conn.close()

    def stop(self):
        self.stopping.set()
        self.thread.join(90 * PATIENCE)
        if self.thread.is_alive():
            self.failures.append(f'{self.name}: does not end')
        return self


class Subscriber:
    """`vug cq` with the founding query: the averages of each id as they come, and whatever else it says."""

    def __init__(self, cluster, query=FOUNDING):
        self.process = cluster.start('cq', query, '--param', 'start_time=0', '-o', 'ndjson')
        self.averages = collections.defaultdict(list)
        self.identities = set()
        self.statuses = []
        self.doubled = 0
        self.count = 0
        self.changed = threading.Condition()
        self.process.follow(self._take)
        self.wait(lambda: any(s['status'] == 'SUBSCRIBED' for s in self.statuses), 'subscribed')

    def _take(self, line):
        event = json.loads(line)
        with self.changed:
            if 'status' in event:
                self.statuses.append(event)
            else:
                identity = (event['bucket'], event.get('generation', 1), event['seq'], event['sub'])
                self.doubled += identity in self.identities
                self.identities.add(identity)
                row = list(event['row'].values())
                self.averages[row[0]].append(row[1])
                self.count += 1
            self.changed.notify_all()

    def wait(self, condition, what, seconds=30):
        deadline = time.monotonic() + seconds * PATIENCE
        with self.changed:
            while not condition():
                if not self.changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f'{what}: not within {seconds * PATIENCE} s; {self.count} events, statuses '
                                         f'{self.statuses[-5:]}')

    def told(self):
        """What it was told beyond the ordinary."""
        return [s for s in self.statuses if s['status'] in ('GAP', 'DATA_LOSS', 'ERROR', 'CLOSED')]


def wait_written(writers, more, seconds=60):
    """Until they have written so many more, and each of them something."""
    def written():
        return sum(writer.acknowledged for writer in writers)

    def failures():
        return [failure for writer in writers for failure in writer.failures]
    goal = written() + more
    try:
        wait_until(lambda: failures() or (written() >= goal and all(writer.acknowledged for writer in writers)),
                   f'{more} more writes', seconds)
    except AssertionError as error:
        states = [(writer.name, writer.acknowledged, writer.trouble) for writer in writers]
        raise AssertionError(f'{error}: {goal - written()} of them are missing; writers: {states}') from None
    if failures():
        raise AssertionError('\n'.join(failures()))


def averages_of(temperatures):
    """Sums of multiples of 1/64 are exact, so the quotient is the nearest double, as the engine promises."""
    return [total / count for count, total in enumerate(itertools.accumulate(temperatures), 1)]


def check(test, writers, subscriber):
    """Every acknowledged write is in every subscriber's sequence of its id exactly once, and in order."""
    expected = {}
    for writer in writers:
        test.assertFalse(writer.failures, '\n'.join(writer.failures))
        expected.update({name: averages_of(rows) for name, rows in writer.written.items()})
    total = sum(len(rows) for rows in expected.values())
    subscriber.wait(lambda: subscriber.count >= total, f'{total} averages')
    test.assertEqual(subscriber.told(), [])
    test.assertEqual(subscriber.doubled, 0)
    for name, averages in expected.items():
        test.assertEqual(subscriber.averages[name], averages, name)
    test.assertEqual(set(subscriber.averages), set(expected))


def explains(rows, averages):
    """None if the averages are what the rows give in some order, each row once; otherwise what is wrong. The rows are
    different multiples of 1/64, so each step of the sum tells which one it was."""
    left, total = set(rows), 0.0
    for count, average in enumerate(averages, 1):
        now = round(average * count * 64) / 64
        if now - total not in left:
            return f'result {count}, {average!r}, follows from no reading that was not counted'
        left.remove(now - total)
        total = now
    return f'{len(left)} readings were not counted' if left else None


def check_any_order(test, writers, subscriber):
    """The same where rows of one id come from many buckets: each acknowledged write exactly once, in any order."""
    expected = {}
    for writer in writers:
        test.assertFalse(writer.failures, '\n'.join(writer.failures))
        expected.update(writer.written)
    total = sum(len(rows) for rows in expected.values())
    subscriber.wait(lambda: subscriber.count >= total, f'{total} averages')
    test.assertEqual(subscriber.told(), [])
    test.assertEqual(subscriber.doubled, 0)
    for name, rows in expected.items():
        test.assertIsNone(explains(rows, subscriber.averages[name]), name)
    test.assertEqual(set(subscriber.averages), set(expected))


def check_values(test, cluster, writers, region='my_region'):
    """Each key has the value that was acknowledged last."""
    for writer in writers:
        for name, rows in writer.written.items():
            found = json.loads(cluster.ok('get', region, name))
            test.assertEqual(found['temperature'], rows[-1], name)


def is_whole(cluster):
    """All buckets have all their copies."""
    return cluster.vug('status').returncode == 0
