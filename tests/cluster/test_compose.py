"""deploy/docker-compose.yml without a Docker engine: the file against its schema, and its very commands, names and
environment in network namespaces. What only an engine does (building the image, publishing ports) is imitated or
left."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import namespaces
from cluster import PATIENCE, ROOT, VUG, Process, wait_until

COMPOSE = os.path.join(ROOT, 'deploy', 'docker-compose.yml')
WHY_NOT = namespaces.available()


def services():
    import yaml
    with open(COMPOSE, encoding='utf-8') as file:
        return yaml.safe_load(file)['services']


class ComposeFile(unittest.TestCase):
    @unittest.skipUnless(shutil.which('docker-compose'), 'docker-compose is not installed')
    def test_schema(self):
        """the compose file holds against its schema, with and without the demo"""
        for profile in ([], ['--profile', 'demo']):
            done = subprocess.run(['docker-compose', '-f', COMPOSE, *profile, 'config', '--quiet'], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_promises(self):
        """every service has a read-only root and a numeric user, and nothing is published beyond loopback"""
        for name, service in services().items():
            with self.subTest(name):
                self.assertIs(service['read_only'], True)
                self.assertRegex(service['user'], r'^\d+:\d+$')
                for port in service.get('ports', []):
                    address, outside, inside = port.split(':')
                    self.assertEqual((address, outside), ('127.0.0.1', inside))


class Published:
    """What an engine does for `ports:`: a port of the host leads to the container, which sees the gateway come."""

    def __init__(self, network, port, machine):
        self.process = subprocess.Popen(
            network.command('host', ['python3', '-c', FORWARD, str(port), network.addresses[machine]]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


FORWARD = '''
import os, socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
def copy(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
while True:
    client, _ = listener.accept()
    server = socket.create_connection((sys.argv[2], int(sys.argv[1])))
    for pair in ((client, server), (server, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
'''


class Project:
    """The services of the file, each on a machine of its own."""

    def __init__(self):
        self.services = services()
        self.network = namespaces.Network(list(self.services))
        self.folder = tempfile.mkdtemp(prefix='vug-compose-')
        self.running = {}
        self.published = []
        os.chmod(self.folder, 0o755)

    def words(self, name, command):
        """A service's command as the image would run it: its executable, its data, its volume."""
        places = {'/bin/vug': VUG,
                  '/share/vug/weather-2013.csv': os.path.join(ROOT, 'deploy', 'data', 'weather-2013.csv')}
        words = []
        for word in command:
            for inside, outside in places.items():
                word = outside if word == inside else word
            if word == '--data-dir=/data':
                folder = os.path.join(self.folder, name)
                os.makedirs(folder, exist_ok=True)
                os.chown(folder, 65532, 65532)
                word = f'--data-dir={folder}'
            words.append(word)
        return words

    def environment(self, name):
        return {key: str(value) for key, value in self.services[name].get('environment', {}).items()}

    def command(self, name, words):
        inside = self.services[name]
        own = self.network.command(name, self.words(name, words), user=inside['user'].split(':')[0])
        return own

    def up(self, name, stdout=subprocess.DEVNULL):
        command = self.command(name, [VUG, *self.services[name]['command']])
        self.running[name] = Process([name], self.environment(name), stdout, command=command)
        return self.running[name]

    def wait_healthy(self, name):
        check = self.services[name]['healthcheck']['test']
        self.assert_cmd(check)
        command = self.command(name, check[1:])
        process = self.running[name]
        wait_until(lambda: process.ended or subprocess.run(command, capture_output=True, check=False).returncode == 0,
                   f'{name} is healthy', 20)
        if process.ended:
            raise AssertionError(f'{name} ended')

    @staticmethod
    def assert_cmd(check):
        if check[0] != 'CMD':
            raise AssertionError(f'a health check needs CMD: there is no shell in the image: {check}')

    def run(self, name):
        """A service that runs once."""
        command = self.command(name, [VUG, *self.services[name]['command']])
        done = subprocess.run(command, capture_output=True, text=True,
                              timeout=60 * PATIENCE, env={**os.environ, **self.environment(name)}, check=False)
        if done.returncode != 0:
            raise AssertionError(f'{name} ended with {done.returncode}: {done.stderr}')
        return done.stdout

    def on(self, machine, *words, locator):
        return subprocess.run(self.network.command(machine, [VUG, f'--locator={locator}', *words]), capture_output=True,
                              text=True, timeout=30 * PATIENCE, check=False)

    def publish(self):
        for name, service in self.services.items():
            for port in service.get('ports', []):
                self.published.append(Published(self.network, int(port.split(':')[2]), name))

    def close(self):
        for process in reversed(self.running.values()):
            if process.child.poll() is None:
                process.child.terminate()
            process.wait()
            process.close_stdout()
        for port in self.published:
            port.close()
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class ComposeProject(unittest.TestCase):
    def setUp(self):
        self.project = Project()
        self.addCleanup(self.project.close)
        for name in ('locator', 'server1', 'server2', 'server3'):
            self.project.up(name)
        for name in ('locator', 'server1', 'server2', 'server3'):
            self.project.wait_healthy(name)

    def test_demo(self):
        """the demo's services make a region and a table, feed readings, and the averages come out"""
        project = self.project
        project.run('region')
        project.run('region')  # up again: what is there already is no failure
        project.run('table')
        cq = project.up('cq', stdout=subprocess.PIPE)
        project.services['demo']['command'] = [
            word if not word.startswith('--rate') else '--rate=20000' for word in project.services['demo']['command']]
        project.run('demo')
        seen = set()

        # An engine reads all that a service prints.
        cq.follow(lambda line: seen.update(re.findall(r'\b(EWR|JFK|LGA)\b', line.decode())))
        wait_until(lambda: seen == {'EWR', 'JFK', 'LGA'} or cq.ended, 'averages of every station', 30)
        self.assertEqual(seen, {'EWR', 'JFK', 'LGA'}, cq.log)
        self.assertEqual(cq.stop(), 0, cq.log)

    def test_addresses(self):
        """a program of the host is sent to localhost, a container to a server's name, and both get there"""
        project = self.project
        project.publish()
        project.run('region')
        done = project.on('host', 'put', 'my_region', 'a', '1', locator='127.0.0.1[10334]')
        self.assertEqual(done.returncode, 0, done.stderr)
        done = project.on('cq', 'get', 'my_region', 'a', locator='locator[10334]')
        self.assertEqual((done.returncode, done.stdout.strip()), (0, '1'), done.stderr)
        self.assertEqual(self.told('host', '127.0.0.1'), 'localhost')
        self.assertRegex(self.told('cq', 'locator'), r'^server[123]$')

    def told(self, machine, locator):
        """The host that GetServer names to a client on this machine."""
        script = ('import sys; sys.path.insert(0, sys.argv[1]); from wire import *; '
                  'print(find_server(10334, sys.argv[2])[0])')
        done = subprocess.run(self.project.network.command(
            machine, ['python3', '-c', script, os.path.join(ROOT, 'tests', 'lib'), locator]), capture_output=True,
            text=True, timeout=30 * PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()
