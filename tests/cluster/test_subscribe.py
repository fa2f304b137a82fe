"""Subscriptions at the level of messages: starts, encodings, sharing, resume after a cut at any byte, gaps, credit."""
import threading
import unittest

from cluster import DDL, FOUNDING, Cluster, plain_only
from subscription import Event, Subscription
from wire import (CHANGELOG, CQ_EVENTS, CQ_LIST, CQ_UNSUBSCRIBE, EARLIEST_RETAINED, GAP, LATEST, SNAPSHOT_START, UPSERT,
                  Connection, Refused, all_of, decode, encode, field, frame, message, one, parse, read_varint)

A = [('s1', 1000, 20.0), ('s2', 1000, 30.0), ('s1', 2000, 22.0), ('s1', 3000, None), ('s2', 2500, 31.0),
     ('s1', 4000, 27.0)]
ALL = FOUNDING.split(' WHERE')[0]
PLAIN = 'SELECT id, temperature FROM SensorReadings WHERE temperature > 20'


def setUpModule():
    global cluster
    cluster = Cluster(regions=[('my_region', 'PARTITION'), ('big', 'PARTITION'), ('copied', 'REPLICATE')])
    cluster.ok('sql', DDL)
    cluster.ok('sql', DDL.replace('SensorReadings', 'Big').replace('my_region', 'big'))
    cluster.ok('sql', DDL.replace('SensorReadings', 'Copied').replace('my_region', 'copied'))


def tearDownModule():
    cluster.close()


def put_all(rows, region='my_region'):
    with cluster.connect() as conn:
        for name, timestamp, temperature in rows:
            conn.put(region, name, {'id': name, 'timestamp': timestamp, 'temperature': temperature})


def renamed(prefix, rows=tuple(A)):
    """The same rows under ids that no other test uses."""
    return [(prefix + name, timestamp, temperature) for name, timestamp, temperature in rows]


def per_key(events):
    results = {}
    for event in events:
        results.setdefault(event.row[0], []).append((event.kind,) + event.row[1:])
    return results


class Starts(unittest.TestCase):
    def test_latest(self):
        """C1: with start latest each put gives its running average"""
        with Subscription(cluster.port, ALL, start=LATEST) as sub:
            put_all(renamed('c1'))
            events = sub.take(6)
        self.assertEqual(per_key(events), {'c1s1': [('+I', 20), ('+I', 21), ('+I', 21), ('+I', 23)],
                                           'c1s2': [('+I', 30), ('+I', 30.5)]})

    def test_parameter(self):
        """C2: start_time cuts off earlier readings"""
        with Subscription(cluster.port, FOUNDING, parameters={'start_time': 2000}) as sub:
            put_all(renamed('c2'))
            self.assertEqual(per_key(sub.take(4)), {'c2s1': [('+I', 22), ('+I', 22), ('+I', 24.5)],
                                                    'c2s2': [('+I', 31)]})

    def test_missing_parameter(self):
        """C5: without start_time the refusal names it, its place and the ways to give it; no query is left behind"""
        with self.assertRaises(Refused) as refused:
            Subscription(cluster.port, FOUNDING)
        self.assertEqual(refused.exception.code, 50)
        self.assertIn('start_time', refused.exception.text)
        self.assertIn('param.start_time', refused.exception.text)
        self.assertIn('^', refused.exception.text)

    def test_snapshot(self):
        """with start snapshot the current entries come first, then SNAPSHOT_END once, then the tail"""
        put_all(renamed('c34'))
        with Subscription(cluster.port, ALL, start=SNAPSHOT_START) as sub:
            snapshot = {e.row[0]: e.row[1] for e in sub.until_snapshot_end() if e.row[0].startswith('c34')}
            self.assertEqual(snapshot, {'c34s1': 27, 'c34s2': 31})
            put_all([('c34s1', 1, 29.0)])
            self.assertEqual([e.row for e in sub.take(1)], [('c34s1', 28.0)])
            self.assertEqual(sub.snapshot_ends, 1)

    def test_snapshot_beside_writers(self):
        """C34: a snapshot beside a writer loses and doubles nothing: for each key the last row is the last put"""
        names = [f'race{n}' for n in range(200)]
        put_all([(name, 0, 21.0) for name in names])
        rounds = 10
        writer = threading.Thread(target=lambda: put_all(
            [(name, r, 21.0 + r) for r in range(1, rounds + 1) for name in names]))
        writer.start()
        seen = {}
        with Subscription(cluster.port, PLAIN, start=SNAPSHOT_START) as sub:
            while any(seen.get(name, [None])[-1] != 21.0 + rounds for name in names):
                for event in sub.batch()[1]:
                    if event.row[0].startswith('race'):
                        seen.setdefault(event.row[0], []).append(event.row[1])
        writer.join()
        for name in names:
            first = int(seen[name][0] - 21)
            self.assertEqual(seen[name], [21.0 + r for r in range(first, rounds + 1)], name)

    def test_replicated_region(self):
        """a replicated region feeds a query like a partitioned one"""
        with Subscription(cluster.port, 'SELECT id, COUNT(*) OVER (PARTITION BY id) FROM Copied') as sub:
            put_all(A, 'copied')
            self.assertEqual(per_key(sub.take(6)), {'s1': [('+I', n) for n in (1, 2, 3, 4)],
                                                    's2': [('+I', n) for n in (1, 2)]})

    def test_region_without_table(self):
        """a region without a table is read as documents"""
        with Subscription(cluster.port, 'SELECT key, temperature FROM /my_region WHERE temperature >= 90') as sub:
            put_all([('hot', 0, 91.5), ('cold', 0, 1.0), ('hot', 0, 92.5)])
            self.assertEqual(len(sub.take(2)), 2)

    def test_subscribed_before_answer(self):
        """a put that follows the subscribe answer is seen, at once and for every bucket"""
        for attempt in range(20):
            with Subscription(cluster.port, ALL) as sub, cluster.connect() as conn:
                conn.put('my_region', f'at-once{attempt}', {'id': f'at-once{attempt}', 'temperature': 1.0})
                self.assertEqual(sub.take(1)[0].row, (f'at-once{attempt}', 1.0))


