"""First bytes, the version exchange, framing and ends of connections: what a real Geode does, on server and locator."""
import re
import socket
import struct
import unittest

from cluster import Cluster
from wire import ACCEPTED, HELLO, REFUSED, Connection, frame, message

# What the client sends (`half` ends its direction afterwards), what comes back, whether the connection stays.
VERSIONS = [
    ('1.1', '0a0d010000001501000000', False, ACCEPTED, True),
    ('1.1 with the fields swapped', '0a15010000000d01000000', False, ACCEPTED, True),
    ('1.-1', '0a0d0100000015ffffffff', False, ACCEPTED, True),
    ('1.2', '0a0d010000001502000000', False, REFUSED, False),
    ('2000.1', '0a0dd00700001501000000', False, REFUSED, False),
    ('-1.1', '0a0dffffffff1501000000', False, REFUSED, False),
    ('1.0 spelled out', '0a0d010000001500000000', False, REFUSED, False),
    ('five unknown fields', '0a18011801180118011801', False, REFUSED, False),
    ('garbage behind the first byte', '0affffffffffffffffffff', False, b'', False),
    ('the first byte, then the end', '0a', True, REFUSED, False),
    ('cut at a field boundary', '0a0d01000000', True, REFUSED, False),
    ('cut inside a field', '0a0d0100', True, b'', False),
]
NAMES_REQUEST = '027200'
# After a good version exchange. `names` stands for the answer of getRegionNames (on a locator: its refusal).
FRAMES = [
    ('a message of no bytes', '00', False, None, False),
    ('an unknown member', '039a0600', False, None, False),
    ('a response as request', '021a00', False, None, False),
    ('an error as request', '020a00', False, None, False),
    ('an unknown field inside a request', '0472021801', False, 'names', True),
    ('two members, the last of which is a response', '0472001a00', False, None, False),
    ('get, then getRegionNames, in one message', '06220072007200', False, 'names', True),
    ('a negative length', 'ffffffff0f', False, None, False),
    ('an over-long length', 'ff' * 11, False, None, False),
    ('tag 0', '0100', False, None, False),
    ('a bad wire type', '0177', False, None, False),
    ('a region name that is no UTF-8', '0922070a03fffefd1200', False, None, False),
    ('2 GiB announced, then the end', 'ffffffff07', True, None, False),
    ('four bytes announced, two sent, then the end', '047200', True, 'names', False),
    ('cut inside a field', '0472', True, None, False),
    ('the version message again', HELLO.hex(), False, None, False),
]


def setUpModule():
    global cluster
    cluster = Cluster(regions=[('R', 'REPLICATE')])


def tearDownModule():
    cluster.close()


def is_closed(conn):
    """True once the peer has ended the connection without a further byte."""
    return conn.read_all() == b''


class Versions(unittest.TestCase):
    def check(self, port, where):
        for what, sent, half, answer, stays in VERSIONS:
            with self.subTest(f'{where}: version {what}'), Connection(port, hello=False) as conn:
                conn.send(bytes.fromhex(sent))
                if half:
                    conn.half_close()
                self.assertEqual(conn.read(len(answer)).hex(), answer.hex())
                if stays:
                    conn.send(bytes.fromhex('03b20100'))
                    self.assertEqual(conn.read(4).hex(), '03ba0100')
                else:
                    self.assertTrue(is_closed(conn))

    def test_server(self):
        """versions are accepted and refused as by Geode's server"""
        self.check(cluster.port, 'server')

    def test_locator(self):
        """versions are accepted and refused as by Geode's locator"""
        self.check(cluster.locator_port, 'locator')

    def test_pipelined(self):
        """version, handshake, put, get and disconnect in one write are answered in order"""
        sent = HELLO.hex() + '03b2010011120f0a0152120a0a034a016b12034a01760a22080a015212034a016b08f201050a03627965'
        with Connection(cluster.port, hello=False) as conn:
            conn.send(bytes.fromhex(sent))
            self.assertEqual(conn.read_all().hex(), ACCEPTED.hex() + '03ba0100021a00072a050a034a017603fa0100')

    def test_credentials_without_security(self):
        """credentials are accepted where no security is configured, and reads work after them"""
        with Connection(cluster.port) as conn:
            pair = message((1, 'security-username'), (2, 'x'))
            conn.send(frame(22, message((1, pair))))
            self.assertEqual(conn.read(6).hex(), '05ba01020801')
            self.assertIsNone(conn.get('R', 'nothing'))


