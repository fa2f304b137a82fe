"""The main job, end to end: readings go in through `vug import`, their averages come out of `vug cq`."""
import json
import os
import unittest

from cluster import DDL, FOUNDING, READINGS, ROOT, Cluster, Process, run
from readings import load, running_averages


def setUpModule():
    global cluster
    cluster = Cluster(regions=[('my_region', 'PARTITION')])
    cluster.ok('sql', DDL)


def tearDownModule():
    cluster.close()


def by_key(lines):
    """{id: [averages]} and the status objects, from NDJSON."""
    results, statuses = {}, []
    for line in lines:
        item = json.loads(line)
        if 'status' in item:
            statuses.append(item)
        else:
            name, average = item['row'].values()
            results.setdefault(name, []).append(average)
    return results, statuses


class Founding(unittest.TestCase):
    def test_import_and_push(self):
        """every reading's average is pushed once, in order, equal to a recomputation with fractions"""
        start_time = 1372732200000
        expected = running_averages(load(), start_time)
        count = sum(len(v) for v in expected.values())
        subscriber = cluster.start('cq', FOUNDING, '--param', f'start_time={start_time}', '--start', 'latest',
                                   '--limit', str(count), '--idle-exit', '60s', '-o', 'ndjson')
        first = json.loads(subscriber.child.stdout.readline())
        self.assertEqual(first['status'], 'SUBSCRIBED')
        self.assertEqual(first['columns'], ['id', 'AVG(temperature)'])
        self.assertEqual(first['types'], ['STRING', 'DOUBLE'])
        cluster.ok('import', 'my_region', READINGS, '--key', 'id')
        results, statuses = by_key(subscriber.child.stdout)
        self.assertEqual(subscriber.wait(), 0, subscriber.log)
        self.assertEqual(statuses[-1]['status'], 'END')
        self.assertEqual(statuses[-1]['events'], count)
        self.assertEqual(results, expected)

    def test_events_are_numbered(self):
        """the events of a bucket are numbered in order and named kind, row, bucket, seq, sub"""
        subscriber = cluster.start('cq', 'SELECT id, temperature FROM SensorReadings', '--start', 'latest',
                                   '--limit', '30', '-o', 'ndjson')
        self.assertEqual(json.loads(subscriber.child.stdout.readline())['status'], 'SUBSCRIBED')
        for number in range(30):
            cluster.put_reading('n' + str(number % 3), number)
        events = [json.loads(line) for line in subscriber.child.stdout]
        self.assertEqual(subscriber.wait(), 0)
        events = [e for e in events if 'kind' in e]
        self.assertEqual(len(events), 30)
        last = {}
        for event in events:
            self.assertEqual(set(event), {'kind', 'row', 'bucket', 'seq', 'sub'})
            self.assertEqual(event['kind'], '+I')
            self.assertLess(last.get(event['bucket'], (0, 0)), (event['seq'], event['sub']))
            last[event['bucket']] = (event['seq'], event['sub'])

    def test_offline(self):
        """the same engine on a file, without a server, gives the same averages"""
        ddl = os.path.join(cluster.folder, 'table.sql')
        with open(ddl, 'w') as file:
            file.write(DDL + ';\n')
        done = run('cq', '--input', READINGS, '--ddl', ddl, FOUNDING, '--param', 'start_time=0', '-o', 'ndjson')
        self.assertEqual(done.returncode, 0, done.stderr)
        results, _ = by_key(done.stdout.splitlines())
        self.assertEqual(results, running_averages(load()))

    def test_offline_from_stdin(self):
        """a file comes through a pipe as well, and the csv output has a header"""
        ddl = os.path.join(cluster.folder, 'pipe.sql')
        with open(ddl, 'w') as file:
            file.write(DDL)
        text = 'id,timestamp,temperature\ns1,1000,20\ns2,1000,30\ns1,2000,22\ns1,3000,\ns2,2500,31\ns1,4000,27\n'
        done = run('cq', '--input', '-', '--ddl', ddl, FOUNDING, '--param', 'start_time=2000', '-o', 'ndjson',
                   stdin=text)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [list(json.loads(line)['row'].values()) for line in done.stdout.splitlines() if '"kind"' in line]
        self.assertEqual(rows, [['s1', 22], ['s1', 22], ['s2', 31], ['s1', 24.5]])

    def test_demo(self):
        """the demo loses, doubles and miscounts nothing"""
        demo = Process(['demo', '--readings', READINGS, '-o', 'ndjson'], stdout=-1)
        output = demo.child.stdout.read().decode()
        demo.child.stdout.close()
        self.assertEqual(demo.wait(60), 0, demo.log)
        self.assertNotRegex(demo.log, r'\b(WARN|ERROR)\b', 'start and end warn of nothing')
        rows = load()
        summary = [line for line in (output + demo.log).split('\n') if line.startswith('demo: ')][-1]
        self.assertEqual(summary, f'demo: readings={len(rows)} results={len(rows)} keys=3 lost=0 duplicated=0 '
                                  'mismatched=0')

    def test_demo_notices(self):
        """the demo with a start time pushes only the readings from then on"""
        start = 1372732200000
        done = run('demo', '--readings', READINGS, '--start-time', str(start), timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        count = sum(len(v) for v in running_averages(load(), start).values())
        self.assertRegex(done.stdout + done.stderr, rf'(?m)^demo: readings=26115 results={count} keys=3 lost=0 '
                                                    r'duplicated=0 mismatched=0$')


class Documents(unittest.TestCase):
    def test_data_is_the_recording(self):
        """the readings that ship are complete"""
        rows = load()
        self.assertEqual((len(rows), {r[0] for r in rows}), (26115, {'EWR', 'JFK', 'LGA'}))
        self.assertEqual([r for r in rows if r[2] is None][0][0], 'EWR')
        self.assertTrue(os.path.exists(os.path.join(ROOT, 'deploy', 'data', 'README.md')))
