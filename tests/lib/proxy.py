"""A wire that can be cut: forwards connections to a port and drops each after so many bytes towards the client."""
import socket
import threading


class Proxy:
    """`budgets` gives, for each connection in turn, how many bytes go to the client before both ends are closed.
    A connection beyond the list is not cut."""

    def __init__(self, target, budgets):
        self.target = target
        self.budgets = list(budgets)
        self.cuts = 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            budget = self.budgets.pop(0) if self.budgets else None
            server = socket.create_connection(('127.0.0.1', self.target))
            threading.Thread(target=self._forward, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, budget), daemon=True).start()

    def _forward(self, source, sink, budget):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if budget is not None:
                    data = data[:budget]
                    budget -= len(data)
                sink.sendall(data)
                if budget == 0:
                    self.cuts += 1
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