class Encodings(unittest.TestCase):
    def test_group_by_changelog(self):
        """C15: GROUP BY sends +I, then -U and +U, and nothing for a row that changes nothing"""
        query = "SELECT id, AVG(temperature) FROM SensorReadings WHERE id LIKE 'c15%' GROUP BY id"
        with Subscription(cluster.port, query, encoding=CHANGELOG) as sub:
            put_all([('c15a', 1, 20.0), ('c15a', 2, 22.0), ('c15b', 3, 30.0), ('c15a', 4, 21.0), ('c15a', 5, None),
                     ('c15a', 6, 25.0)])
            events = per_key(sub.take(6))
        self.assertEqual(events, {'c15a': [('+I', 20), ('-U', 20), ('+U', 21), ('-U', 21), ('+U', 22)],
                                  'c15b': [('+I', 30)]})

    def test_upsert(self):
        """C4: upserts carry the key's new row alone"""
        with Subscription(cluster.port, ALL, encoding=UPSERT) as sub:
            put_all(renamed('c4'))
            self.assertEqual(per_key(sub.take(6)), {'c4s1': [('+U', v) for v in (20, 21, 21, 23)],
                                                    'c4s2': [('+U', v) for v in (30, 30.5)]})

    def test_having(self):
        """C17: HAVING lets a group in and out"""
        query = "SELECT id, AVG(temperature) FROM SensorReadings WHERE id = 'c17' GROUP BY id " \
                'HAVING AVG(temperature) > 22'
        with Subscription(cluster.port, query, encoding=CHANGELOG) as sub:
            put_all([('c17', 1, 20.0), ('c17', 2, 30.0), ('c17', 3, 10.0)])
            self.assertEqual(per_key(sub.take(2)), {'c17': [('+I', 25), ('-D', 25)]})

    def test_null_logic(self):
        """C43: WHERE follows three-valued logic"""
        rows = [('c43a', 0, 21.0), ('c43b', 0, 20.0), ('c43c', 0, None), ('c43end', 0, None)]
        for where, expected in (('temperature > 20', {'c43a'}), ('NOT (temperature > 20)', {'c43b'}),
                                ('temperature IS NULL', {'c43c'})):
            query = f"SELECT id FROM SensorReadings WHERE (id LIKE 'c43_' AND {where}) OR id = 'c43end'"
            with self.subTest(where), Subscription(cluster.port, query) as sub:
                put_all(rows)
                seen = set()
                while 'c43end' not in seen:
                    seen |= {e.row[0] for e in sub.batch()[1]}
                self.assertEqual(seen - {'c43end'}, expected)

    def test_bad_row(self):
        """a row that does not fit its type is an ERROR event of that query and no failed put"""
        with Subscription(cluster.port, ALL) as sub, cluster.connect() as conn:
            conn.put('my_region', 'bad', {'id': 'bad', 'temperature': 'warm'})
            conn.put('my_region', 'bad', {'id': 'bad', 'temperature': 5.0})
            first, second = sub.take(2)
        self.assertEqual(first.kind, 'ERROR')
        self.assertIn('temperature', first.error)
        self.assertEqual((second.kind, second.row), ('+I', ('bad', 5.0)))

    def test_what_is_no_row(self):
        """a remove, and a value that is no document, give no row and no failed request"""
        with Subscription(cluster.port, ALL) as sub, cluster.connect() as conn:
            conn.put('my_region', 'gone', {'id': 'gone', 'temperature': 1.0})
            conn.remove('my_region', 'gone')
            conn.put('my_region', 'gone', {'id': 'gone', 'temperature': 3.0})
            self.assertEqual([e.row for e in sub.take(2)], [('gone', 1.0), ('gone', 2.0)])


