"""The command line: what it prints where, and its exit codes one by one."""
import fcntl
import json
import os
import signal
import socket
import termios
import unittest

from cluster import DDL, Cluster, Process, died_of, run, wait_until


def setUpModule():
    global cluster
    cluster = Cluster(regions=[('r', 'PARTITION'), ('my_region', 'PARTITION')])
    cluster.ok('sql', DDL)


def tearDownModule():
    cluster.close()


class Codes(unittest.TestCase):
    def check(self, code, *arguments, stdin=None):
        """Runs a command; its stderr, which explains every failure."""
        done = cluster.vug(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, code, f'{arguments}\n{done.stdout}{done.stderr}')
        if code:
            self.assertTrue(done.stderr.strip(), 'a failure is explained on stderr')
        return done.stderr

    def test_success(self):
        """0: success"""
        self.check(0, 'put', 'r', 'k', 'v')
        self.check(0, 'version')
        self.check(0, '--help')
        self.check(0, 'put', '--help')

    def test_failed(self):
        """1: the command failed"""
        self.check(1, 'sql', 'SELEC 1')
        self.check(1, 'cq', 'SELECT id FROM SensorReadings WHERE timestamp >= start_time')

    def test_usage(self):
        """2: usage; an unknown word is answered with the nearest one"""
        self.assertIn('region', self.check(2, 'regoin', 'list'))
        self.assertIn('--type', self.check(2, 'region', 'create', 'x', '--tpye', 'PARTITION'))
        self.check(2, 'put', 'r')
        self.check(2, 'get', 'r', 'k', 'v')
        self.check(2, 'put', 'r', 'k', 'v', '--type', 'colour')
        self.check(2, 'region', 'create', 'x', '--type', 'ROUND')
        self.check(2, 'cq', 'SELECT 1', '--limit', 'many')

    def test_no_connection(self):
        """3: cannot connect"""
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            port = taken.getsockname()[1]
            done = run(f'--locator=127.0.0.1[{port}]', 'status')
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn(str(port), done.stderr)

    def test_not_there(self):
        """5: no such region, key or member; the nearest region is named"""
        self.assertIn('my_region', self.check(5, 'get', 'my_regoin', 'k'))
        self.check(5, 'get', 'r', 'no such key')
        self.check(5, 'stop', 'nobody')
        self.check(5, 'region', 'destroy', 'nothing')

    def test_exists(self):
        """6: exists already"""
        self.check(6, 'region', 'create', 'r', '--type', 'PARTITION')

    def test_timeout(self):
        """7: timed out"""
        with socket.socket() as silent:
            silent.bind(('127.0.0.1', 0))
            silent.listen()
            done = run(f'--locator=127.0.0.1[{silent.getsockname()[1]}]', '--timeout', '1s', 'status')
            self.assertEqual(done.returncode, 7, done.stderr)

    def test_configuration(self):
        """78: a configuration that cannot be"""
        path = os.path.join(cluster.folder, 'bad.conf')
        with open(path, 'w') as file:
            file.write('[member]\nnmae = x\n')
        done = run('server', '--config', path)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn('name', done.stderr)

    def test_signal(self):
        """128 + n: a subscriber ended by Ctrl-C says so to its shell"""
        subscriber = cluster.start('cq', 'SELECT id FROM SensorReadings', '--start', 'latest', '-o', 'ndjson')
        self.assertIn(b'SUBSCRIBED', subscriber.child.stdout.readline())
        subscriber.signal(signal.SIGINT)
        code = subscriber.wait()
        self.assertTrue(code in (0, 130) or died_of(code) == signal.SIGINT, code)

    def test_signal_without_reader(self):
        """a subscriber whose output nobody reads ends with SIGTERM, too"""
        subscriber = cluster.start('cq', 'SELECT id FROM SensorReadings', '--start', 'latest', '-o', 'ndjson')
        pipe = subscriber.child.stdout
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
        self.assertIn(b'SUBSCRIBED', pipe.readline())
        with cluster.connect() as conn:
            for i in range(600):  # far more than the pipe takes
                conn.put('my_region', f'k{i}', {'id': 'x', 'timestamp': i, 'temperature': 1.5})
        wait_until(lambda: any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))), 'something in the pipe')
        self.assertEqual(subscriber.stop(), 0)