class Framing(unittest.TestCase):
    def check(self, port, where):
        names = '067a040a022f52' if where == 'server' else None
        for what, sent, half, answer, stays in FRAMES:
            with self.subTest(f'{where}: {what}'), Connection(port) as conn:
                conn.send(bytes.fromhex(sent))
                if half:
                    conn.half_close()
                if answer and names:
                    self.assertEqual(conn.read(len(names) // 2).hex(), names)
                elif answer:
                    self.assertIn(b'Invalid execution context', conn.read_all())
                if stays and names:
                    conn.send(bytes.fromhex(NAMES_REQUEST))
                    self.assertEqual(conn.read(len(names) // 2).hex(), names)
                else:
                    self.assertTrue(is_closed(conn))

    def test_server(self):
        """frames are read as by Geode's server"""
        self.check(cluster.port, 'server')

    def test_locator(self):
        """frames are read as by Geode's locator"""
        self.check(cluster.locator_port, 'locator')

    def test_length_that_goes_on(self):
        """a length whose bytes go on waits for more"""
        with Connection(cluster.port) as conn:
            conn.send(bytes.fromhex('82'))
            with Connection(cluster.port) as other:
                self.assertEqual(other.size('R'), 0)
            conn.send(bytes.fromhex('80007200'))
            self.assertEqual(conn.read(7).hex(), '067a040a022f52')

    def test_orderly_end(self):
        """a client that ends its direction gets the answers that are due, then the end"""
        with Connection(cluster.port) as conn:
            conn.send(bytes.fromhex(NAMES_REQUEST * 3))
            conn.half_close()
            self.assertEqual(conn.read_all().hex(), '067a040a022f52' * 3)

    def test_large_value(self):
        """a value of 20 MB comes back whole"""
        text = 'v' * 20_000_000
        with Connection(cluster.port, timeout=60) as conn:
            conn.put('R', 'large', text)
            self.assertTrue(conn.get('R', 'large') == text, 'it is the same text')
            conn.remove('R', 'large')


class FirstBytes(unittest.TestCase):
    def answer(self, port, data):
        with Connection(port, hello=False) as conn:
            conn.send(data)
            return conn.read_all()

    def test_unknown_on_server(self):
        """an unknown first byte is closed by the server without an answer"""
        for first in (0x00, 0x01, 0x05, 0x6e, 0xff):
            with self.subTest(f'first byte {first:02x}'):
                self.assertEqual(self.answer(cluster.port, bytes([first])), b'')

    def test_unknown_on_locator(self):
        """an unknown first byte is answered by the locator in Geode's words"""
        for first in (0x01, 0x05, 0x6e, 0xff):
            with self.subTest(f'first byte {first:02x}'):
                self.assertEqual(self.answer(cluster.locator_port, bytes([first])), b'unknown protocol version')

    def test_classic_client_on_locator(self):
        """a classic client's first byte is answered by the locator with 43"""
        for first in (100, 101, 107):
            with self.subTest(f'first byte {first}'):
                self.assertEqual(self.answer(cluster.locator_port, bytes([first])), b'\x43')

    def test_http(self):
        """HTTP on the plain port gets a 400 that a person can read, and one line in the log"""
        for member, port in ((cluster.server, cluster.port), (cluster.locator, cluster.locator_port)):
            with self.subTest(member.arguments[0]):
                start = len(member.lines)
                answer = self.answer(port, b'GET / HTTP/1.1\r\nHost: x\r\n\r\n').decode()
                self.assertRegex(answer, r'^HTTP/1\.[01] 400 ')
                self.assertRegex(answer, r'\r\n\r\n.*\w')
                self.assertRegex(member.wait_line('HTTP', start=start), r'WARN .*code=VG\d+')

    def test_tls(self):
        """a TLS hello on the plain port gets a TLS alert, and one line in the log"""
        hello = bytes.fromhex('16030100050100000100')
        for member, port in ((cluster.server, cluster.port), (cluster.locator, cluster.locator_port)):
            with self.subTest(member.arguments[0]):
                start = len(member.lines)
                answer = self.answer(port, hello)
                self.assertEqual(answer[:2].hex(), '1503', 'an alert record')
                self.assertRegex(member.wait_line('TLS', start=start), r'WARN .*code=VG\d+')

    def test_log_is_limited(self):
        """a thousand strangers do not fill the log"""
        start = len(cluster.server.lines)
        for _ in range(1000):
            self.assertEqual(self.answer(cluster.port, b'\xff'), b'')
        with Connection(cluster.port) as conn:
            self.assertEqual(conn.size('R'), 0)
        self.assertLess(len(cluster.server.lines) - start, 50)

    def test_name_cannot_forge_a_line(self):
        """a name with a line end in it stays inside one line of the log"""
        with Connection(cluster.port) as conn:
            conn.send(frame(30, message((1, 'bye\n2026-01-01T00:00:00.000Z ERROR forged'))))
            self.assertEqual(conn.read(4).hex(), '03fa0100')
        with Connection(cluster.port) as conn:
            self.assertEqual(conn.size('R'), 0)
        self.assertFalse([line for line in cluster.server.lines if re.match(r'\S+ ERROR forged', line)])


class Ends(unittest.TestCase):
    def test_reset(self):
        """a reset in the middle of a request harms nobody"""
        for sent in (b'', HELLO, HELLO + bytes.fromhex('11120f0a0152')):
            with self.subTest(f'after {len(sent)} bytes'):
                conn = Connection(cluster.port, hello=False)
                conn.send(sent)
                conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                conn.close()
                with Connection(cluster.port) as other:
                    self.assertEqual(other.size('R'), 0)

    def test_locator_closes_after_get_server(self):
        """the locator closes after an answered getServer"""
        with Connection(cluster.locator_port) as conn:
            conn.send(frame(12) + frame(12))
            self.assertEqual(len(conn.read_all()), len(conn_answer()))


def conn_answer():
    """The answer of one getServer."""
    with Connection(cluster.locator_port) as conn:
        conn.send(frame(12))
        return conn.read_all()