class Sharing(unittest.TestCase):
    def test_stateless_is_shared(self):
        """C49: two texts that mean the same are one plan, and their events are equal byte for byte"""
        with Subscription(cluster.port, PLAIN) as one_sub, \
                Subscription(cluster.port, PLAIN.lower().replace('sensorreadings', 'SensorReadings') + ' ') as other:
            self.assertEqual(one_sub.plan_id, other.plan_id)
            put_all(renamed('c49'))
            first, second = one_sub.take(4), other.take(4)
            self.assertEqual([repr(e) for e in first], [repr(e) for e in second])

    def test_stateful_by_name(self):
        """who attaches by name gets the current averages as the snapshot, then the same tail"""
        with Subscription(cluster.port, ALL, name='shared') as first:
            put_all(renamed('name'))
            first.take(6)
            with Subscription(cluster.port, ALL, name='shared', start=SNAPSHOT_START) as second:
                snapshot = {e.row[0]: e.row[1] for e in second.until_snapshot_end()}
                self.assertEqual(snapshot, {'names1': 23, 'names2': 30.5})
                put_all([('names1', 0, 7.0)])
                self.assertEqual([repr(e) for e in first.take(1)], [repr(e) for e in second.take(1)])

    def test_name_with_another_text(self):
        """a name that is taken by another query is refused"""
        with Subscription(cluster.port, ALL, name='taken'):
            with self.assertRaises(Refused) as refused:
                Subscription(cluster.port, PLAIN, name='taken')
        self.assertEqual(refused.exception.code, 50)

    def test_unnamed_are_two(self):
        """two unnamed subscriptions with state begin at different moments"""
        with Subscription(cluster.port, ALL) as first:
            put_all([('two', 0, 10.0)])
            first.take(1)
            with Subscription(cluster.port, ALL) as second:
                put_all([('two', 0, 20.0)])
                self.assertEqual((first.take(1)[0].row, second.take(1)[0].row), (('two', 15.0), ('two', 20.0)))

    def test_list(self):
        """CqList names the query, its text and its subscribers; unsubscribing ends it"""
        with Subscription(cluster.port, ALL, name='listed') as sub, cluster.connect() as conn:
            found = [parse(cq) for cq in all_of(conn.ask(CQ_LIST), 1) if one(parse(cq), 2) == b'listed']
            self.assertEqual((len(found), one(found[0], 3), one(found[0], 5)), (1, ALL.encode(), 1))
            sub.conn.ask(CQ_UNSUBSCRIBE, message((1, sub.id)))
            put_all([('unheard', 0, 1.0)])
            self.assertEqual(sub.conn.ask(14)[0][0], 1, 'the connection goes on')
            self.assertEqual([n for n, _ in sub.conn.pushed if n == CQ_EVENTS], [])


