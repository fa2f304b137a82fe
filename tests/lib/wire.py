"""Geode's protobuf client protocol in as few lines as a test needs, written apart from the product so that the two can
disagree. Messages are built from (field number, value) pairs; see docs/protocol.md for the numbers."""
import json
import socket
import struct

HELLO = bytes.fromhex('0a0d010000001501000000')
ACCEPTED = bytes.fromhex('06080110011801')
REFUSED = bytes.fromhex('0408011001')

ERROR, PUT, GET, PUT_ALL, GET_ALL, REMOVE, GET_SERVER, REGION_NAMES, SIZE = 1, 2, 4, 6, 8, 10, 12, 14, 16
HANDSHAKE, KEY_SET, DISCONNECT, CLEAR, PUT_IF_ABSENT = 22, 28, 30, 32, 34
CQ_SUBSCRIBE, CQ_EVENTS, CQ_ACK, CQ_UNSUBSCRIBE, CQ_STATUS, CQ_LIST, SQL, WRITE_BATCH = \
    1001, 1003, 1004, 1005, 1007, 1010, 1012, 1016
KINDS = {0: '+I', 1: '-U', 2: '+U', 3: '-D', 8: 'LATE', 9: 'ERROR'}
TAIL, SNAPSHOT, SNAPSHOT_END, REPLAY = range(4)
SNAPSHOT_START, LATEST, EARLIEST_RETAINED = range(3)
DEFAULT, CHANGELOG, UPSERT, APPEND = range(4)
GAP, RESNAPSHOT, DATA_LOSS = 3, 4, 5


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data, at):
    """(value, place behind it), or None if the bytes end inside."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return None
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError('over-long varint')


def field(number, value):
    """One field: int and bool as varint, bytes and str length-delimited, float as fixed64."""
    if isinstance(value, (bool, int)):
        return varint(number << 3) + varint(int(value))
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack('<d', value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(*fields):
    return b''.join(field(number, value) for number, value in fields)


def frame(number, body=b''):
    content = field(number, body)
    return varint(len(content)) + content


def parse(data):
    """[(field number, value)]: ints for varint and fixed, bytes for length-delimited."""
    fields, at = [], 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind == 2:
            length, at = read_varint(data, at)
            value, at = data[at:at + length], at + length
            if len(value) < length:
                raise ValueError('truncated field')
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at:at + size], at + size
        else:
            raise ValueError(f'wire type {kind}')
        fields.append((tag >> 3, value))
    return fields


def all_of(fields, number):
    return [value for n, value in fields if n == number]


def one(fields, number, default=None):
    """The last value of a field, as protobuf reads it."""
    return ([default] + all_of(fields, number))[-1]


def signed(number):
    return number - (1 << 64) if number >> 63 else number


def encode(value):
    """An EncodedValue message of a Python value; a dict or list becomes a JSON document."""
    if value is None:
        return message((11, 0))
    if isinstance(value, bool):
        return message((5, value))
    if isinstance(value, int):
        return message((1 if -2**31 <= value < 2**31 else 2, value))
    if isinstance(value, float):
        return message((6, value))
    if isinstance(value, bytes):
        return message((8, value))
    if isinstance(value, str):
        return message((9, value))
    return message((10, json.dumps(value, separators=(',', ':'))))


def decode(data):
    (number, raw), = parse(data)[-1:] or [(0, None)]
    if number in (1, 2, 3, 4):
        return signed(raw)
    if number == 5:
        return bool(raw)
    if number in (6, 7):
        return struct.unpack('<d' if number == 6 else '<f', raw)[0]
    if number in (9, 10):
        return raw.decode() if number == 9 else json.loads(raw)
    return {8: raw, 11: None, 12: raw}[number]


def entry(key, value):
    return message((1, encode(key)), (2, encode(value)))


class Refused(Exception):
    """An ErrorResponse."""

    def __init__(self, body):
        error = parse(one(parse(body), 1, b''))
        self.code = one(error, 1, 0)
        self.text = one(error, 2, b'').decode()
        super().__init__(f'{self.code}: {self.text}')


class Connection:
    """One client connection. Every read has a deadline, so a silent server fails a test and does not hang it."""

    def __init__(self, port, host='127.0.0.1', timeout=60, hello=True, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = bytearray()
        self.pushed = []  # batches and states that came while a reply was awaited
        if hello:
            self.send(HELLO)
            answer = self.read(len(ACCEPTED))
            if answer != ACCEPTED:
                raise ValueError(f'version refused: {answer.hex()}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def more(self):
        """Reads what is there; False at the end of the stream (a reset counts as one)."""
        try:
            chunk = self.socket.recv(1 << 18)
        except ConnectionError:
            chunk = b''
        self.data += chunk
        return bool(chunk)

    def read(self, length):
        """Up to `length` bytes: fewer only if the stream ends."""
        while len(self.data) < length and self.more():
            pass
        return self.take(length)

    def take(self, length):
        """The first bytes of what is there."""
        data = bytes(self.data[:length])
        del self.data[:length]
        return data

    def read_all(self):
        while self.more():
            pass
        return self.take(len(self.data))

    def next_frame(self):
        """The content of the next frame, or None at the end of the stream."""
        while True:
            head = read_varint(self.data, 0)
            if head and len(self.data) >= head[0] + head[1]:
                length, at = head
                return self.take(at + length)[at:]
            if not self.more():
                return None

    def next_message(self):
        """(number, body) of the next message."""
        content = self.next_frame()
        if content is None:
            raise EOFError('the server closed the connection')
        (number, body), = parse(content)
        return number, body

    def reply(self):
        """The next reply; pushed messages that come before it are kept."""
        while True:
            number, body = self.next_message()
            if number in (CQ_EVENTS, CQ_STATUS):
                self.pushed.append((number, body))
                continue
            if number == ERROR:
                raise Refused(body)
            return number, body

    def ask(self, number, body=b''):
        self.send(frame(number, body))
        answer, content = self.reply()
        if answer != number + 1:
            raise ValueError(f'message {answer} answers {number}')
        return parse(content)

    def put(self, region, key, value):
        self.ask(PUT, message((1, region), (2, entry(key, value))))

    def get(self, region, key):
        return decode(one(self.ask(GET, message((1, region), (2, encode(key)))), 1))

    def remove(self, region, key):
        self.ask(REMOVE, message((1, region), (2, encode(key))))

    def put_all(self, region, entries):
        """The failed keys with their (code, text)."""
        fields = self.ask(PUT_ALL, message((1, region), *((2, entry(k, v)) for k, v in entries)))
        failed = {}
        for item in all_of(fields, 1):
            error = parse(one(parse(item), 2))
            failed[decode(one(parse(item), 1))] = (one(error, 1, 0), one(error, 2, b'').decode())
        return failed

    def get_all(self, region, keys):
        """{key: value} of the entries; fails if there is a failed key."""
        fields = self.ask(GET_ALL, message((1, region), *((2, encode(k)) for k in keys)))
        if all_of(fields, 2):
            raise ValueError(f'getAll failed for some keys: {all_of(fields, 2)}')
        entries = [parse(item) for item in all_of(fields, 1)]
        return {decode(one(e, 1)): decode(one(e, 2)) for e in entries}

    def put_if_absent(self, region, key, value):
        return decode(one(self.ask(PUT_IF_ABSENT, message((1, region), (2, entry(key, value)))), 1))

    def size(self, region):
        return one(self.ask(SIZE, message((1, region))), 1, 0)

    def keys(self, region):
        return [decode(k) for k in all_of(self.ask(KEY_SET, message((1, region))), 1)]

    def region_names(self):
        return sorted(n.decode() for n in all_of(self.ask(REGION_NAMES), 1))

    def sql(self, statement, **parameters):
        """(columns, rows) of a statement."""
        fields = self.ask(SQL, message((1, statement), *parameter_fields(2, parameters)))
        rows = [[decode(v) for v in all_of(parse(row), 1)] for row in all_of(fields, 3)]
        return [c.decode() for c in all_of(fields, 1)], rows

    def write_batch(self, writer, sequence, region, operations, completed=0):
        """(applied, repeated) of one batch of (key, value) puts; a value None is a remove."""
        fields = self.ask(WRITE_BATCH, write_batch(writer, sequence, region, operations, completed))
        return one(fields, 1, 0), one(fields, 2, 0)


def write_batch(writer, sequence, region, operations, completed=0):
    """A WriteBatchRequest."""
    body = message((1, writer), (2, sequence), (3, region))
    for key, value in operations:
        kind = ((1, 1),) if value is None else ()
        content = () if value is None else ((3, encode(value)),)
        body += message((4, message(*kind, (2, encode(key)), *content)))
    return body + message((6, completed))


def parameter_fields(number, parameters):
    return [(number, message((1, name), (2, encode(value)))) for name, value in parameters.items()]


def find_server(locator_port, host='127.0.0.1', timeout=60):
    """(host, port) of the server that the locator names."""
    with Connection(locator_port, host=host, timeout=timeout) as conn:
        server = parse(one(conn.ask(GET_SERVER), 1))
        return one(server, 1).decode(), one(server, 2)
