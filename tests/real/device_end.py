"""A minimal device end in Python, only to prove that the remote of these tests is right when the product is at fault."""

import http.client
import socket
import ssl
import threading
import urllib.parse

import h2.config
import h2.connection
import h2.events


class DeviceEnd(threading.Thread):
    """Dials, upgrades, serves reversed HTTP/2 from a loopback port; dials again after a session until stopped."""

    def __init__(self, remote_address, pki, name, port):
        super().__init__(daemon=True)
        self.url, self.pki, self.name_, self.port = urllib.parse.urlsplit(remote_address), pki, name, port
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.is_set():
            try:
                self.session()
            except OSError:
                pass
            self.stopped.wait(0.2)

    def session(self):
        context = ssl.create_default_context(cafile=self.pki.path("ca.crt"))
        context.load_cert_chain(self.pki.path(self.name_ + ".crt"), self.pki.path(self.name_ + ".key"))
        plain = socket.create_connection((self.url.hostname, self.url.port), timeout=5)
        with context.wrap_socket(plain, server_hostname=self.url.hostname) as tls:
            tls.settimeout(20)
            tls.sendall(f"GET {self.url.path}?{self.url.query} HTTP/1.1\r\nHost: {self.url.netloc}\r\n"
                        "Connection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                more = tls.recv(4096)
                if not more:
                    return
                head += more
            self.serve(tls, head.split(b"\r\n\r\n", 1)[1])

    def serve(self, tls, data):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        requests, waiting = {}, {}
        while not self.stopped.is_set():
            for event in connection.receive_data(data) if data else []:
                stream = getattr(event, "stream_id", None)
                if isinstance(event, h2.events.RequestReceived):
                    requests[stream] = (dict(event.headers), bytearray())
                elif isinstance(event, h2.events.DataReceived):
                    requests[stream][1].extend(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return
                if stream in requests and self.complete(event, *requests[stream]):
                    waiting[stream] = self.forward(connection, stream, *requests.pop(stream))
            for stream in list(waiting):
                self.push(connection, stream, waiting)
            tls.sendall(connection.data_to_send())
            data = tls.recv(65536)
            if not data:
                return

    @staticmethod
    def complete(event, headers, body):
        length = headers.get("content-length")
        return isinstance(event, h2.events.StreamEnded) or (length is not None and len(body) == int(length) > 0)

    def forward(self, connection, stream, headers, body):
        """Sends the response head; returns [rest of the body, trailers]."""
        if headers[":path"] == "/trailers":  # http.client drops trailers
            connection.send_headers(stream, [(":status", "200")])
            return [b"body", [("x-checksum", "42")]]
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        client.request(headers[":method"], headers[":path"], body=bytes(body) or None)
        answer = client.getresponse()
        content = answer.read()
        length = answer.headers.get("Content-Length", str(len(content)))
        connection.send_headers(stream, [(":status", str(answer.status)), ("content-length", length)])
        return [content, None]

    @staticmethod
    def push(connection, stream, waiting):
        body, trailers = waiting[stream]
        try:
            while body:
                room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size, len(body))
                if room == 0:
                    waiting[stream][0] = body
                    return
                connection.send_data(stream, body[:room])
                body = body[room:]
            connection.send_headers(stream, trailers, end_stream=True) if trailers else connection.end_stream(stream)
        except h2.exceptions.StreamClosedError:
            pass  # the remote cancelled it
        del waiting[stream]

    def stop(self):
        self.stopped.set()