class Resume(unittest.TestCase):
    def full(self, name, count):
        """Puts `count` rows; (token before them, their events)."""
        with Subscription(cluster.port, ALL, name=name) as sub:
            token = sub.token
            put_all([(f'{name}{n % 3}', n, float(n)) for n in range(count)])
            events = []
            while len(events) < count:
                events += [e for e in sub.batch()[1] if e.row[0].startswith(name)]
        return token, events

    def rest(self, name, token, positions, count):
        if count == 0:
            return []
        with Subscription(cluster.port, ALL, name=name, token=token, positions=positions) as sub:
            return sub.take(count)

    def test_token_at_any_event(self):
        """C35: a resume from any event gives exactly the events behind it"""
        token, events = self.full('resume', 12)
        for done in range(len(events)):
            positions = {e.bucket: e.place for e in events[:done]}.values()
            with self.subTest(f'after {done}'):
                rest = self.rest('resume', token, positions, len(events) - done)
                # Only the order within a bucket is promised.
                self.assertEqual(sorted(map(repr, rest)), sorted(map(repr, events[done:])))
                self.assertEqual(in_buckets(rest), in_buckets(events[done:]))

    def test_cut_at_any_byte(self):
        """the stream cut at every byte and resumed gives the same events, none twice, none missing"""
        token, events = self.full('cut', 9)
        total = self.stream_bytes('cut', token, len(events))
        wanted = in_buckets(events)
        for cut in range(total + 1):
            seen = self.events_of_prefix('cut', token, cut)
            positions = {e.bucket: e.place for e in seen}.values()
            rest = self.rest('cut', token, positions, len(events) - len(seen))
            self.assertEqual(in_buckets(seen + rest), wanted, f'cut after {cut} of {total} bytes')

    def resumed(self, name, token):
        """A connection that has just sent a resuming subscription and read nothing."""
        conn = Connection(cluster.port)
        body = message((1, name), (2, ALL), (8, token), (9, LATEST))
        conn.send(frame(1001, body))
        return conn

    def stream_bytes(self, name, token, count):
        """Bytes of the answer and the events behind it."""
        with self.resumed(name, token) as conn:
            size = events = 0
            while events < count:
                content = conn.next_frame()
                size += len(content) + (1 if len(content) < 128 else 2 if len(content) < 16384 else 3)
                number, body = parse(content)[0]
                events += len(all_of(parse(body), 4)) if number == CQ_EVENTS else 0
            return size

    def events_of_prefix(self, name, token, cut):
        """Reads `cut` bytes and closes; the whole events among them."""
        with self.resumed(name, token) as conn:
            data = conn.read(cut)
        events = []
        while True:
            head = read_varint(data, 0)
            if not head or len(data) < sum(head):
                return events
            number, body = parse(data[head[1]:sum(head)])[0]
            if number == CQ_EVENTS:
                events += [Event(e) for e in all_of(parse(body), 4)]
            data = data[sum(head):]

    def test_batch_tokens(self):
        """with token_every_batch each batch carries a token that resumes behind it"""
        with Subscription(cluster.port, ALL, name='tokens', token_every_batch=True) as sub:
            put_all([('tokens', n, float(n)) for n in range(5)])
            sub.take(5)
            token = sub.token
            put_all([('tokens', n, float(n)) for n in range(5, 8)])
            expected = sub.take(3)
        with Subscription(cluster.port, ALL, name='tokens', token=token) as sub:
            self.assertEqual([repr(e) for e in sub.take(3)], [repr(e) for e in expected])

    def test_foreign_token(self):
        """a token that is no token is refused"""
        with self.assertRaises(Refused) as refused:
            Subscription(cluster.port, ALL, name='foreign', token=b'\x00garbage\xff')
        self.assertEqual(refused.exception.code, 50)


def in_buckets(events):
    """{bucket: [event]}, in order."""
    buckets = {}
    for event in events:
        buckets.setdefault(event.bucket, []).append(repr(event))
    return buckets


