"""The command line when something is wrong: output that goes nowhere, formats, words and addresses that cannot be."""
import os
import resource
import signal
import socket
import subprocess
import unittest

from cluster import DDL, VUG, Cluster, run, wait_until


def setUpModule():
    global cluster
    cluster = Cluster(regions=[('r', 'PARTITION')])
    cluster.ok('sql', DDL.replace("'my_region'", "'r'"))
    cluster.ok('put', 'r', 'k', '{"id":"k","timestamp":1,"temperature":2.5}')


def tearDownModule():
    cluster.close()


def into(path, *arguments):
    """Runs a command with its stdout in a file; its stderr and returncode."""
    with open(path, 'w') as out:
        return subprocess.run([VUG, *cluster.arguments(*arguments)], stdout=out, stderr=subprocess.PIPE, text=True,
                              timeout=60, check=False)


class Output(unittest.TestCase):
    def test_full_disk(self):
        """output that cannot be written is told and ends with 1"""
        for arguments in (('get', 'r', 'k'), ('size', 'r'), ('keys', 'r'), ('region', 'list'), ('help',), ('version',),
                          ('get', '--help'), ('status',), ('members',), ('health',), ('sql', 'SHOW TABLES'),
                          ('cq', 'SELECT id FROM SensorReadings', '--limit', '1'), ()):
            with self.subTest(' '.join(arguments)):
                if arguments:
                    done = into('/dev/full', *arguments)
                else:
                    with open('/dev/full', 'w') as out:
                        done = subprocess.run([VUG], stdout=out, stderr=subprocess.PIPE, text=True, check=False)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertEqual(done.stderr, 'error: cannot write the output: No space left on device\n')

    def test_closed(self):
        """a stdout that the shell has closed cannot be written either, and is nobody's socket"""
        done = subprocess.run(['/bin/sh', '-c', '"$0" "$@" >&-', VUG, *cluster.arguments('get', 'r', 'k')],
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('cannot write the output', done.stderr)

    def test_pipe(self):
        """a reader that has gone away is no error"""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, 'w') as out:
            done = subprocess.run([VUG, *cluster.arguments('get', 'r', 'k')], stdout=out, stderr=subprocess.PIPE,
                                  text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_unknown_format(self):
        """a format that a command does not know is refused with 2 and those that it knows"""
        for arguments, known in ((('get', 'r', 'k'), 'table json'), (('keys', 'r'), 'table json ndjson'),
                                 (('region', 'list'), 'table json ndjson csv'), (('status',), 'table json'),
                                 (('cq', 'SELECT id FROM SensorReadings'), 'table ndjson csv'),
                                 (('demo',), 'table ndjson'), (('size', 'r'), 'table json'),
                                 (('sql', 'SHOW TABLES'), 'table json ndjson csv'), (('put', 'r', 'x', 'y'), ''),
                                 (('remove', 'r', 'x'), ''), (('stop', 'nobody'), ''), (('health',), ''),
                                 (('region', 'clear', 'nothing'), ''), (('import', 'r', 'f.csv', '--key', 'x'), ''),
                                 (('server', '--locators', 'localhost'), ''), (('locator',), '')):
            with self.subTest(' '.join(arguments)):
                done = cluster.vug(*arguments, '-o', 'xml')
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn('xml', done.stderr)
                self.assertIn(f'it has: {known}\n' if known else 'leave -o out', done.stderr)

    def test_format_of_the_environment(self):
        """a format in the environment is for the commands that have formats"""
        env = {'VUG_OUTPUT': 'json'}
        done = run(*cluster.arguments('put', 'r', 'e', '1'), env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(run(*cluster.arguments('get', 'r', 'e'), env=env).stdout, '"1"\n')
        self.assertEqual(run(*cluster.arguments('put', 'r', 'e', '1'), env={'VUG_OUTPUT': 'xml'}).returncode, 2)


class Words(unittest.TestCase):
    def check(self, code, *arguments, env=None):
        done = run(*cluster.arguments(*arguments), env=env)
        self.assertEqual(done.returncode, code, f'{arguments}\n{done.stdout}{done.stderr}')
        return done.stderr

    def test_environment(self):
        """a value of the environment that cannot be is a configuration error"""
        self.assertIn('VUG_TIMEOUT', self.check(78, 'size', 'r', env={'VUG_TIMEOUT': 'soon'}))

    def test_region_words(self):
        """kinds and names that no region can have are wrong use"""
        self.assertIn('colour', self.check(2, 'region', 'create', 'x', '--key-constraint', 'colour'))
        self.assertIn('string int', self.check(2, 'region', 'create', 'x', '--value-constraint', 'colour'))
        for name in 'a b', 'a/b', '', '__x', 'x' * 256:
            with self.subTest(name):
                self.check(2, 'region', 'create', name)
        self.check(0, 'region', 'create', '/slash', '--key-constraint', 'string')

    def test_member_name(self):
        """a member needs a name"""
        self.assertIn('--name is empty', self.check(2, 'server', '--locators', 'localhost', '--name', ''))

    def test_bind_address(self):
        """an address that is not this host's is told"""
        for role in ('server', '--locators', 'localhost'), ('locator', '--data-dir', cluster.folder + '/nowhere'):
            for option in '--bind-address', '--http-bind-address':
                text = self.check(1, *role, option, '192.0.2.1', '--allow-insecure')
                self.assertIn('this host has no address 192.0.2.1', text)
                self.assertIn(option, text)

    def test_name_not_known(self):
        """a host that nobody knows ends with 3, without messages of a library"""
        done = run('--locator', 'no-such-host.invalid', '--timeout', '1s', 'status')
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn('host name not known', done.stderr)
        self.assertNotIn('[', done.stderr.replace('HOST[PORT]', ''))

    def test_group_help(self):
        """`vug region --help` shows the commands of regions"""
        done = run('region', '--help')
        self.assertEqual(done.returncode, 0)
        for word in 'create', 'destroy', 'list', 'describe', 'clear':
            self.assertIn(f'vug region {word}', done.stdout)
        self.assertNotIn('vug put', done.stdout)

    def test_import_of_a_folder(self):
        """a folder is no file of rows"""
        text = self.check(1, 'import', 'r', cluster.folder, '--key', 'id')
        self.assertIn('directory', text)
        self.assertIn('hint:', text)

    def test_health_of_the_other(self):
        """health says when the member is a server and no locator, or the other way around"""
        locator, server = f'127.0.0.1:{cluster.locator_port}', f'127.0.0.1:{cluster.port}'
        done = run('health', '--server', locator)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f'{locator} is a locator, not a server', done.stderr)
        done = run('health', '--locator', server)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f'{server} is a server, not a locator', done.stderr)
        self.assertIn('ready: locator', run('health', '--locator', locator).stdout)
        self.assertIn('ready: server', run('health', '--server', server).stdout)


