"""Region names, values and the texts of refusals: what a real Geode answers."""
import unittest

from cluster import Cluster
from wire import ERROR, GET, PUT, PUT_ALL, Connection, Refused, encode, entry, frame, message, one, parse

NOT_FOUND = 'org.apache.geode.cache.RegionDestroyedException: Region not found '
DECODING = 'org.apache.geode.internal.protocol.protobuf.v1.serialization.exception.DecodingException: '
JSON = DECODING + ('Could not decode JSON-encoded object  Caused by: org.apache.geode.pdx.JSONFormatterException: '
                   'Could not parse JSON document')
NOT_SET = DECODING + 'Unknown Protobuf encoding type: VALUE_NOT_SET'
NO_KEY = 'java.lang.NullPointerException: key cannot be null'
NO_VALUE = 'java.lang.NullPointerException: value must not be null'
STRING_NO_FLOAT = ('java.lang.ClassCastException: key ( java.lang.String ) does not satisfy keyConstraint '
                   '( java.lang.Float )')


def setUpModule():
    global cluster
    cluster = Cluster(regions=[('R', 'REPLICATE'), ('P', 'PARTITION'),
                               ('KF', 'REPLICATE', '--key-constraint', 'float'),
                               ('VS', 'PARTITION', '--value-constraint', 'string')])


def tearDownModule():
    cluster.close()