class Slow(unittest.TestCase):
    def test_credit(self):
        """without credit nothing more comes; credit is added to what is left"""
        with Subscription(cluster.port, ALL, credit='none', credit_events=3) as sub:
            put_all([('credit', n, float(n)) for n in range(10)])
            self.assertEqual(len(sub.take(3)), 3)
            sub.conn.ask(14)
            self.assertEqual([n for n, body in sub.conn.pushed if all_of(parse(body), 4)], [], 'the credit is used up')
            sub.give(4, 1 << 20)
            self.assertEqual(len(sub.take(4)), 4)
            sub.give(100, 1 << 20)
            self.assertEqual(sub.take(3)[-1].row, ('credit', 4.5))

    def test_acknowledgement_passes(self):
        """CqAck has no reply and does not disturb the replies of the connection"""
        with Subscription(cluster.port, ALL) as sub:
            for _ in range(50):
                sub.give(1, 1)
                self.assertTrue(sub.conn.ask(14))

    @plain_only
    def test_gap(self):
        """C41: who falls behind the ring is told of the gap, gets a new snapshot, and then the tail"""
        text = 'x' * 200_000
        query = 'SELECT id, COUNT(*) OVER (PARTITION BY id) FROM Big'
        with cluster.connect(timeout=60) as conn, \
                Subscription(cluster.port, query, credit='none', credit_events=2, timeout=60) as sub:
            # Each event repeats the long id, so that the ring's budget is passed.
            body = message((1, 'big'), (2, message((1, encode('k')), (2, field(10, '{"id":"%s"}' % text)))))
            count = 2000
            for _ in range(count // 100):
                conn.send(frame(2, body) * 100)
                for _ in range(100):
                    conn.reply()
            sub.take(2)
            sub.give(1 << 20, 1 << 40)
            while not sub.snapshot_ends:
                phase, events = sub.batch()
                last = events[-1] if events else None
            codes = [status[0] for status in sub.statuses]
            self.assertIn(GAP, codes)
            gap = sub.statuses[codes.index(GAP)]
            self.assertLess(gap[2], gap[3] + 1, 'from and to of what is missing')
            conn.put('big', 'k', {'id': text})
            while last is None or last.row[1] <= count:
                events = sub.batch()[1]
                last = events[-1] if events else last
            self.assertEqual(last.row[1], count + 1, 'the count behind the gap includes what was missed')

    def test_later_starts(self):
        """starts that come later are refused"""
        with self.assertRaises(Refused) as refused:
            Subscription(cluster.port, ALL, start=EARLIEST_RETAINED)
        self.assertEqual(refused.exception.code, 50)


class Statements(unittest.TestCase):
    def test_errors_name_the_place(self):
        """an error in a statement names line, column and the nearest name, with a caret"""
        for query, words in (('SELECT id,\n  temprature FROM SensorReadings',
                              ('line 2', 'column 3', 'temperature', '^')),
                             ('SELECT id FROM SensorReading', ('SensorReadings', '^')),
                             ('SELEC id FROM SensorReadings', ('line 1', 'SELECT', '^')),
                             ('SELECT id FROM SensorReadings WHERE', ('line 1', '^'))):
            with self.subTest(query):
                with self.assertRaises(Refused) as refused:
                    Subscription(cluster.port, query)
                self.assertIn(refused.exception.code, (50, 100))
                for word in words:
                    self.assertIn(word, refused.exception.text)

    def test_unknown_region(self):
        """a query of an unknown region answers code 100"""
        with self.assertRaises(Refused) as refused:
            Subscription(cluster.port, 'SELECT x FROM /nowhere')
        self.assertEqual(refused.exception.code, 100)

    def test_tables(self):
        """tables are created, shown, described and dropped"""
        with cluster.connect() as conn:
            conn.sql("CREATE TABLE T1 (a INT, b STRING) WITH ('connector'='geode-region','region'='my_region')")
            self.assertIn('T1', [row[0] for row in conn.sql('SHOW TABLES')[1]])
            self.assertEqual([row[:2] for row in conn.sql('DESCRIBE T1')[1]], [['a', 'INT'], ['b', 'STRING']])
            conn.sql("CREATE TABLE IF NOT EXISTS T1 (a INT) WITH ('connector'='geode-region','region'='my_region')")
            with self.assertRaises(Refused):
                conn.sql("CREATE TABLE T1 (a INT) WITH ('connector'='geode-region','region'='my_region')")
            conn.sql('DROP TABLE T1')
            conn.sql('DROP TABLE IF EXISTS T1')
            with self.assertRaises(Refused):
                conn.sql('DESCRIBE T1')

    def test_explain(self):
        """EXPLAIN says that the order is arrival"""
        with cluster.connect() as conn:
            rows = conn.sql('EXPLAIN ' + ALL)[1]
        self.assertIn('arrival order', '\n'.join(str(row[0]) for row in rows))

    def test_encoded_types(self):
        """values travel as the types that the response names"""
        ddl = ("CREATE TABLE Types (k STRING, b BOOLEAN, i INT, l BIGINT, d DOUBLE) "
               "WITH ('connector'='geode-region','region'='copied')")
        with cluster.connect() as conn:
            conn.sql(ddl)
            with Subscription(cluster.port, "SELECT k, b, i, l, d FROM Types WHERE k = 'types'") as sub:
                self.assertEqual(sub.types, ['STRING', 'BOOLEAN', 'INT', 'BIGINT', 'DOUBLE'])
                conn.put('copied', 'types', {'k': 'types', 'b': True, 'i': -1, 'l': 1 << 40, 'd': 2})
                self.assertEqual(sub.take(1)[0].row, ('types', True, -1, 1 << 40, 2.0))
                self.assertEqual(decode(encode(1 << 40)), 1 << 40)
