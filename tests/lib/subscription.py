"""A subscriber at the level of messages: what `vug cq` and libvug do, without them."""
from wire import (APPEND, CQ_ACK, CQ_EVENTS, CQ_STATUS, CQ_SUBSCRIBE, DEFAULT, KINDS, LATEST, SNAPSHOT_END, Connection,
                  all_of, decode, frame, message, one, parameter_fields, parse)

__all__ = ['Subscription', 'Event', 'APPEND']


class Event:
    def __init__(self, data):
        fields = parse(data)
        self.bucket = one(fields, 1, 0)
        self.seq = one(fields, 2, 0)
        self.sub = one(fields, 3, 0)
        self.kind = KINDS[one(fields, 4, 0)]
        self.row = tuple(decode(v) for v in all_of(fields, 5))
        self.error = one(fields, 11, b'').decode()
        self.generation = one(fields, 12, 1)

    @property
    def place(self):
        return self.bucket, self.generation, self.seq, self.sub

    def __repr__(self):
        return f'{self.kind}{self.row}@{self.bucket}:{self.seq}.{self.sub}'


class Subscription:
    """Subscribes on a connection of its own. Credit is given back as events arrive unless `credit` is 'none'."""

    def __init__(self, port, sql, start=LATEST, encoding=DEFAULT, token=b'', positions=(), credit='auto',
                 credit_events=0, plan_id=b'', name='', receive_buffer=None, token_every_batch=False, timeout=60,
                 numeric=0, parameters=None):
        self.conn = Connection(port, receive_buffer=receive_buffer, timeout=timeout)
        self.credit = credit
        body = message((1, name)) if name else b''
        body += message((4, plan_id)) if plan_id else message((2, sql))
        body += message(*parameter_fields(5, parameters or {}))
        if token:
            body += message((8, token))
        body += message((9, start), (11, encoding), (19, numeric), (21, True))
        if credit_events:
            body += message((16, credit_events))
        for bucket, generation, seq, sub in positions:
            body += message((22, message((1, bucket), (2, generation), (3, seq), (4, sub))))
        if token_every_batch:
            body += message((23, True))
        fields = self.conn.ask(CQ_SUBSCRIBE, body)
        self.id = one(fields, 1, 0)
        self.columns = [c.decode() for c in all_of(fields, 2)]
        self.types = [t.decode() for t in all_of(fields, 3)]
        self.token = one(fields, 6, b'')
        self.plan_id = one(fields, 9, b'')
        self.statuses = []
        self.snapshot_ends = 0
        self.batch_numbers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def batch(self):
        """(phase, events) of the next batch; statuses on the way are kept."""
        while True:
            number, body = self.conn.pushed.pop(0) if self.conn.pushed else self.conn.next_message()
            fields = parse(body)
            if number == CQ_STATUS:
                self.statuses.append((one(fields, 2, 0), one(fields, 3, 0), one(fields, 4, 0), one(fields, 5, 0),
                                      one(fields, 7, b'').decode()))
                return None, []
            if number != CQ_EVENTS:
                raise ValueError(f'message {number} on a subscribed connection')
            self.batch_numbers.append(one(fields, 2, 0))
            events = [Event(e) for e in all_of(fields, 4)]
            self.token = one(fields, 5, self.token)
            phase = one(fields, 3, 0)
            self.snapshot_ends += phase == SNAPSHOT_END
            if self.credit == 'auto' and events:
                self.give(len(events), sum(len(e) for e in all_of(fields, 4)))
            return phase, events

    def give(self, events, size):
        """Credit for so many more events and bytes."""
        self.conn.send(frame(CQ_ACK, message((1, self.id), (3, events), (4, size))))

    def take(self, count):
        """The next `count` events, however they are batched."""
        events = []
        while len(events) < count:
            events += self.batch()[1]
        return events

    def until_snapshot_end(self):
        before, events = self.snapshot_ends, []
        while self.snapshot_ends == before:
            events += self.batch()[1]
        return events
