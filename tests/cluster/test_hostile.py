"""Hostile input beside a healthy client: its requests all succeed, and the server's memory stays bounded."""
import os
import random
import socket
import struct
import threading
import unittest

from cluster import DDL, SANITIZED, Cluster, wait_until
from subscription import Subscription
from wire import HELLO, SQL, WRITE_BATCH, Connection, Refused, encode, entry, field, frame, message, varint

GROWTH_MAX = 64 << 20


class Healthy(threading.Thread):
    """A client that works on while the others misbehave; what goes wrong is kept."""

    def __init__(self, port):
        super().__init__()
        self.port = port
        self.stopping = threading.Event()
        self.requests = 0
        self.wrong = []

    def run(self):
        try:
            with Connection(self.port) as conn:
                while not self.stopping.is_set():
                    key = f'healthy{self.requests % 100}'
                    conn.put('my_region', key, {'id': key, 'temperature': self.requests})
                    if conn.get('my_region', key)['temperature'] != self.requests:
                        self.wrong.append(f'request {self.requests} read something else')
                    self.requests += 1
        except Exception as error:  # whatever it is, it must not happen
            self.wrong.append(repr(error))


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(regions=[('my_region', 'PARTITION')])
        cls.cluster.ok('sql', DDL)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def setUp(self):
        self.port = self.cluster.port
        self.server = self.cluster.server
        self.healthy = Healthy(self.port)
        self.healthy.start()
        self.before = self.server.rss
        self.reset_peak()

    def reset_peak(self):
        with open(f'/proc/{self.server.pid}/clear_refs', 'w') as file:
            file.write('5')

    def tearDown(self):
        if not self.healthy.stopping.is_set():
            self.healthy.stopping.set()
            self.healthy.join()

    def check(self):
        """The healthy client had no trouble, and the peak of memory stayed within the bound."""
        with Connection(self.port) as conn:
            self.assertIsNone(conn.get('my_region', 'nothing'))
        growth = self.server.status('VmHWM') * 1024 - self.before
        enough = self.healthy.requests + 10
        wait_until(lambda: self.healthy.wrong or self.healthy.requests >= enough, 'the healthy client is served')
        self.healthy.stopping.set()
        self.healthy.join()
        self.assertEqual(self.healthy.wrong, [])
        if not SANITIZED:
            self.assertLess(growth, GROWTH_MAX, f'grew by {growth >> 20} MiB')

    def test_garbage(self):
        """garbage, before and after the version exchange"""
        source = random.Random(7)
        for attempt in range(1000):
            with Connection(self.port, hello=False) as conn:
                head = HELLO if attempt % 2 else b''
                try:
                    conn.send(head + source.randbytes(source.randrange(1, 200)))
                    conn.half_close()
                    conn.read_all()
                except OSError:
                    pass  # the server may have closed already
        self.check()

    def test_mutated_requests(self):
        """requests with flipped bytes are answered or closed, never more"""
        source = random.Random(11)
        good = [frame(2, message((1, 'my_region'), (2, message((1, encode('k')), (2, encode({'a': 1})))))),
                frame(6, message((1, 'my_region'), *((2, entry(n, 'v')) for n in range(9)))),
                frame(SQL, message((1, 'SHOW TABLES'))),
                frame(1001, message((2, 'SELECT id FROM SensorReadings'), (9, 1), (19, 0))),
                frame(WRITE_BATCH, message((1, bytes(16)), (2, 1), (3, 'my_region'),
                                           (4, message((2, encode('k')), (3, encode('v'))))))]
        for attempt in range(1500):
            data = bytearray(good[attempt % len(good)])
            for _ in range(source.randrange(1, 4)):
                data[source.randrange(len(data))] = source.randrange(256)
            with Connection(self.port) as conn:
                try:
                    conn.send(bytes(data))
                    conn.half_close()
                    conn.read_all()
                except OSError:
                    pass
        self.check()

    def test_huge_lengths(self):
        """2 GiB and 64-bit lengths, of frames and of fields"""
        for announced in (2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1):
            with self.subTest(announced):
                with Connection(self.port) as conn:
                    conn.send(varint(announced) + b'\x12' * 100)
                    conn.half_close()
                    conn.read_all()
                with Connection(self.port) as conn:
                    inside = b'\x12' + varint(announced) + b'x' * 10
                    conn.send(varint(len(inside)) + inside)
                    self.assertEqual(conn.read_all(), b'')
        self.check()

    def test_announce_and_stop(self):
        """500 connections that announce 64 MB, send a little, and stop"""
        conns = []
        for _ in range(500):
            conn = Connection(self.port, hello=False)
            conn.send(HELLO + varint(64 << 20) + b'\x12' + varint((64 << 20) - 5) + b'x' * 1000)
            conns.append(conn)
        for conn in conns:
            self.assertEqual(len(conn.read(7)), 7, 'the version was answered, so the rest has been taken as well')
        self.check()
        for conn in conns:
            conn.close()

    def test_connections_over_the_maximum(self):
        """connections over the maximum are closed, the others work on"""
        conns, closed = [], 0
        for _ in range(850):
            conn = Connection(self.port, hello=False)
            conn.send(HELLO)
            conns.append(conn)
        for conn in conns:
            closed += conn.read(7) == b''
        self.assertGreater(closed, 0)
        self.assertGreater(len(conns) - closed, 700)
        for conn in conns:
            conn.close()
        self.healthy.stopping.set()
        self.healthy.join()
        self.assertEqual(self.healthy.wrong, [])

    def refuse(self, statement, codes=(50, 100)):
        with Connection(self.port) as conn:
            conn.send(frame(SQL, message((1, statement))))
            with self.assertRaises(Refused) as refused:
                conn.reply()
            self.assertIn(refused.exception.code, codes)
            self.assertLess(len(refused.exception.text), 4096)
            self.assertEqual(conn.ask(14)[0][0], 1, 'the connection stays')

    def test_statements(self):
        """statements that are too long or too deep are refused in bounded time"""
        table = ' FROM SensorReadings'
        for what, statement in (
                ('100 KB of text', 'SELECT id FROM SensorReadings WHERE id = \'' + 'x' * 100_000 + "'"),
                ('50,000 parentheses', 'SELECT ' + '(' * 50_000 + '1' + ')' * 50_000 + ' FROM SensorReadings'),
                ('20,000 open parentheses', 'SELECT ' + '(' * 20_000),
                ('30,000 NOTs', 'SELECT id FROM SensorReadings WHERE ' + 'NOT ' * 15_000 + 'TRUE'),
                ('20,000 minus signs', 'SELECT ' + '- ' * 20_000 + '1 FROM SensorReadings'),
                ('a long sum', 'SELECT ' + '1+' * 30_000 + '1 FROM SensorReadings'),
                ('nested CASE', 'SELECT ' + 'CASE WHEN TRUE THEN ' * 2_500 + '1' + ' END' * 2_500 + table),
                ('10,000 columns', 'SELECT ' + ', '.join(['id'] * 10_000) + ' FROM SensorReadings'),
                ('an open comment', 'SELECT /*' + '*' * 60_000), ('zero bytes', 'SELECT \0\0 FROM SensorReadings')):
            with self.subTest(what):
                self.refuse(statement)
        self.check()

    def test_documents(self):
        """deep and broken documents are refused"""
        for what, document in (('50,000 arrays', '{"a":' + '[' * 50_000 + ']' * 50_000 + '}'),
                               ('50,000 objects', '{"a":' * 50_000 + '1' + '}' * 50_000),
                               ('a lone quote', '{"a":"'), ('backslashes', '{"a":"' + '\\' * 50_001 + '"}')):
            with self.subTest(what), Connection(self.port) as conn:
                with self.assertRaises(Refused):
                    conn.ask(2, message((1, 'my_region'), (2, message((1, encode('deep')), (2, field(10, document))))))
                self.assertIsNone(conn.get('my_region', 'deep'))
        self.check()

    def test_never_reading(self):
        """subscribers that never read, and clients that send requests and never read the answers"""
        query = 'SELECT id, temperature FROM SensorReadings'
        subs = [Subscription(self.port, query, receive_buffer=4096, credit='none', credit_events=1 << 40)
                for _ in range(50)]
        value = 'v' * 50_000
        with Connection(self.port) as conn:
            conn.put('my_region', 'large', value)
        asking = []
        get = frame(4, message((1, 'my_region'), (2, encode('large')))) * 400
        for _ in range(50):
            conn = Connection(self.port, receive_buffer=4096)
            conn.socket.setblocking(False)
            try:
                conn.socket.send(get)
            except BlockingIOError:
                pass
            asking.append(conn)
        with Connection(self.port, timeout=60) as conn:
            puts = frame(2, message((1, 'my_region'), (2, message((1, encode('k')), (2, encode(
                {'id': 'never', 'temperature': 1, 'text': 'x' * 100})))))) * 100
            for _ in range(100 if SANITIZED else 200):
                conn.send(puts)
                self.assertEqual(len(conn.read(300)), 300)
        self.check()
        for conn in asking:
            conn.close()
        for sub in subs:
            sub.conn.close()

    def test_resets(self):
        """connections that reset at every byte of a subscription"""
        request = HELLO + frame(1001, message((2, 'SELECT id FROM SensorReadings'), (9, 1)))
        for cut in range(len(request) + 1):
            conn = Connection(self.port, hello=False)
            conn.send(request[:cut])
            conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            conn.close()
        self.check()

    def test_locator(self):
        """the locator takes the same garbage and goes on"""
        source = random.Random(13)
        for attempt in range(500):
            with Connection(self.cluster.locator_port, hello=False) as conn:
                try:
                    conn.send((HELLO, b'', b'\x56')[attempt % 3] + source.randbytes(source.randrange(1, 300)))
                    conn.half_close()
                    conn.read_all()
                except OSError:
                    pass
        self.assertEqual(self.cluster.vug('status').returncode, 0)
        self.check()

    def test_peer_garbage(self):
        """the first byte of a peer followed by garbage harms nobody"""
        for data in (b'', os.urandom(100), b'\xff' * 1000, varint(2**31) + b'x' * 100):
            with Connection(self.port, hello=False) as conn:
                try:
                    conn.send(b'\x56' + data)
                    conn.half_close()
                    conn.read_all()
                except OSError:
                    pass
        self.check()
