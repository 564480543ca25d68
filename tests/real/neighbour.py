"""A neighbour on loopback with known answers, on Python's own HTTP/1.1 server."""

import hashlib
import http.server
import sys
import threading

LARGE = bytes(range(256)) * 8192  # 2 MiB
SOAP = b'<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/chunked":
            return self.chunks([b"one,", b"two,", b"three"], b"")
        if self.path == "/trailers":
            return self.chunks([b"body"], b"X-Checksum: 42\r\n")
        bodies = {"/hello": b"hello", "/large": LARGE, "/host": self.headers.get("Host", "").encode()}
        self.answer(200 if self.path in bodies else 404, bodies.get(self.path, b"nothing here"))

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/digest":
            self.answer(200, hashlib.sha256(body).hexdigest().encode())
        else:
            self.answer(200, body, "application/soap+xml; charset=utf-8")

    def answer(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunks(self, chunks, trailers):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        if trailers:
            self.send_header("Trailer", "X-Checksum")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n" + trailers + b"\r\n")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A connection that the sidecar cut because the remote cancelled is what some tests want; the rest is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def start():
    """Starts the neighbour in a thread of this process; returns the server (`server_port`, `shutdown()`)."""
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
