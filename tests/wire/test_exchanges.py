"""Replays bytes that were recorded from a real Geode and compares the replies byte for byte: with one server, and with
each of three, two thirds of whose buckets are led by others."""
import os
import re
import unittest

from cluster import ROOT, Cluster
from wire import Connection, Refused, varint

RECORDED_PORT = varint(52734)
EXCHANGES = os.path.join(ROOT, 'tests', 'data', 'wire', 'exchanges.tsv')


REGIONS = [('R', 'REPLICATE'), ('empty', 'REPLICATE'), ('P', 'PARTITION'),
           ('KF', 'REPLICATE', '--key-constraint', 'float')]
KEYS = ('k', 't', 'a', 'b', 'p')  # that the exchanges leave behind


def setUpModule():
    global cluster, three
    cluster = Cluster(regions=REGIONS)
    three = Cluster(servers=3, regions=REGIONS)


def tearDownModule():
    cluster.close()
    three.close()


def rows():
    with open(EXCHANGES) as file:
        for line in file:
            if not line.startswith('#'):
                yield line.rstrip('\n').split('\t')


def with_port(reply, server_port):
    """The recorded getServer answer with a port of ours in place of the recorded one; lengths follow."""
    def grow(data, more):
        return bytes([data[0] + more])

    port = varint(server_port)
    more = len(port) - len(RECORDED_PORT)
    reply = reply.replace(RECORDED_PORT, port)
    return grow(reply, more) + reply[1:2] + grow(reply[2:], more) + reply[3:4] + grow(reply[4:], more) + reply[5:]


def replay(conn, request):
    """The reply's bytes; none at the end of the stream."""
    conn.send(request)
    content = conn.next_frame()
    return b'' if content is None else varint(len(content)) + content


class Exchanges(unittest.TestCase):
    def replay_all(self, of, port):
        """All covered exchanges, in order, at this server."""
        conn = Connection(port)
        count = 0
        for name, connection, state, what, request, reply in rows():
            if state != 'covered' or connection == 'lonely-locator':
                continue
            reply = bytes.fromhex(reply)
            if connection != 'same':
                conn.close()
                conn = Connection(of.locator_port if connection == 'locator' else port)
            replies = [reply]
            if name == 'G86':
                replies = [with_port(reply, server.port) for server in of.servers]
            with self.subTest(f'{name} {what}'):
                self.assertIn(replay(conn, bytes.fromhex(request)).hex(), [r.hex() for r in replies])
                if '(then EOF)' in what:
                    self.assertEqual(conn.read_all(), b'', 'nothing follows, and the connection is closed')
            count += 1
        conn.close()
        self.assertGreaterEqual(count, 45, 'the table was read')

    def test_every_covered_exchange(self):
        """every recorded exchange that is covered gets Geode's very bytes, in order"""
        self.replay_all(cluster, cluster.port)

    def test_at_each_of_three_servers(self):
        """each of three servers gives the very same bytes, whoever has the bucket"""
        for server in three.servers:
            with Connection(server.port) as conn:
                for region in ('R', 'P'):
                    for key in KEYS:
                        conn.remove(region, key)
            self.replay_all(three, server.port)

    def test_locator_without_servers(self):
        """G89: a locator without servers answers code 101"""
        row, = [r for r in rows() if r[0] == 'G89']
        with Cluster(servers=0) as lonely, Connection(lonely.locator_port) as conn:
            reply = bytes.fromhex(row[5])
            self.assertEqual(replay(conn, bytes.fromhex(row[4])).hex(), reply.hex())

    def test_what_comes_later_is_refused(self):
        """what comes later is refused as an unsupported operation, and the connection stays"""
        for name, _, state, what, request, _ in rows():
            if not re.match(r'later: (clear|OQL|functions)', state):
                continue
            with self.subTest(f'{name} {what}'), Connection(cluster.port) as conn:
                conn.send(bytes.fromhex(request))
                with self.assertRaises(Refused) as refused:
                    conn.reply()
                self.assertEqual(refused.exception.code, 60)
                self.assertEqual(conn.size('empty'), 0)

    def test_pipelined_in_one_write(self):
        """all exchanges of one connection, sent in one write, get the same replies in order"""
        chosen = [r for r in rows() if r[1] == 'same' and r[2] == 'covered' and r[0] < 'G75']
        for port in (cluster.port, *(server.port for server in three.servers)):
            with Connection(port) as conn:
                for key in KEYS:
                    conn.remove('R', key)
                conn.send(b''.join(bytes.fromhex(r[4]) for r in chosen))
                for name, _, _, what, _, reply in chosen:
                    content = conn.next_frame()
                    with self.subTest(f'{name} {what}'):
                        self.assertEqual((varint(len(content)) + content).hex(), reply)

    def test_one_byte_at_a_time(self):
        """a request that arrives byte by byte is answered once it is whole"""
        request = bytes.fromhex('11120f0a0152120a0a034a016b12034a0176')
        with Connection(cluster.port) as conn:
            for at in range(len(request)):
                self.assertEqual(conn.data, b'')
                conn.send(request[at:at + 1])
            self.assertEqual(conn.read(3).hex(), '021a00')
