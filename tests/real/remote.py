"""A remote on a foreign HTTP/2 stack (PyPI h2): accepts an uplink, answers 101, then speaks HTTP/2 as the client.

Personas follow what is known of real clouds: one reads case-sensitively and wants single tokens, one sends its preface
in the same write as the 101, one later, one knows only TLS 1.2.
"""

import dataclasses
import select
import socket
import ssl
import time

import h2.config
import h2.connection
import h2.events

WAIT = 20  # seconds for anything on the connection


@dataclasses.dataclass
class Persona:
    preface_with_101: bool = True
    preface_delay: float = 0.0
    tls12_only: bool = False
    extra_headers: bytes = b""


@dataclasses.dataclass
class Response:
    status: int = 0
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytearray = dataclasses.field(default_factory=bytearray)
    trailers: dict = dataclasses.field(default_factory=dict)
    ended: bool = False
    reset: int | None = None


class Remote:
    """Listens on loopback; one session at a time, as the public samples do."""

    def __init__(self, pki, persona=None):
        self.persona = persona or Persona()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki.path("server.crt"), pki.path("server.key"))
        self.context.load_verify_locations(pki.path("ca.crt"))
        self.context.verify_mode = ssl.CERT_REQUIRED
        if self.persona.tls12_only:
            self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(WAIT)
        self.address = f"https://localhost:{self.listener.getsockname()[1]}/uplink?site=7"

    def accept(self):
        """Accepts one uplink up to and including our preface."""
        plain, _ = self.listener.accept()
        plain.settimeout(WAIT)
        tls = self.context.wrap_socket(plain, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            more = tls.recv(1024)
            if not more:
                raise AssertionError(f"the device closed within its upgrade request: {head!r}")
            head += more
        head, early = head.split(b"\r\n\r\n", 1)
        # Case-sensitive, whole lines: the strictest reader known.
        lines = head.split(b"\r\n")
        for wanted in (b"Connection: Upgrade", b"Upgrade: h2c-reverse"):
            if wanted not in lines:
                raise AssertionError(f"no line `{wanted.decode()}` in {head!r}")
        if early or select.select([tls], [], [], 0.3)[0] or tls.pending():
            raise AssertionError("the device sent something before our 101")
        answer = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n"
                  + self.persona.extra_headers + b"\r\n")
        connection = self.connection()
        if self.persona.preface_with_101:
            tls.sendall(answer + connection.data_to_send())
        else:
            tls.sendall(answer)
            time.sleep(self.persona.preface_delay)  # the persona is slow; nothing is awaited here
            tls.sendall(connection.data_to_send())
        return Session(tls, lines, connection)

    @staticmethod
    def connection():
        """HTTP/2 as the client, with its preface waiting to be sent."""
        connection = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False))
        connection.initiate_connection()
        return connection

    def close(self):
        self.listener.close()


class Session:
    """One accepted uplink."""

    def __init__(self, tls, lines, connection):
        self.tls, self.lines, self.connection = tls, lines, connection
        self.responses, self.pongs, self.closed = {}, [], False

    def send(self, headers, body=None, end_stream=True):
        """Opens a stream; returns its id. The body respects the device's windows."""
        stream = self.connection.get_next_available_stream_id()
        self.responses[stream] = Response()
        self.connection.send_headers(stream, headers, end_stream=body is None and end_stream)
        view = memoryview(body or b"")
        deadline = time.monotonic() + WAIT
        while view:
            if self.closed or self.responses[stream].reset is not None or time.monotonic() > deadline:
                raise AssertionError(f"stream {stream} took no more than {len(body) - len(view)} of {len(body)} bytes")
            room = min(self.connection.local_flow_control_window(stream), self.connection.max_outbound_frame_size)
            if room == 0:
                self.flush()
                self.receive()
                continue
            self.connection.send_data(stream, bytes(view[:room]), end_stream=end_stream and len(view) <= room)
            view = view[room:]
            self.flush()
        self.flush()
        return stream

    def get(self, path, method="GET", **more):
        """A plain request, waited for."""
        stream = self.send(plain(method, path), **more)
        return self.wait(stream)

    def wait(self, stream, until=lambda response: response.ended):
        """Receives until the response satisfies `until` or its stream was reset."""
        response = self.responses[stream]
        deadline = time.monotonic() + WAIT
        while not until(response) and response.reset is None:
            if self.closed or time.monotonic() > deadline:
                raise AssertionError(f"stream {stream} got no further than {response.status}, {len(response.body)} bytes")
            self.receive()
        return response

    def reset(self, stream, code):
        self.connection.reset_stream(stream, error_code=code)
        self.flush()

    def ping(self, data):
        self.connection.ping(data)
        self.flush()
        while data not in self.pongs and not self.closed:
            self.receive()
        return data in self.pongs

    def goaway(self):
        self.connection.close_connection()
        self.flush()

    def flush(self):
        waiting = self.connection.data_to_send()
        if waiting:
            self.tls.sendall(waiting)

    def receive(self):
        data = self.tls.recv(65536)
        if not data:
            self.closed = True
            return
        for event in self.connection.receive_data(data):
            self.note(event)
        self.flush()

    def note(self, event):
        response = self.responses.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            headers = dict(event.headers)
            response.status, response.headers = int(headers[":status"]), headers
        elif isinstance(event, h2.events.DataReceived):
            response.body += event.data
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            response.trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            response.ended = True
        elif isinstance(event, h2.events.StreamReset) and response:
            response.reset = int(event.error_code)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs.append(event.ping_data)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.closed = True

    def close(self):
        self.tls.close()


def plain(method, path, *more):
    """Headers as an ordinary HTTP/2 client sends them."""
    return [(":method", method), (":scheme", "https"), (":authority", "camera-1.cloud.example"), (":path", path), *more]


def grse(path, body):
    """Headers in the manner of the ONVIF test tool's forerunner: a content-length, an authority that means nothing."""
    return [(":method", "POST"), (":scheme", "https"), (":authority", "0.0.0.0:7555"), (":path", path),
            ("content-type", "application/soap+xml; charset=utf-8"), ("content-length", str(len(body)))]
