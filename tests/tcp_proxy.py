"""A TCP proxy between a client and its server, with the means to break the link on purpose."""

import selectors
import socket
import struct
import threading
import time


class Proxy:
    """A TCP proxy in front of a broker: refuses, forwards, stalls or cuts, as the test says."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers = {}
        self._lock = threading.Lock()
        self.refusing = False
        self.stalled = False
        self.accepted = 0
        self.cuts = 0
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self):
        """Reset every connection, as a dying modem does."""
        with self._lock:
            self.cuts += 1
            for sock in list(self._peers):
                self._drop(sock)

    def close(self):
        self._ending = True
        self._thread.join()
        self.cut()
        self._listener.close()
        self._selector.close()

    def _run(self):
        while not self._ending:
            for key, _ in self._selector.select(0.02):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._peers:
                        self._forward(key.fileobj)

    def _accept(self):
        client, _ = self._listener.accept()
        self.accepted += 1
        try:
            assert not self.refusing
            broker = socket.create_connection(("127.0.0.1", self._target), timeout=1)
        except (OSError, AssertionError):
            client.close()
            return
        for sock, other in ((client, broker), (broker, client)):
            self._peers[sock] = other
            self._selector.register(sock, selectors.EVENT_READ)

    def _forward(self, sock):
        if self.stalled:
            return time.sleep(0.001)  # the bytes stay where they are; only keeps this loop from spinning
        try:
            data = sock.recv(65536)
            if data:
                return self._peers[sock].sendall(data)
        except OSError:
            pass
        return self._drop(sock)

    def _drop(self, sock):
        if sock not in self._peers:
            return
        for end in (sock, self._peers[sock]):
            del self._peers[end]
            self._selector.unregister(end)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
