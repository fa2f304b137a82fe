"""Idempotent write batches: a repeat is recognised, bounds are kept, and a subscriber sees each write once."""
import os
import re
import unittest

from cluster import DDL, READINGS, Cluster, run, wait_until
from proxy import Proxy
from readings import load
from subscription import Subscription
from wire import Refused

COUNT = 'SELECT id, COUNT(*) OVER (PARTITION BY id) FROM SensorReadings'


def setUpModule():
    global cluster
    cluster = Cluster(regions=[('my_region', 'PARTITION'), ('copied', 'REPLICATE')])
    cluster.ok('sql', DDL)


def tearDownModule():
    cluster.close()


def reading(name, temperature):
    return name, {'id': name, 'timestamp': 0, 'temperature': temperature}


class Batches(unittest.TestCase):
    def setUp(self):
        self.conn = cluster.connect()
        self.addCleanup(self.conn.close)
        self.writer = os.urandom(16)

    def test_repeat(self):
        """C37: a repeated batch is answered, and not applied again"""
        batch = [reading('rep', 1.0), reading('rep', 2.0), reading('rep2', 1.0)]
        with Subscription(cluster.port, COUNT) as sub:
            self.assertEqual(self.conn.write_batch(self.writer, 1, 'my_region', batch), (3, 0))
            self.assertEqual(self.conn.write_batch(self.writer, 1, 'my_region', batch), (0, 3))
            with cluster.connect() as other:
                self.assertEqual(other.write_batch(self.writer, 1, 'my_region', batch), (0, 3))
            batch = [reading('rep', 3.0)]
            self.assertEqual(self.conn.write_batch(self.writer, 4, 'my_region', batch, completed=3), (1, 0))
            events = sub.take(4)
        counts = {}
        for event in events:
            counts.setdefault(event.row[0], []).append(event.row[1])
        self.assertEqual(counts, {'rep': [1, 2, 3], 'rep2': [1]})

    def test_every_row_is_a_write(self):
        """a batch that repeats a key makes each of its writes"""
        with Subscription(cluster.port, COUNT) as sub:
            self.conn.write_batch(self.writer, 1, 'my_region', [reading('same', float(n)) for n in range(50)])
            self.assertEqual([e.row[1] for e in sub.take(50)], list(range(1, 51)))

    def test_overlap(self):
        """a batch that overlaps an earlier one applies only what is new"""
        self.assertEqual(self.conn.write_batch(self.writer, 1, 'copied', [('a', 1), ('b', 2)]), (2, 0))
        self.assertEqual(self.conn.write_batch(self.writer, 2, 'copied', [('b', 2), ('c', 3)]), (1, 1))

    def test_out_of_order(self):
        """batches may arrive in any order within the window"""
        self.assertEqual(self.conn.write_batch(self.writer, 5, 'copied', [('e', 5)]), (1, 0))
        self.assertEqual(self.conn.write_batch(self.writer, 1, 'copied', [('a', 1)]), (1, 0))
        self.assertEqual(self.conn.write_batch(self.writer, 5, 'copied', [('e', 5)]), (0, 1))

    def test_removes(self):
        """a remove in a batch removes"""
        self.conn.write_batch(self.writer, 1, 'copied', [('x', 1), ('x', None)])
        self.assertIsNone(self.conn.get('copied', 'x'))

    def test_window(self):
        """a sequence beyond the window is refused, the last inside it is not"""
        self.assertEqual(self.conn.write_batch(self.writer, 1024, 'copied', [('w', 1)]), (1, 0))
        with self.assertRaises(Refused) as refused:
            self.conn.write_batch(self.writer, 1025, 'copied', [('w', 2)])
        self.assertIn('1,024', refused.exception.text.replace('1024', '1,024'))
        self.assertEqual(self.conn.get('copied', 'w'), 1)

    def test_completed_is_a_repeat(self):
        """a sequence that the writer has completed is a repeat"""
        self.conn.write_batch(self.writer, 1, 'copied', [('d', n) for n in range(10)])
        self.conn.write_batch(self.writer, 11, 'copied', [('d', 11)], completed=10)
        self.assertEqual(self.conn.write_batch(self.writer, 3, 'copied', [('d', 'again')], completed=10), (0, 1))
        self.assertEqual(self.conn.get('copied', 'd'), 11)

    def test_bad_batches(self):
        """a batch without a proper writer, sequence or region is refused, and the connection stays"""
        for what, arguments in (('a short writer id', (b'short', 1, 'copied')),
                                ('sequence 0', (self.writer, 0, 'copied')),
                                ('no region', (self.writer, 1, 'nowhere'))):
            with self.subTest(what), self.assertRaises(Refused):
                self.conn.write_batch(*arguments, [('k', 1)])
        self.assertIsNone(self.conn.get('copied', 'k'))


class Import(unittest.TestCase):
    """`vug import` while its server goes away."""

    def test_connection_breaks(self):
        """each loss of the connection is told once, and every row is written exactly once all the same"""
        with Proxy(cluster.port, [200, 400]) as proxy:
            done = run(f'--server=127.0.0.1:{proxy.port}', 'import', 'copied', READINGS, '--key', 'timestamp')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(proxy.cuts, 2)
        self.assertEqual(done.stderr.count(f'lost the server 127.0.0.1:{proxy.port}: '), 2, done.stderr)
        self.assertEqual(done.stderr.count(f'connected to the server 127.0.0.1:{proxy.port} again'), 2, done.stderr)
        self.assertRegex(done.stderr, rf'imported {len(load())} rows into copied')

    def test_server_stays_away(self):
        """an import whose server stays away ends with 7 after --timeout and tells how many rows were acknowledged"""
        with Cluster(regions=[('my_region', 'PARTITION')]) as own:
            importer = own.start('import', 'my_region', READINGS, '--key', 'timestamp', '--rate', '5000',
                                 '--timeout', '1s')
            with own.connect() as conn:
                wait_until(lambda: conn.size('my_region') > 300, 'the import has begun')
            own.server.kill()
            self.assertEqual(importer.wait(30), 7, importer.log)
            self.assertEqual(importer.log.count('lost the server'), 1, importer.log)
            self.assertIn('trying again for 1 s', importer.log)
            rows = int(re.search(r'(\d+) rows were acknowledged', importer.log).group(1))
            self.assertGreater(rows, 300)
            self.assertNotRegex(importer.log, r'csv:\d+:', 'rows that nobody has answered are not bad')
