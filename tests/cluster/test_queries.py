"""Continuous queries on three real servers, with readings whose key is not their id: rows go from bucket to bucket,
and from server to server, before they are counted. VUG_KILLS sets how many servers are killed (6)."""
import os
import random
import statistics
import time
import unittest

from cluster import DDL, FOUNDING, SANITIZED, Cluster, wait_until, wait_whole
from ledger import Subscriber, Writer, check_any_order, explains, wait_written
from subscription import Subscription
from wire import CQ_LIST, CQ_UNSUBSCRIBE, LATEST, Connection, all_of, message

KILLS = int(os.environ.get('VUG_KILLS', '3' if SANITIZED else '6'))
READINGS = 50 if SANITIZED else 300


class Queries(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(servers=3, regions=[('my_region', 'PARTITION_REDUNDANT')])
        self.addCleanup(self.cluster.close)
        self.cluster.ok('sql', DDL)
        wait_whole(self.cluster)

    def replace(self, index):
        old = self.cluster.servers[index]
        self.cluster.members.remove(old)
        self.cluster.servers[index] = self.cluster.start_server(old.arguments[2])

    def subscribe(self, index, **options):
        return Subscription(self.cluster.servers[index].port, FOUNDING, start=LATEST, parameters={'start_time': 0},
                            **options)

    def test_kills(self):
        """servers die while rows are on their way between them: every subscriber sees every reading counted once"""
        subscribers = [Subscriber(self.cluster) for _ in range(2)]
        writers = [Writer(self.cluster, f'w{number}', key_is_id=False, pause=0.002) for number in range(2)]
        order = random.Random(2)
        for _ in range(KILLS):
            index = order.randrange(3)
            self.cluster.servers[index].kill()
            wait_written(writers, 50)
            self.replace(index)
            wait_whole(self.cluster)
        for writer in writers:
            writer.stop()
        for subscriber in subscribers:
            check_any_order(self, writers, subscriber)

    def test_rolling_restart(self):
        """servers hand over and end, one after the other: every reading is counted once"""
        subscriber = Subscriber(self.cluster)
        writers = [Writer(self.cluster, 'w', key_is_id=False, pause=0.002)]
        for index in range(3):
            self.assertEqual(self.cluster.servers[index].stop(), 0)
            wait_written(writers, 50)
            self.replace(index)
            wait_whole(self.cluster)
        writers[0].stop()
        check_any_order(self, writers, subscriber)

    def test_first_push(self):
        """a reading put at one server is counted at another and pushed from a third, soon"""
        delays = []
        with self.subscribe(0) as subscription, Connection(self.cluster.servers[1].port) as conn:
            rows = []
            for number in range(READINGS):
                rows.append(number * 40503 % 65521 / 64)
                began = time.perf_counter()
                conn.put('my_region', f'r{number}', {'id': 'a', 'timestamp': 1, 'temperature': rows[-1]})
                average = subscription.take(1)[0].row[1]
                delays.append((time.perf_counter() - began) * 1000)
                self.assertIsNone(explains(rows, [sum(rows[:n]) / n for n in range(1, number + 1)] + [average]))
        print(f'# first push after a put: median {statistics.median(delays):.2f} ms, '
              f'worst {max(delays):.2f} ms of {len(delays)}')

    def queries(self, index):
        with Connection(self.cluster.servers[index].port) as conn:
            return len(all_of(conn.ask(CQ_LIST), 1))

    def test_end(self):
        """a query is known at every server, and ends at every server with its last subscriber"""
        with (self.subscribe(0) as one, self.subscribe(1, name='shared') as two,
              self.subscribe(2, name='shared') as three):
            wait_until(lambda: all(self.queries(index) == 2 for index in range(3)), 'two queries everywhere')
            one.conn.ask(CQ_UNSUBSCRIBE, message((1, one.id)))
            wait_until(lambda: all(self.queries(index) == 1 for index in range(3)), 'one is left')
            two.conn.ask(CQ_UNSUBSCRIBE, message((1, two.id)))
            with Connection(self.cluster.server.port) as conn:
                conn.put('my_region', 'r', {'id': 'a', 'timestamp': 1, 'temperature': 4})
            self.assertEqual(three.take(1)[0].row, ('a', 4))


if __name__ == '__main__':
    unittest.main()
