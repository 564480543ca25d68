"""A relay before the API server that pods can be pointed to: it passes bytes on, until a test makes it a server in trouble."""

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading

import node

PKI = node.HOME / "pki"


class Relay:
    """TLS on the node's address with the API server's own certificate, so that clients notice nothing."""

    def __init__(self):
        self._near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._near.load_cert_chain(PKI / "apiserver.crt", PKI / "apiserver.key")
        self._far = ssl.create_default_context(cafile=PKI / "ca.crt")
        self._listener = socket.create_server((node.ADDRESS, 0))
        self._act, self._open, self._lock = self._pass, set(), threading.Lock()
        self.asked = 0  # requests since the trouble began
        threading.Thread(target=self._accept, daemon=True).start()

    def environment(self):
        """What makes a pod ask here."""
        host, port = self._listener.getsockname()
        return [{"name": "KUBERNETES_SERVICE_HOST", "value": host}, {"name": "KUBERNETES_SERVICE_PORT", "value": str(port)}]

    def answer(self, code, **fields):
        """Answers each request with this status, on connections of its own; what is open breaks."""
        text = json.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                           "reason": http.client.responses[code].replace(" ", ""), "message": "trouble of a test"})
        lines = [f"HTTP/1.1 {code} {http.client.responses[code]}", "content-type: application/json", "connection: close",
                 f"content-length: {len(text)}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
        whole = ("\r\n".join(lines) + "\r\n\r\n" + text).encode()
        self._become(lambda one: self._asked(one) and one.stream.sendall(whole))

    def hang(self):
        """Takes each request and says nothing; what is open breaks."""
        self._become(lambda one: self._asked(one) and one.stream.recv(1))

    def freeze(self):
        """What is open stays open, but nothing comes through it any more; new connections are not touched."""
        with self._lock:
            for one in self._open:
                one.frozen = True

    def mend(self):
        """Passes bytes on again."""
        self._become(self._pass)

    def close(self):
        self._listener.close()
        self._cut()

    def _become(self, act):
        self.asked, self._act = 0, act
        self._cut()

    def _cut(self):
        with self._lock:
            for one in self._open:
                one.cut()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, socket_):
        with contextlib.suppress(OSError), self._near.wrap_socket(socket_, server_side=True) as stream:
            one = Connection(stream)
            with self._lock:
                self._open.add(one)
            try:
                self._act(one)
            finally:
                with self._lock:
                    self._open.discard(one)

    def _pass(self, one):
        with socket.create_connection((node.ADDRESS, 443)) as plain, self._far.wrap_socket(plain, server_hostname=node.ADDRESS) as far:
            one.pump(far)

    def _asked(self, one):
        """Reads the head of a request; those that come here have no body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = one.stream.recv(1)
            if not byte:
                return False
            head += byte
        self.asked += 1
        return True


class Connection:
    """One connection of a client."""

    def __init__(self, stream):
        self.stream, self.frozen = stream, False

    def cut(self):
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)

    def pump(self, far):
        """Passes bytes both ways until one side ends; a frozen one takes them and passes nothing."""
        other = {self.stream: far, far: self.stream}
        while True:
            for source in [one for one in other if one.pending()] or select.select(list(other), [], [])[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                if not self.frozen:
                    other[source].sendall(data)
