"""The uplink as a foreign HTTP/2 stack sees it. The same cases run against a Python device end, which proves the cases."""

import hashlib

import device_end
import neighbour
from h2.errors import ErrorCodes
from remote import Persona, Remote, grse, plain
from support import Case, Pki, document, uplink, wait_for
from websocket import WebSocketRemote


class Cases:
    """Each case: a remote with a persona, one uplink of camera-1, what the remote sees."""

    make_remote = Remote

    def connect(self, persona=None):
        self.pki = Pki(self.dir / "pki")
        self.pki.client("camera-1")
        self.neighbour = neighbour.start()
        self.addCleanup(self.neighbour.server_close)
        self.addCleanup(self.neighbour.shutdown)
        self.remote = self.make_remote(self.pki, persona)
        self.addCleanup(self.remote.close)
        self.start_device()
        session = self.remote.accept()
        self.addCleanup(session.close)
        return session

    def test_the_upgrade_request_names_path_query_host_and_shows_the_certificate(self):
        session = self.connect()
        self.assertEqual(session.lines[0], b"GET /uplink?site=7 HTTP/1.1")
        port = self.remote.listener.getsockname()[1]
        self.assertIn(b"Host: localhost:%d" % port, session.lines)
        subject = dict(pair for part in session.tls.getpeercert()["subject"] for pair in part)
        self.assertEqual(subject["commonName"], "camera-1")

    def test_a_preface_in_one_write_with_the_101_is_kept(self):
        self.assertEqual(self.connect(Persona(preface_with_101=True)).get("/hello").body, b"hello")

    def test_a_preface_that_comes_later_is_awaited(self):
        session = self.connect(Persona(preface_with_101=False, preface_delay=1.5))
        self.assertEqual(session.get("/hello").body, b"hello")

    def test_a_101_with_further_headers_is_accepted(self):
        session = self.connect(Persona(extra_headers=b"Server: strange/1.0\r\nDate: now\r\n"))
        self.assertEqual(session.get("/hello").status, 200)

    def test_a_remote_with_tls_1_2_only_is_served(self):
        session = self.connect(Persona(tls12_only=True))
        self.assertEqual(session.tls.version(), "TLSv1.2")
        self.assertEqual(session.get("/hello").body, b"hello")

    def test_a_plain_get_returns_the_bytes_and_their_length(self):
        answer = self.connect().get("/hello")
        self.assertEqual((answer.status, bytes(answer.body)), (200, b"hello"))
        self.assertEqual(answer.headers["content-length"], "5")

    def test_a_body_larger_than_the_windows_arrives_whole(self):
        answer = self.connect().get("/large")
        self.assertEqual(hashlib.sha256(answer.body).digest(), hashlib.sha256(neighbour.LARGE).digest())

    def test_an_upload_larger_than_the_windows_arrives_whole(self):
        session = self.connect()
        length = ("content-length", str(len(neighbour.LARGE)))
        answer = session.wait(session.send(plain("POST", "/digest", length), body=neighbour.LARGE))
        self.assertEqual(answer.body.decode(), hashlib.sha256(neighbour.LARGE).hexdigest())

    def test_many_streams_at_once_do_not_mix(self):
        session = self.connect()
        streams = [session.send(plain("GET", path)) for path in ["/hello", "/large", "/chunked"] * 5]
        bodies = [bytes(session.wait(stream).body) for stream in streams]
        self.assertEqual(bodies, [b"hello", neighbour.LARGE, b"one,two,three"] * 5)

    def test_head_has_a_length_and_no_body(self):
        answer = self.connect().get("/hello", method="HEAD")
        self.assertEqual((answer.headers["content-length"], len(answer.body)), ("5", 0))

    def test_a_missing_page_is_the_neighbours_404(self):
        answer = self.connect().get("/missing")
        self.assertEqual((answer.status, bytes(answer.body)), (404, b"nothing here"))

    def test_a_short_chunked_answer_gets_a_length(self):
        answer = self.connect().get("/chunked")
        self.assertEqual((bytes(answer.body), answer.headers.get("content-length")), (b"one,two,three", "13"))

    def test_trailers_arrive(self):
        answer = self.connect().get("/trailers")
        self.assertEqual((bytes(answer.body), answer.trailers.get("x-checksum")), (b"body", "42"))

    def test_the_neighbour_sees_its_own_host(self):
        answer = self.connect().get("/host")
        self.assertEqual(answer.body.decode(), f"127.0.0.1:{self.neighbour.server_port}")

    def test_a_request_without_authority_is_served(self):
        session = self.connect()
        headers = [(":method", "GET"), (":scheme", "http"), (":path", "/hello"), ("host", "somewhere")]
        self.assertEqual(session.wait(session.send(headers)).body, b"hello")

    def test_the_grse_manner_is_answered_with_a_length_though_the_request_never_ends(self):
        session = self.connect()
        for _ in range(3):
            stream = session.send(grse("/onvif/echo_service", neighbour.SOAP), body=neighbour.SOAP, end_stream=False)
            answer = session.wait(stream, lambda answer: len(answer.body) >= len(neighbour.SOAP))
            self.assertEqual((answer.status, bytes(answer.body)), (200, neighbour.SOAP))
            self.assertEqual(answer.headers["content-length"], str(len(neighbour.SOAP)))
            if answer.reset is None:
                session.reset(stream, ErrorCodes.CANCEL)
        self.assertEqual(session.get("/hello").body, b"hello")

    def test_a_cancelled_download_leaves_the_session_usable(self):
        session = self.connect()
        stream = session.send(plain("GET", "/large"))
        session.wait(stream, lambda answer: answer.status == 200)
        session.reset(stream, ErrorCodes.CANCEL)
        self.assertEqual(session.get("/hello").body, b"hello")

    def test_a_ping_is_answered(self):
        self.assertTrue(self.connect().ping(b"8 bytes."))

    def test_after_our_goaway_the_device_connects_again(self):
        session = self.connect()
        session.goaway()
        session.close()
        second = self.remote.accept()
        self.addCleanup(second.close)
        self.assertEqual(second.get("/hello").body, b"hello")


class Binary(Cases, Case):
    """The real binary as the device."""

    def start_device(self):
        config = self.dir / "uplinks.yaml"
        config.write_text(document(self.pki, [("camera-1", self.neighbour.server_port, "Administrator")], self.remote.address))
        _, self.admin = self.start_sidecar(config)

    def test_the_status_says_online_with_tls_facts(self):
        session = self.connect()
        session.get("/hello")
        entry = wait_for("status Online", lambda: (entry := uplink(self.admin, "camera-1"))["status"] == "Online" and entry)
        self.assertIsNone(entry["error"])
        self.assertGreaterEqual(entry["session"]["requests"], 1)
        self.assertIn("1.3", str(entry["session"]["tls"]))


class WebSocketBinary(Binary):
    """The real binary as the device, over a WebSocket of another making."""

    make_remote = WebSocketRemote

    def test_each_ping_within_a_fragmented_message_is_answered(self):
        session = self.connect()
        length = ("content-length", str(len(neighbour.LARGE)))
        answer = session.wait(session.send(plain("POST", "/digest", length), body=neighbour.LARGE))
        self.assertEqual(answer.body.decode(), hashlib.sha256(neighbour.LARGE).hexdigest())
        self.assertGreater(session.tls.pongs, 100)


class PythonDeviceEnd(Cases, Case):
    """A minimal device end: what fails here is a fault of these tests."""

    def start_device(self):
        device = device_end.DeviceEnd(self.remote.address, self.pki, "camera-1", self.neighbour.server_port)
        self.addCleanup(device.stop)
        device.start()
