"""A remote whose WebSocket is PyPI `websockets` (its protocol without I/O) and whose HTTP/2 within is PyPI h2."""

import time

from remote import WAIT, Remote, Session
from websockets.frames import Opcode
from websockets.server import ServerProtocol


class WebSocketRemote(Remote):
    """Accepts uplinks by `wss`; what `Session` sees is the byte stream within the binary frames."""

    def __init__(self, pki, persona=None, piece=1009):
        super().__init__(pki, persona)
        self.address = self.address.replace("https:", "wss:")
        self.piece = piece

    def accept(self):
        plain, _ = self.listener.accept()
        plain.settimeout(WAIT)
        tls = self.context.wrap_socket(plain, server_side=True)
        within = Within(tls, self.piece)
        within.answer(self.persona.extra_headers)
        if not self.persona.preface_with_101:
            within.flush()
            time.sleep(self.persona.preface_delay)  # the persona is slow; nothing is awaited here
        connection = self.connection()
        within.sendall(connection.data_to_send())
        return Session(within, within.lines, connection)


class Within:
    """The byte stream within a WebSocket, in frames of `piece` bytes that know nothing of HTTP/2's."""

    def __init__(self, tls, piece):
        self.tls, self.piece = tls, piece
        self.protocol = ServerProtocol(subprotocols=["h2c-reverse"], max_size=1 << 20)
        self.received, self.lines, self.pongs = bytearray(), [], 0

    def answer(self, extra_headers):
        """The opening handshake, not sent yet; the library refuses whatever is not RFC 6455."""
        head = b""
        while not self.events():
            more = self.tls.recv(4096)
            head += more
            self.protocol.receive_data(more) if more else self.protocol.receive_eof()
        self.lines = head.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
        response = self.protocol.accept(self.queue.pop(0))
        if response.status_code != 101 or response.headers.get("Sec-WebSocket-Protocol") != "h2c-reverse":
            raise AssertionError(f"the library refused the handshake: {response}")
        for line in filter(None, extra_headers.decode().split("\r\n")):
            name, value = line.split(": ")
            response.headers[name] = value
        self.protocol.send_response(response)

    def events(self):
        self.queue = self.protocol.events_received()
        return self.queue

    def sendall(self, data):
        """Each piece is a message; each third one comes in two fragments with a ping between them (RFC 6455 §5.4)."""
        for number, at in enumerate(range(0, len(data), self.piece)):
            piece = data[at:at + self.piece]
            if number % 3 == 2 and len(piece) > 1:
                self.protocol.send_binary(piece[:1], fin=False)
                self.protocol.send_ping(b"between")
                self.protocol.send_continuation(piece[1:], fin=True)
            else:
                self.protocol.send_binary(piece)
        self.flush()

    def recv(self, _):
        while True:
            data = self.tls.recv(65536)
            self.protocol.receive_data(data) if data else self.protocol.receive_eof()
            for frame in self.events():
                if frame.opcode in (Opcode.BINARY, Opcode.CONT):
                    self.received += frame.data
                elif frame.opcode is Opcode.TEXT:
                    raise AssertionError(f"a text frame came: {frame}")
                elif frame.opcode is Opcode.PONG:
                    self.pongs += 1
            self.flush()
            if self.protocol.parser_exc or self.protocol.handshake_exc:
                raise AssertionError(f"the library objects: {self.protocol.parser_exc or self.protocol.handshake_exc}")
            if self.received or not data:
                break
        data, self.received = bytes(self.received), bytearray()
        return data

    def flush(self):
        waiting = b"".join(self.protocol.data_to_send())
        if waiting:
            self.tls.sendall(waiting)

    def getpeercert(self):
        return self.tls.getpeercert()

    def version(self):
        return self.tls.version()

    def close(self):
        self.tls.close()