class Data(unittest.TestCase):
    def test_types(self):
        """a value comes back as it was put, of the type that was asked for"""
        for kind, text in (('string', '12'), ('int', '-12'), ('long', '9007199254740993'), ('double', '1.5'),
                           ('boolean', 'true'), ('byte', '-1'), ('short', '300'), ('float', '0.5'),
                           ('json', '{"a":1}')):
            with self.subTest(kind):
                cluster.ok('put', 'r', kind, text, '--type', kind)
                self.assertEqual(cluster.ok('get', 'r', kind).strip(), text)
        with cluster.connect() as conn:
            self.assertEqual([conn.get('r', kind) for kind in ('int', 'double', 'json')], [-12, 1.5, {'a': 1}])

    def test_documents(self):
        """an object is a document without being told, anything else a string"""
        cluster.ok('put', 'r', 'document', '{"t": 1.5}')
        cluster.ok('put', 'r', 'number', '15')
        with cluster.connect() as conn:
            self.assertEqual((conn.get('r', 'document'), conn.get('r', 'number')), ({'t': 1.5}, '15'))

    def test_key_types(self):
        """a key's type is given by --key-type"""
        cluster.ok('put', 'r', '7', 'as int', '--key-type', 'int')
        cluster.ok('put', 'r', '7', 'as string')
        self.assertEqual(cluster.ok('get', 'r', '7', '--key-type', 'int').strip(), 'as int')
        self.assertEqual(cluster.ok('get', 'r', '7').strip(), 'as string')
        cluster.ok('remove', 'r', '7', '--key-type', 'int')
        self.assertEqual(cluster.vug('get', 'r', '7', '--key-type', 'int').returncode, 5)

    def test_order_of_options(self):
        """options stand before or after arguments and globals before or after the command"""
        locator = f'127.0.0.1[{cluster.locator_port}]'
        for arguments in (('put', '--type', 'int', 'r', 'o', '5', '--locator', locator),
                          ('--locator=' + locator, 'put', 'r', 'o', '5', '--type=int'),
                          ('put', f'--server=127.0.0.1:{cluster.port}', 'r', '--type', 'int', 'o', '5')):
            with self.subTest(' '.join(arguments)):
                done = run(*arguments)
                self.assertEqual(done.returncode, 0, done.stderr)
        done = run('get', 'r', 'o', env={'VUG_LOCATOR': locator})
        self.assertEqual(done.stdout.strip(), '5', done.stderr)
        done = run('get', 'r', 'o', f'--locator=127.0.0.1:{cluster.locator_port}')
        self.assertEqual(done.stdout.strip(), '5', 'H:P is accepted for H[P]')

    def test_keys_and_size(self):
        """keys and size answer on stdout alone"""
        cluster.create_region('counted')
        for number in range(20):
            cluster.ok('put', 'counted', f'key{number}', 'x')
        self.assertEqual(sorted(cluster.ok('keys', 'counted').split()), sorted(f'key{n}' for n in range(20)))
        self.assertEqual(cluster.ok('size', 'counted').strip(), '20')

    def test_json_everywhere(self):
        """-o json gives JSON"""
        for arguments in (('status',), ('members',), ('region', 'list'), ('region', 'describe', 'r'), ('version',),
                          ('size', 'r'), ('keys', 'r'), ('get', 'r', 'document'), ('sql', 'SHOW TABLES')):
            with self.subTest(' '.join(arguments)):
                cluster.ok('put', 'r', 'document', '{"t": 1.5}')
                json.loads(cluster.ok(*arguments, '-o', 'json'))

    def test_regions(self):
        """a region is created, listed, described and destroyed"""
        cluster.ok('region', 'create', 'made', '--type', 'PARTITION', '--total-num-buckets', '7')
        regions = {r['name']: r for r in json.loads(cluster.ok('region', 'list', '-o', 'json'))}
        self.assertEqual(regions['made']['type'], 'PARTITION')
        self.assertIn('7', cluster.ok('region', 'describe', 'made'))
        cluster.ok('region', 'destroy', 'made')
        self.assertNotIn('"made"', cluster.ok('region', 'list', '-o', 'json'))

    def test_type_of_geode(self):
        """a shortcut of Geode's that is not supported is known, and the nearest one is named"""
        done = cluster.vug('region', 'create', 'x', '--type', 'REPLICATE_PERSISTENT')
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r'\bREPLICATE\b')

    def test_sql(self):
        """sql prints rows, and a misspelt name with a caret"""
        self.assertIn('SensorReadings', cluster.ok('sql', 'SHOW TABLES'))
        done = cluster.vug('sql', 'EXPLAIN SELECT id, AVG(temprature) OVER (PARTITION BY id) FROM SensorReadings')
        self.assertEqual(done.returncode, 1)
        self.assertIn('temperature', done.stderr)
        self.assertIn('^', done.stderr)

    def test_formats(self):
        """cq prints a table, csv or ndjson of the same rows, offline as well"""
        ddl = os.path.join(cluster.folder, 'formats.sql')
        with open(ddl, 'w') as file:
            file.write(DDL)
        rows = 'id,timestamp,temperature\na,1,1\na,2,2.5\n'
        for kind, words in (('csv', ('a,1.75',)), ('ndjson', ('"AVG(temperature)":1.75',)), ('table', ('1.75',))):
            with self.subTest(kind):
                done = run('cq', '--input', '-', '--ddl', ddl, '-o', kind,
                           'SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings', stdin=rows)
                self.assertEqual(done.returncode, 0, done.stderr)
                for word in words:
                    self.assertIn(word, done.stdout.replace(': ', ':'))

    def offline(self, ddl, rows, query, *options):
        """The objects that cq prints over a file's rows."""
        path = os.path.join(cluster.folder, 'offline.sql')
        with open(path, 'w') as file:
            file.write(ddl + " WITH ('connector'='geode-region','region'='my_region')")
        done = run('cq', '--input', '-', '--ddl', path, '-o', 'ndjson', *options, query, stdin=rows)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_offline_null(self):
        """an empty line of a file with one column is a row of one NULL"""
        events = self.offline('CREATE TABLE S (d DOUBLE)', 'd\n0.0\n-0.0\nNaN\nNaN\n\n\n',
                              'SELECT d, COUNT(*) AS n FROM S GROUP BY d')
        rows = [(event['kind'], event['row']['d'], event['row']['n']) for event in events if 'row' in event]
        self.assertEqual(rows[-4:], [('+U', 'NaN', 2), ('+I', None, 1), ('-U', None, 1), ('+U', None, 2)])

    def test_numeric_mode(self):
        """--numeric-mode flink rounds as Flink does, offline and in the cluster; another word is refused"""
        rows = 'v\n0.1\n0.2\n0.3\n'
        query = 'SELECT SUM(v) OVER (PARTITION BY 1 = 1) AS s FROM S'
        sums = {}
        for mode in 'exact', 'flink':
            events = self.offline('CREATE TABLE S (v DOUBLE)', rows, query, '--numeric-mode', mode)
            sums[mode] = [event['row']['s'] for event in events if 'row' in event][-1]
        self.assertEqual(sums, {'exact': 0.6, 'flink': 0.6000000000000001})
        done = cluster.vug('cq', 'SELECT d = d FROM r', '--numeric-mode', 'roman')
        self.assertEqual(done.returncode, 2)
        self.assertIn('flink', done.stderr)
        cluster.ok('sql', "CREATE TABLE Modes (mode_d DOUBLE) "
                   "WITH ('connector'='geode-region','region'='my_region')")
        cluster.ok('put', 'my_region', 'nan', '{"mode_d": "NaN"}')
        for mode, truth in ('exact', False), ('flink', True):
            out = cluster.ok('cq', 'SELECT mode_d = mode_d AS same FROM Modes WHERE mode_d IS NOT NULL',
                             '--limit', '1', '--numeric-mode', mode, '-o', 'ndjson')
            events = [json.loads(line) for line in out.splitlines()]
            self.assertEqual([event['row'] for event in events if 'row' in event], [{'same': truth}])

    def test_variant(self):
        """a field of a region without a table is VARIANT, what is computed of it has its own type"""
        cluster.ok('put', 'r', 'variant', '{"variant": 1}')
        out = cluster.ok('cq', "SELECT key, variant, CAST(variant AS INT) AS i, variant + 1 AS p FROM r "
                         "WHERE key = 'variant'", '--limit', '1', '-o', 'ndjson')
        self.assertEqual(json.loads(out.splitlines()[0])['types'], ['VARIANT', 'VARIANT', 'INT', 'DOUBLE'])

    def test_help(self):
        """vug alone prints a short help; every command has one"""
        done = run()
        self.assertLess(len((done.stdout + done.stderr).split('\n')), 30)
        words = 'locator server demo region put get remove keys size import sql cq status members health version stop'
        for word in words.split():
            with self.subTest(word):
                done = run(word, '--help')
                self.assertEqual(done.returncode, 0)
                self.assertIn(word, done.stdout)

    def test_closed_pipe(self):
        """a reader that goes away ends the command quietly"""
        process = Process(cluster.arguments('keys', 'r'), stdout=-1)
        process.child.stdout.close()
        process.wait()
        self.assertNotIn('INVARIANT', process.log)
