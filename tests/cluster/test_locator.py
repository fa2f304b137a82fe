"""What a cluster does while its locator is away, and when the locator comes back with nothing."""
import json
import shutil
import signal
import unittest

from cluster import DDL, Cluster, Member, wait_until, wait_whole
from subscription import Subscription
from wire import Connection

REGIONS = [('my_region', 'PARTITION_REDUNDANT')]
QUERY = 'SELECT id, temperature FROM SensorReadings'


def lose_the_map(cluster):
    cluster.locator.kill()
    cluster.members.remove(cluster.locator)
    shutil.rmtree(cluster.data_dir)


def start_adopting(cluster):
    """A locator with --adopt, not waited for."""
    arguments = ['locator', '--name', 'locator1', '--bind-address', '127.0.0.1', '--port', str(cluster.locator_port),
                 '--http-port', '0', '--data-dir', cluster.data_dir, '--adopt']
    cluster.locator = Member(arguments, ready=False)
    cluster.members.append(cluster.locator)
    return cluster.locator


class Adopt(unittest.TestCase):
    def test_a_lost_map_is_taken_from_the_servers(self):
        """--adopt takes the map of the servers: nothing is lost, subscriptions go on, failover works again"""
        with Cluster(servers=3, regions=REGIONS) as cluster:
            cluster.ok('sql', DDL)
            wait_whole(cluster)
            with Subscription(cluster.port, QUERY) as sub:
                for number in range(20):
                    cluster.put_reading(f'k{number}', number)
                sub.take(20)
                lose_the_map(cluster)
                cluster.start_locator()  # the usual mistake
                cluster.servers[0].wait_line('another cluster.*--adopt')
                cluster.locator.stop_well()
                cluster.members.remove(cluster.locator)
                locator = start_adopting(cluster)
                locator.wait_ready()
                locator.wait_line(r'adopted the cluster map of epoch \d+ that server srv\d held')
                cluster.put_reading('after', 1.0)
                self.assertEqual([event.row[0] for event in sub.take(1)], ['after'])
                wait_whole(cluster)
                self.assertEqual(cluster.ok('size', 'my_region').strip(), '21')
                self.assertIn('SensorReadings', cluster.ok('sql', 'SHOW TABLES'))
                cluster.create_region('later')
                cluster.servers[2].kill()
                wait_until(lambda: cluster.vug('status').returncode in (0, 8), 'no bucket is without a server')
                self.assertEqual(cluster.ok('size', 'my_region').strip(), '21')

    def test_it_waits_for_servers(self):
        """a locator with --adopt says whom it waits for, sends clients nowhere, and is ready when they have come"""
        with Cluster(servers=2, regions=REGIONS) as cluster:
            wait_whole(cluster)
            cluster.servers[1].signal(signal.SIGSTOP)
            try:
                lose_the_map(cluster)
                locator = start_adopting(cluster)
                locator.wait_line('server srv1 holds the cluster map of epoch')
                locator.wait_line('and waits for srv2')
                done = cluster.vug('region', 'list', '--timeout', '1s')
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn('ready in', locator.log)
            finally:
                cluster.servers[1].signal(signal.SIGCONT)
            locator.wait_ready()
            wait_whole(cluster)

    def test_a_map_that_is_there_is_kept(self):
        """with a map in the directory, --adopt says that it changes nothing"""
        with Cluster(regions=REGIONS) as cluster:
            cluster.locator.stop_well()
            cluster.members.remove(cluster.locator)
            cluster.start_locator('--adopt')
            cluster.locator.wait_line('--adopt changes nothing')
            wait_until(lambda: cluster.vug('size', 'my_region').returncode == 0, 'the server is back')


class Away(unittest.TestCase):
    def test_a_server_that_ends_waits_for_a_locator(self):
        """SIGTERM without a locator: the server waits for one, then hands over as always"""
        with Cluster(servers=2, regions=REGIONS) as cluster:
            wait_whole(cluster)
            for number in range(20):
                cluster.put_reading(f'k{number}', number)
            cluster.locator.kill()
            cluster.members.remove(cluster.locator)
            cluster.servers[0].wait_line('lost the locator')
            cluster.servers[0].signal(signal.SIGTERM)
            cluster.servers[0].wait_line('waits up to 5 s for one')
            cluster.start_locator()
            self.assertEqual(cluster.servers[0].wait(), 0)
            self.assertNotIn('ends without handing over', cluster.servers[0].log)
            self.assertEqual(json.loads(cluster.ok('members', '-o', 'json'))[-1]['name'], 'srv2')
            with Connection(cluster.servers[1].port) as conn:
                self.assertEqual(conn.size('my_region'), 20)

    def test_a_server_ends_in_the_end(self):
        """SIGTERM without a locator that comes: the server says so and ends with 0"""
        with Cluster(servers=2, regions=REGIONS) as cluster:
            wait_whole(cluster)
            cluster.locator.kill()
            cluster.members.remove(cluster.locator)
            cluster.servers[0].signal(signal.SIGTERM)
            self.assertEqual(cluster.servers[0].wait(), 0)
            self.assertIn('ends without handing over', cluster.servers[0].log)
            cluster.servers[1].kill()
            cluster.members.remove(cluster.servers[1])

    def test_a_client_knows_other_servers(self):
        """a subscriber whose server dies while the locator is away goes on at another server"""
        with Cluster(servers=2, regions=[('my_region', 'PARTITION')]) as cluster:
            cluster.ok('sql', DDL)
            subscriber = cluster.start('cq', QUERY, '--start', 'latest', '-o', 'ndjson')
            self.assertEqual(json.loads(subscriber.child.stdout.readline())['status'], 'SUBSCRIBED')
            at, other = cluster.servers
            if at.metrics()['vug_subscriptions'] == 0:
                at, other = other, at
            cluster.locator.kill()
            cluster.members.remove(cluster.locator)
            at.kill()
            cluster.members.remove(at)
            cluster.servers[:] = [other]
            wait_until(lambda: other.metrics()['vug_subscriptions'] > 0, 'the subscriber has gone to the other server')
            cluster.start_locator()  # who else would say that the dead one's buckets begin empty
            wait_whole(cluster)
            for number in range(10):
                cluster.put_reading(f'k{number}', 1.0)
            rows = (json.loads(line) for line in subscriber.child.stdout)
            self.assertRegex(next(row['row']['id'] for row in rows if row.get('kind') == '+I'), r'k\d+')
            subscriber.kill()
