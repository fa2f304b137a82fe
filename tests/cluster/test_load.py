"""Many clients at once: nothing lost, and memory that stays where it is."""
import threading
import unittest

from cluster import DDL, SANITIZED, Cluster, plain_only
from subscription import Subscription
from wire import PUT, Connection, encode, frame, message, parse

CONNECTIONS = 50
PUTS = 10_000 if SANITIZED else 100_000
QUERY = 'SELECT id, COUNT(*) OVER (PARTITION BY id), AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings'


def put_request(key, number):
    document = '{"id":"%s","timestamp":%d,"temperature":%d}' % (key, number, number)
    value = message((10, document))
    return frame(PUT, message((1, 'my_region'), (2, message((1, encode(key)), (2, value)))))


class Writer(threading.Thread):
    """One pipelining connection: sends its puts of one key without waiting and counts the answers."""

    def __init__(self, port, key, numbers):
        super().__init__()
        self.port, self.key, self.numbers = port, key, numbers
        self.answers = 0
        self.wrong = None

    def run(self):
        try:
            with Connection(self.port, timeout=120) as conn:
                data = b''.join(put_request(self.key, n) for n in self.numbers)
                sender = threading.Thread(target=conn.send, args=(data,))
                sender.start()
                expected = bytes.fromhex('021a00') * len(self.numbers)
                answer = conn.read(len(expected))
                sender.join()
                self.answers = len(answer) // 3
                if answer != expected:
                    self.wrong = f'{len(answer)} of {len(expected)} bytes'
        except Exception as error:  # the thread's end is where the test learns of it
            self.wrong = repr(error)


def write_all(port, count, prefix):
    each = count // CONNECTIONS
    writers = [Writer(port, f'{prefix}{n}', range(each)) for n in range(CONNECTIONS)]
    for writer in writers:
        writer.start()
    return writers


class Load(unittest.TestCase):
    def finish(self, writers):
        for writer in writers:
            writer.join()
        self.assertEqual([w.wrong for w in writers if w.wrong], [])

    def test_pipelining(self):
        """50 pipelining connections and one subscriber: each put is answered and each average pushed, in order"""
        with Cluster(regions=[('my_region', 'PARTITION')]) as cluster:
            cluster.ok('sql', DDL)
            with Subscription(cluster.port, QUERY, timeout=120) as sub:
                writers = write_all(cluster.port, PUTS, 'k')
                counts, seen = {}, 0
                while seen < PUTS:
                    for event in sub.batch()[1]:
                        key, count, average = event.row
                        counts[key] = counts.get(key, 0) + 1
                        self.assertEqual(count, counts[key], 'no event of a key is lost, doubled or out of order')
                        self.assertEqual(average, (count - 1) / 2)
                        seen += 1
                self.finish(writers)
            self.assertEqual(counts, {f'k{n}': PUTS // CONNECTIONS for n in range(CONNECTIONS)})
            with cluster.connect() as conn:
                self.assertEqual(conn.size('my_region'), CONNECTIONS)

    @plain_only
    def test_flat_memory(self):
        """the second and third hundred thousand puts of the same keys need no more memory than the first"""
        with Cluster(regions=[('my_region', 'PARTITION')]) as cluster:
            self.finish(write_all(cluster.port, PUTS, 'k'))
            first = cluster.server.rss
            for _ in range(2):
                self.finish(write_all(cluster.port, PUTS, 'k'))
            self.assertLess(cluster.server.rss - first, 8 << 20)

    def test_mixed_requests_in_order(self):
        """a pipelining client gets its answers in the order of its requests, whatever their kind"""
        with Cluster(regions=[('my_region', 'PARTITION')]) as cluster, cluster.connect() as conn:
            names = bytes.fromhex('027200')
            conn.send(b''.join(put_request(f'm{n}', n) + names for n in range(300)))
            for number in range(300):
                self.assertEqual(conn.reply(), (3, b''), number)
                self.assertEqual(conn.reply()[0], 15)
            size = frame(16, message((1, 'my_region')))
            conn.send(put_request('last', 1) + size + frame(10, message((1, 'my_region'), (2, encode('last')))) + size)
            answers = [conn.reply() for _ in range(4)]
            self.assertEqual([a[0] for a in answers], [3, 17, 11, 17])
            self.assertEqual([parse(answers[1][1]), parse(answers[3][1])], [[(1, 301)], [(1, 300)]])
