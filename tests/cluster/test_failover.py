"""Faults of whole servers under load: writers that repeat until they are answered, a subscriber that resumes, and at
the end every acknowledged write exactly once. VUG_KILLS sets how many servers are killed (50)."""
import os
import random
import signal
import time
import unittest

from cluster import DDL, SANITIZED, Cluster, wait_until, wait_whole
from ledger import Subscriber, Writer, check, check_values, is_whole, wait_written
from wire import Connection, Refused

KILLS = int(os.environ.get('VUG_KILLS', '10' if SANITIZED else '50'))


class Faults(unittest.TestCase):
    def start(self, servers=3, kind='PARTITION_REDUNDANT', writers=2):
        self.cluster = Cluster(servers=servers, regions=[('my_region', kind)])
        self.addCleanup(self.cluster.close)
        self.cluster.ok('sql', DDL)
        self.wait_whole()
        self.subscriber = Subscriber(self.cluster)
        self.writers = [Writer(self.cluster, f'w{number}') for number in range(writers)]
        self.wait_written(0)

    def wait_whole(self):
        wait_whole(self.cluster)

    def wait_written(self, more=200):
        wait_written(self.writers, more)

    def replace(self, index):
        """A server that ended is started again: another incarnation of its name."""
        old = self.cluster.servers[index]
        self.cluster.members.remove(old)
        self.cluster.servers[index] = self.cluster.start_server(old.arguments[2])

    def finish(self):
        for writer in self.writers:
            writer.stop()
        check(self, self.writers, self.subscriber)
        check_values(self, self.cluster, self.writers)

    def test_kills(self):
        """servers die under writers and a subscriber: no write is lost or applied twice, every average comes once"""
        self.start()
        order = random.Random(1)
        for _ in range(KILLS):
            index = order.randrange(3)
            self.cluster.servers[index].kill()
            self.wait_written(50)
            self.replace(index)
            self.wait_whole()
        self.finish()

    def test_subscription_server_and_primary_together(self):
        """the server of the subscriber's connection dies with the primaries that it has: the averages go on"""
        self.start(servers=4)
        for _ in range(3):
            busiest = max(range(4), key=lambda i: self.clients(i))
            self.cluster.servers[busiest].kill()
            self.wait_written()
            self.replace(busiest)
            self.wait_whole()
        self.finish()

    def clients(self, index):
        import json
        name = self.cluster.servers[index].arguments[2]
        for member in json.loads(self.cluster.ok('members', '-o', 'json')):
            if member['name'] == name:
                return member['clients']
        return 0

    def test_pauses(self):
        """a server is stopped for 0.1 to 10 s and goes on: nothing is lost, nothing comes twice"""
        self.start()
        for seconds in (0.1, 0.5, 1.5, 4, 10):
            server = self.cluster.servers[random.Random(seconds).randrange(3)]
            server.signal(signal.SIGSTOP)
            try:
                time.sleep(seconds)  # the fault itself
            finally:
                server.signal(signal.SIGCONT)
            self.wait_written()
            wait_until(lambda: server.child.poll() is not None or is_whole(self.cluster), 'whole again', 30)
        self.finish()

    def test_locator_away(self):
        """a locator that is killed and comes back later costs clients nothing"""
        self.start()
        with Connection(self.cluster.server.port) as conn:
            self.cluster.locator.kill()
            self.cluster.members.remove(self.cluster.locator)
            for number in range(300):
                conn.put('my_region', f'extra-{number % 7}', {'id': 'x', 'timestamp': -1, 'temperature': 0})
                self.assertEqual(conn.get('my_region', f'extra-{number % 7}')['timestamp'], -1)
            self.wait_written(500)
            self.cluster.start_locator()
            self.wait_whole()
        self.finish()

    def test_rolling_restart(self):
        """every server is stopped and started again, one after the other: no client sees an error"""
        self.start()
        before = [writer.failures for writer in self.writers]
        for index in range(3):
            self.assertEqual(self.cluster.servers[index].stop(), 0)
            self.wait_written(100)
            self.replace(index)
            self.wait_whole()
        self.assertEqual(before, [writer.failures for writer in self.writers])
        self.finish()

    def test_join_under_load(self):
        """a fourth server joins under load and takes its share after a rebalance"""
        import json
        self.start()
        self.cluster.servers.append(self.cluster.start_server('srv4'))
        self.wait_written(300)
        self.cluster.ok('rebalance')
        members = [m for m in json.loads(self.cluster.ok('members', '-o', 'json')) if m['role'] == 'server']
        self.assertEqual(len(members), 4)
        counts = [member['buckets'] for member in members]
        self.assertLessEqual(max(counts) - min(counts), 2, members)
        primaries = [member['primaries'] for member in members]
        self.assertLessEqual(max(primaries) - min(primaries), 2, members)
        self.wait_whole()
        self.finish()

    def test_three_at_once(self):
        """when every copy of buckets dies at once, status and subscribers are told, and the cluster serves on"""
        self.start(servers=4, writers=0)
        with Connection(self.cluster.servers[3].port) as conn:
            for number in range(500):
                conn.put('my_region', f'k{number}', {'id': 'k', 'timestamp': 1, 'temperature': 1})
        for index in range(3):
            self.cluster.servers[index].signal(signal.SIGKILL)
        for index in range(3):
            self.cluster.servers[index].wait()
        self.subscriber.wait(lambda: any(s['status'] == 'DATA_LOSS' for s in self.subscriber.statuses), 'DATA_LOSS')
        with Connection(self.cluster.servers[3].port, timeout=60) as conn:
            def serves():
                try:
                    conn.put('my_region', 'after', {'id': 'after', 'timestamp': 1, 'temperature': 1})
                    return all(conn.get('my_region', f'k{number}') is not Refused for number in range(500))
                except Refused:
                    return False
            wait_until(serves, 'every bucket is served again', 30)
            self.assertLess(conn.size('my_region'), 501)
        self.assertEqual(self.cluster.vug('status').returncode, 8)
        self.assertIn('lost', self.cluster.ok('events'))


if __name__ == '__main__':
    unittest.main()
