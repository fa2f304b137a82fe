"""Machines for tests: network namespaces on one bridge, each with an address and a name, as containers have them.

The bridge stands in a namespace of its own, which plays the host: its address there is the gateway of the machines.
Names are in /etc/hosts of each machine, by a mount that only its processes see. Needs root."""
import ctypes
import ipaddress
import itertools
import os
import shutil
import subprocess
import tempfile

COUNTER = itertools.count()


def available():
    """Why namespaces cannot be made here, or None."""
    if os.geteuid() != 0:
        return 'network namespaces need root'
    if not shutil.which('ip'):
        return 'there is no ip command (package iproute2)'
    name = f'vugt{os.getpid()}p'
    made = subprocess.run(['ip', 'netns', 'add', name], capture_output=True, check=False)
    if made.returncode != 0:
        return f'network namespaces cannot be made: {made.stderr.decode().strip()}'
    subprocess.run(['ip', 'netns', 'del', name], check=True)
    return None


def ip(*arguments):
    subprocess.run(['ip', *arguments], check=True, capture_output=True)


def set_namespace(file):
    """The calling thread goes to this network namespace, an open file."""
    if ctypes.CDLL(None, use_errno=True).setns(file, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), 'setns')


class Network:
    """A bridge with the host's namespace, and machines on it by name."""

    def __init__(self, names, subnet='172.31.77.0/24'):
        self.prefix = f'vugt{os.getpid()}n{next(COUNTER)}'
        self.folder = tempfile.mkdtemp(prefix='vug-net-')
        hosts = ipaddress.ip_network(subnet).hosts()
        self.gateway = str(next(hosts))
        self.addresses = {name: str(address) for name, address in zip(names, hosts)}
        self.bits = subnet.split('/')[1]
        self.spaces = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _space(self, name):
        space = f'{self.prefix}{name}'
        ip('netns', 'add', space)
        self.spaces.append(space)
        ip('-n', space, 'link', 'set', 'lo', 'up')
        return space

    def _build(self):
        with open(os.path.join(self.folder, 'hosts'), 'w', encoding='ascii') as file:
            file.write('127.0.0.1 localhost\n' +
                       ''.join(f'{address} {name}\n' for name, address in self.addresses.items()))
        host = self._space('host')
        ip('-n', host, 'link', 'add', 'br0', 'type', 'bridge')
        ip('-n', host, 'addr', 'add', f'{self.gateway}/{self.bits}', 'dev', 'br0')
        ip('-n', host, 'link', 'set', 'br0', 'up')
        for name, address in self.addresses.items():
            space = self._space(name)
            ip('-n', host, 'link', 'add', f'v{name}'[:15], 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
            ip('-n', host, 'link', 'set', f'v{name}'[:15], 'master', 'br0', 'up')
            ip('-n', space, 'addr', 'add', f'{address}/{self.bits}', 'dev', 'eth0')
            ip('-n', space, 'link', 'set', 'eth0', 'up')
            ip('-n', space, 'route', 'add', 'default', 'via', self.gateway)

    def command(self, name, arguments, read_only=False, user=None):
        """The words that run `arguments` on a machine ('host' is the one with the bridge)."""
        script = f'mount --make-rprivate / && mount --bind {self.folder}/hosts /etc/hosts && '
        if read_only:
            script += 'mount --bind / / && mount -o remount,bind,ro / && '
        drop = f'setpriv --reuid={user} --regid={user} --clear-groups ' if user else ''
        script += f'exec {drop}"$@"'
        return ['ip', 'netns', 'exec', f'{self.prefix}{name}', 'unshare', '--mount', 'sh', '-c', script, 'sh',
                *arguments]

    def enter(self, name):
        """Puts the calling thread on a machine: the sockets that it makes from now on are there."""
        with open(f'/run/netns/{self.prefix}{name}', 'rb') as file:
            set_namespace(file.fileno())

    def cut(self, source, destination):
        """Packets from `source` are dropped at `destination` from now on: one direction."""
        table = 'add table inet cut; add chain inet cut in { type filter hook input priority 0 ; } ; '
        subprocess.run(['ip', 'netns', 'exec', f'{self.prefix}{destination}', 'nft',
                        f'{table}add rule inet cut in ip saddr {self.addresses[source]} drop'],
                       check=True, capture_output=True)

    def heal(self, destination):
        subprocess.run(['ip', 'netns', 'exec', f'{self.prefix}{destination}', 'nft', 'delete table inet cut'],
                       check=False, capture_output=True)

    def close(self):
        for space in reversed(self.spaces):
            subprocess.run(['ip', 'netns', 'del', space], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
