"""`vug cq` over a connection that is cut again and again gives the output of an uninterrupted run."""
import json
import random
import unittest

from cluster import DDL, FOUNDING, READINGS, Cluster
from proxy import Proxy
from readings import load, running_averages
from subscription import Subscription


class Cut(unittest.TestCase):
    def test_cq_resumes_by_itself(self):
        """the founding query over a line that is cut forty times equals the recomputation"""
        source = random.Random(3)
        budgets = [source.randrange(200, 40_000) for _ in range(40)]
        expected = running_averages(load())
        with Cluster(regions=[('my_region', 'PARTITION')]) as cluster:
            cluster.ok('sql', DDL)
            with Proxy(cluster.port, budgets) as proxy:
                subscriber = cluster.start('--server', f'127.0.0.1:{proxy.port}', 'cq', FOUNDING, '--param',
                                           'start_time=0', '--start', 'latest', '--limit', '26115', '--idle-exit',
                                           '60s', '-o', 'ndjson')
                self.assertEqual(json.loads(subscriber.child.stdout.readline())['status'], 'SUBSCRIBED')
                cluster.ok('import', 'my_region', READINGS, '--key', 'id', '--rate', '20000')
                results, events = {}, 0
                for line in subscriber.child.stdout:
                    item = json.loads(line)
                    if 'kind' in item:
                        name, average = item['row'].values()
                        results.setdefault(name, []).append(average)
                        events += 1
                self.assertEqual(subscriber.wait(), 0, subscriber.log)
                self.assertGreater(proxy.cuts, 3, 'the line was cut')
        self.assertEqual(events, 26115)
        self.assertEqual(results, expected)

    def test_cut_during_snapshot(self):
        """a subscription that is cut inside its snapshot begins again and misses nothing"""
        with Cluster(regions=[('my_region', 'PARTITION')]) as cluster:
            cluster.ok('sql', DDL)
            with cluster.connect() as conn:
                conn.put_all('my_region', [(f's{n}', {'id': f's{n}', 'temperature': n}) for n in range(400)])
            query = 'SELECT id, temperature FROM SensorReadings'
            for budget in (300, 2_000, 6_000):
                with self.subTest(budget), Proxy(cluster.port, [budget]) as proxy:
                    done = cluster.vug('--server', f'127.0.0.1:{proxy.port}', 'cq', query, '--idle-exit', '1s', '-o',
                                       'ndjson')
                    self.assertEqual(done.returncode, 0, done.stderr)
                    rows = [json.loads(line) for line in done.stdout.splitlines()]
                    names = [r['row']['id'] for r in rows if 'kind' in r]
                    self.assertEqual(proxy.cuts, 1)
                    self.assertEqual(set(names), {f's{n}' for n in range(400)})

    def test_writes_over_a_cut_line(self):
        """an import over a line that is cut writes every row once"""
        source = random.Random(5)
        with Cluster(regions=[('my_region', 'PARTITION')]) as cluster:
            cluster.ok('sql', DDL)
            query = 'SELECT id, COUNT(*) OVER (PARTITION BY id) FROM SensorReadings'
            with Subscription(cluster.port, query) as sub, \
                    Proxy(cluster.port, [source.randrange(8, 60) for _ in range(30)]) as proxy:
                cluster.ok('--server', f'127.0.0.1:{proxy.port}', 'import', 'my_region', READINGS, '--key', 'id')
                self.assertGreater(proxy.cuts, 3, 'the line was cut')
                counts = {}
                for event in sub.take(26115):
                    counts[event.row[0]] = counts.get(event.row[0], 0) + 1
                    self.assertEqual(event.row[1], counts[event.row[0]])
            self.assertEqual(sum(counts.values()), 26115)