class Texts(unittest.TestCase):
    def setUp(self):
        self.conn = Connection(cluster.port)
        self.addCleanup(self.conn.close)

    def refusal(self, call, *arguments):
        with self.assertRaises(Refused) as refused:
            call(*arguments)
        self.assertEqual(self.conn.size('KF'), 0, 'the connection stays')
        return refused.exception.code, refused.exception.text

    def test_region_names(self):
        """a region is named with or without slashes as in Geode"""
        self.conn.put('R', 'name', 1)
        for name in ('R', '/R', 'R/', '/R/'):
            with self.subTest(name):
                self.assertEqual(self.conn.get(name, 'name'), 1)

    def test_bad_region_names(self):
        """a bad region name is refused in Geode's words, as it was given"""
        for name, text in (('', 'java.lang.IllegalArgumentException: path cannot be empty'),
                           ('/', "java.lang.IllegalArgumentException: path cannot be ' / '"),
                           ('//', NOT_FOUND + '//'), ('//R', NOT_FOUND + '//R'), ('///R', NOT_FOUND + '///R'),
                           ('R//', 'java.lang.IllegalArgumentException: path should not start with a slash'),
                           ('nope', NOT_FOUND + 'nope'), ('/nope', NOT_FOUND + '/nope'), ('r', NOT_FOUND + 'r'),
                           (' R', NOT_FOUND + ' R'), ('R/child', NOT_FOUND + 'R/child')):
            for call, arguments in ((self.conn.get, (name, 'k')), (self.conn.put, (name, 'k', 'v')),
                                    (self.conn.size, (name,)), (self.conn.get_all, (name, [])),
                                    (self.conn.put_all, (name, [('k', 'v')])), (self.conn.keys, (name,)),
                                    (self.conn.put_if_absent, (name, 'k', 'v')), (self.conn.remove, (name, 'k'))):
                with self.subTest(f'{call.__name__} {name!r}'):
                    self.assertEqual(self.refusal(call, *arguments), (100, text))

    def test_nulls(self):
        """null keys and values are refused in Geode's words"""
        null = None
        for call, arguments, code, text in (
                (self.conn.put, ('R', 'k', null), 100, NO_VALUE), (self.conn.put, ('R', null, 'v'), 100, NO_KEY),
                (self.conn.put, ('R', null, null), 100, NO_KEY),
                (self.conn.put_if_absent, ('R', null, 'v'), 100, NO_KEY),
                (self.conn.get, ('R', null), 50, 'Performing a get on a NULL key.'),
                (self.conn.remove, ('R', null), 50, 'NULL is not a valid key for removal.')):
            with self.subTest(f'{call.__name__} {arguments}'):
                self.assertEqual(self.refusal(call, *arguments), (code, text))

    def test_unset(self):
        """a key or value that is not set is an error, not a null"""
        unset = message((1, b''), (2, b''))
        region = message((1, 'R'))
        for what, number, body in (('put', PUT, region + message((2, unset))), ('put without entry', PUT, region),
                                   ('get', GET, region + message((2, b''))), ('get without key', GET, region),
                                   ('putAll', PUT_ALL, region + message((2, unset)))):
            with self.subTest(what):
                self.assertEqual(self.refusal(self.conn.ask, number, body), (100, NOT_SET))

    def test_custom_value(self):
        """a custom value without an agreed format is refused"""
        text = ('java.lang.IllegalStateException: Received a custom value, but did not set the valueFormat in the '
                'handshakeMessage')
        body = message((1, 'R'), (2, message((1, message((9, 'k'))), (2, message((12, b'x'))))))
        self.assertEqual(self.refusal(self.conn.ask, PUT, body), (100, text))

    def test_put_all(self):
        """putAll stores what it can and names the failed keys; the last of equal keys wins"""
        failed = self.conn.put_all('P', [('a', 1), ('b', None), (None, 2), ('a', 3)])
        self.assertEqual(failed, {'b': (100, NO_VALUE), None: (100, NO_KEY)})
        self.assertEqual(self.conn.get_all('P', ['a', 'b']), {'a': 3, 'b': None})

    def test_put_all_is_decoded_first(self):
        """one entry that cannot be decoded fails the whole putAll, and nothing is stored"""
        unset = message((1, message((9, 'x'))), (2, b''))
        body = message((1, 'P'), (2, entry('undecoded', 1)), (2, unset))
        self.assertEqual(self.refusal(self.conn.ask, PUT_ALL, body), (100, NOT_SET))
        self.assertIsNone(self.conn.get('P', 'undecoded'))

    def test_get_all_null_key(self):
        """getAll answers a null key as a failure of that key"""
        self.conn.send(frame(8, message((1, 'R'), (2, message((11, 0))), (2, message((9, 'none'))))))
        number, body = self.conn.reply()
        failure = parse(one(parse(body), 2))
        self.assertEqual(number, 9)
        self.assertEqual(one(failure, 1).hex(), '5800')
        self.assertEqual(one(parse(one(failure, 2)), 2).decode(), NO_KEY)

    def test_constraints(self):
        """a key or value of another type than the region's is refused by class name"""
        for call, arguments in ((self.conn.put, ('KF', 'x', 1)), (self.conn.get, ('KF', 'x')),
                                (self.conn.remove, ('KF', 'x')), (self.conn.put_if_absent, ('KF', 'x', 1))):
            with self.subTest(call.__name__):
                self.assertEqual(self.refusal(call, *arguments), (100, STRING_NO_FLOAT))
        text = ('java.lang.ClassCastException: value ( java.lang.Integer ) does not satisfy valueConstraint '
                '( java.lang.String )')
        self.assertEqual(self.refusal(self.conn.put, 'VS', 'k', 7), (100, text))
        self.conn.put('VS', 'k', 'seven')
        self.conn.put('VS', 'document', {'a': 1})
        self.assertEqual(self.conn.get('VS', 'k'), 'seven')

    def test_json(self):
        """documents are validated when they are put"""
        for document in ('[1,2]', '"x"', '1', '', '{"a":1,}', '{"a":01}', '{"a":NaN}', '{"a":1', '{a b:1}',
                         '{"a":1,"a":2}', "{'a':1}"):
            with self.subTest(document):
                value = message((10, document))
                body = message((1, 'R'), (2, message((1, message((9, 'j'))), (2, value))))
                code, text = self.refusal(self.conn.ask, PUT, body)
                self.assertEqual((code, text[:len(JSON)]), (100, JSON))
        self.conn.put('R', 'j', {'name': 'Charlemagne', 'age': 1276, 'tags': [1, 'x', None]})
        self.assertEqual(self.conn.get('R', 'j'), {'name': 'Charlemagne', 'age': 1276, 'tags': [1, 'x', None]})

    def test_key_identity(self):
        """a key's type is part of it"""
        keys = [message((1, 1)), message((2, 1)), message((3, 1)), message((4, 1)), message((5, 1)),
                message((6, 1.0)), message((9, '1'))]
        for number, key in enumerate(keys):
            self.conn.ask(PUT, message((1, 'P'), (2, message((1, key), (2, message((1, number)))))))
        for number, key in enumerate(keys):
            with self.subTest(key.hex()):
                value = one(parse(one(self.conn.ask(GET, message((1, 'P'), (2, key))), 1)), 1)
                self.assertEqual(value, number)

    def test_put_if_absent(self):
        """putIfAbsent answers null when it stores and the present value when it does not"""
        self.conn.remove('P', 'once')
        self.assertIsNone(self.conn.put_if_absent('P', 'once', 1))
        self.assertEqual(self.conn.put_if_absent('P', 'once', 2), 1)
        self.assertEqual(self.conn.get('P', 'once'), 1)

    def test_size_and_keys(self):
        """size and keySet count every bucket of a partitioned region"""
        for key in self.conn.keys('P'):
            if key is not None and not isinstance(key, (int, float)):
                self.conn.remove('P', key)
        before = self.conn.size('P')
        self.assertEqual(self.conn.put_all('P', [(f'key{n}', n) for n in range(500)]), {})
        self.assertEqual(self.conn.size('P'), before + 500)
        self.assertEqual(len([k for k in self.conn.keys('P') if str(k).startswith('key')]), 500)

    def test_region_list(self):
        """getRegionNames names every region with its slash"""
        self.assertEqual(self.conn.region_names(), ['/KF', '/P', '/R', '/VS'])

    def test_wrong_place(self):
        """getServer on a server, and a region's request on a locator, are refused and closed"""
        get = message((1, 'R'), (2, encode(1)))
        for port, number, body in ((cluster.port, 12, b''), (cluster.locator_port, GET, get)):
            with self.subTest(f'message {number}'), Connection(port) as conn:
                conn.send(frame(number, body))
                answer, content = conn.next_message()
                error = parse(one(parse(content), 1))
                self.assertEqual((answer, one(error, 1), one(error, 2)),
                                 (ERROR, 50, b'Invalid execution context found for operation.'))
                self.assertEqual(conn.read_all(), b'')

    def test_groups(self):
        """getServer for a group that no server is in names the group"""
        with Connection(cluster.locator_port) as conn:
            conn.send(frame(12, message((2, 'nobody'))))
            with self.assertRaises(Refused) as refused:
                conn.reply()
        self.assertEqual((refused.exception.code, refused.exception.text),
                         (101, 'Unable to find a server in server group nobody'))
