"""Servers on machines of their own (network namespaces): cuts of the network in one direction and in both, while the
processes live on."""
import os
import shutil
import subprocess
import tempfile
import time
import unittest

import namespaces
from chaos import Chaos
from cluster import DDL, PATIENCE, VUG, Member, Process, wait_whole
from ledger import Subscriber, Writer, check, wait_written

WHY_NOT = namespaces.available() or (None if shutil.which('nft') else 'there is no nft command (package nftables)')


class Machines:
    """A cluster whose members and clients have a machine each; for ledger.py it looks like any other."""

    def __init__(self, servers=3):
        self.names = [f's{number + 1}' for number in range(servers)]
        self.network = namespaces.Network(['locator', 'client', *self.names])
        self.folder = tempfile.mkdtemp(prefix='vug-test-')
        self.locator_host, self.locator_port = self.network.addresses['locator'], 10334
        self.members = {}
        self.processes = []
        try:
            self.start_member('locator', 'locator', '--data-dir', os.path.join(self.folder, 'map'))
            for name in self.names:
                self.start_server(name)
        except BaseException:
            self.close()
            raise

    def enter(self):
        self.network.enter('client')

    @property
    def servers(self):
        return [self.members[name] for name in self.names]

    def start_member(self, name, role, *options):
        arguments = [role, '--name', name, '--bind-address', '0.0.0.0', '--allow-insecure', '--hostname-for-clients',
                     self.network.addresses[name], '--http-port', '0', *options]
        self.members[name] = Member(arguments, command=self.network.command(name, [VUG, *arguments]))
        self.members[name].host = self.network.addresses[name]

    def start_server(self, name):
        self.start_member(name, 'server', '--locators', f'{self.locator_host}[10334]')

    def words(self, arguments):
        return self.network.command('client', [VUG, f'--locator={self.locator_host}[10334]', *arguments])

    def vug(self, *arguments):
        return subprocess.run(self.words(arguments), capture_output=True, text=True, timeout=60 * PATIENCE, check=False)

    def ok(self, *arguments):
        done = self.vug(*arguments)
        if done.returncode != 0:
            raise AssertionError(f'vug {" ".join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}')
        return done.stdout

    def start(self, *arguments):
        process = Process(list(arguments), stdout=subprocess.PIPE, command=self.words(arguments))
        self.processes.append(process)
        return process

    def close(self):
        for process in [*self.processes, *reversed(self.members.values())]:
            process.kill()
            process.close_stdout()
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Cuts(unittest.TestCase):
    def setUp(self):
        self.cluster = Machines()
        self.addCleanup(self.cluster.close)
        self.cluster.ok('region', 'create', 'my_region', '--type', 'PARTITION_REDUNDANT')
        self.cluster.ok('sql', DDL)
        wait_whole(self.cluster)
        self.subscriber = Subscriber(self.cluster)
        self.writers = [Writer(self.cluster, f'w{number}') for number in range(2)]

    def wait_written(self, more=100):
        wait_written(self.writers, more)

    def finish(self):
        for name in self.cluster.members:
            self.cluster.network.heal(name)
        self.wait_written()
        for writer in self.writers:
            writer.stop()
        check(self, self.writers, self.subscriber)

    def test_one_direction_between_servers(self):
        """packets of one server do not reach another, the other way they do: writes go on, nothing is lost"""
        self.wait_written()
        self.cluster.network.cut('s1', 's2')
        self.wait_written(300)
        self.cluster.network.heal('s2')
        self.wait_written()
        self.finish()

    def test_a_server_alone(self):
        """a server that nobody hears any more is replaced, and throws away what it had when it is back"""
        self.wait_written()
        for name in ('locator', 's2', 's3', 'client'):
            self.cluster.network.cut('s1', name)
        self.wait_written(300)
        for name in ('locator', 's2', 's3', 'client'):
            self.cluster.network.heal(name)
        wait_whole(self.cluster, 60)
        self.finish()

    def test_server_deaf(self):
        """a server that hears nobody, but is heard, takes no part: its clients go elsewhere"""
        self.wait_written()
        for name in ('locator', 's1', 's3', 'client'):
            self.cluster.network.cut(name, 's2')
        self.wait_written(300)
        self.finish()

    def test_locator_cut_off(self):
        """a locator that nobody reaches costs running clients nothing"""
        self.wait_written()
        for name in self.cluster.names:
            self.cluster.network.cut('locator', name)
        self.wait_written(300)
        self.finish()


@unittest.skipIf(WHY_NOT, WHY_NOT)
class RandomCuts(Chaos):
    def test_random_cuts(self):
        """whatever is cut for a while, in one direction or both: no read goes back, nothing is lost"""
        cluster = Machines()
        regions = [('redundant', 'PARTITION_REDUNDANT'), ('copied', 'REPLICATE')]
        for name, kind in regions:
            cluster.ok('region', 'create', name, '--type', kind)
        before = os.open('/proc/self/ns/net', os.O_RDONLY)
        self.addCleanup(os.close, before)
        self.addCleanup(namespaces.set_namespace, before)
        self.start(regions, cluster)
        cluster.enter()
        places = [*cluster.names, *cluster.names, 'locator', 'client']
        while time.monotonic() < self.until and not self.oracle.wrong:
            for _ in range(self.random.choice((1, 1, 2, 4))):
                source, destination = self.random.sample(places, 2)
                if source == destination:
                    continue
                self.note(f'no packets from {source} to {destination}')
                cluster.network.cut(source, destination)
                if self.random.random() < 0.3:
                    cluster.network.cut(destination, source)
            self.pause(self.random.choice((0.5, 2, 7)))
            self.note('all healed')
            for name in cluster.network.addresses:
                cluster.network.heal(name)
            self.wait_whole()
        self.finish()