class Members(unittest.TestCase):
    def test_forget(self):
        """a dead member is forgotten; one that nobody knows is absent"""
        with Cluster() as other:
            other.server.signal(signal.SIGSTOP)  # dead, as far as anybody can tell, and not provably so
            try:
                wait_until(lambda: 'srv1 is forgotten' in other.vug('member', 'forget', 'srv1').stderr, 'forgotten', 20)
            finally:
                other.server.kill()
            self.assertNotIn('srv1', other.ok('members', '-o', 'json'))
            self.assertEqual(other.vug('member', 'forget', 'nobody').returncode, 5)

    def test_connections(self):
        """--max-connections below 16 is 16, and the next one is refused with a line in the log"""
        with Cluster(server_options=['--max-connections', '3', '--cq-ring-bytes', '1MiB']) as other:
            held = [other.connect() for _ in range(14)]
            try:
                self.assertNotIn('VG1316', other.server.log)
                for _ in range(4):
                    with socket.create_connection(('127.0.0.1', other.port)) as refused:
                        refused.sendall(b'\x0a\x08\x01\x10\x01')
                        held.append(refused.dup())
                other.server.wait_line('VG1316')
            finally:
                for conn in held:
                    conn.close()

    def test_sizes(self):
        """--cq-ring-bytes needs its unit"""
        done = run('server', '--cq-ring-bytes', '1000')
        self.assertEqual(done.returncode, 2)
        self.assertIn('1000MiB', done.stderr)

    def test_file_limit(self):
        """the banner says how many files may be open; when all are, a line says what to do, not one for each"""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.assertIn(f'open files at most {hard}', cluster.server.log)
        self.assertIn(f'open files at most {hard}', cluster.locator.log)
        with Cluster(regions=[('r', 'PARTITION')]) as other:
            resource.prlimit(other.server.pid, resource.RLIMIT_NOFILE, (64, hard))
            held = [socket.create_connection(('127.0.0.1', other.port)) for _ in range(70)]
            try:
                line = other.server.wait_line('VG1002')
                self.assertIn('all 64 files', line)
                self.assertIn('ulimit -n', line)
            finally:
                for conn in held:
                    conn.close()
            other.put_reading('after', 1.0, region='r')

    def test_probe(self):
        """a member that only looks whether this one answers is no warning"""
        before = len(cluster.server.lines)
        for said in (b'', b'V'):
            with socket.create_connection(('127.0.0.1', cluster.port)) as probe:
                probe.sendall(said)
        cluster.put_reading('after', 1.0, region='r')
        self.assertNotRegex('\n'.join(cluster.server.lines[before:]), r'\b(WARN|ERROR)\b')
