"""Neighbours that speak HTTP/2 without TLS: gRPC with its trailers by grpcio at both ends, and nghttp2's tools.

The same gRPC cases run without the product, which proves the cases.
"""

import concurrent.futures
import hashlib
import re
import subprocess
import threading

import grpc
from support import free_port, listens, need, program, wait_for
from video import Shared

LARGE = bytes(range(256)) * 12288  # 3 MiB, less than gRPC's limit of a message
SERVICE = "uplink.test.Echo"
WAIT = 20


class Service(grpc.GenericRpcHandler):
    """Bytes in, bytes out; what is asked for is in the metadata."""

    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, call):
        name = call.method.rsplit("/", 1)[1]
        return {"Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
                "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
                "Forever": grpc.unary_stream_rpc_method_handler(self.forever)}.get(name)

    @staticmethod
    def unary(request, context):
        asked = dict(context.invocation_metadata())
        context.set_trailing_metadata((("x-length", str(len(request))), ("x-asked", asked.get("x-ask", "")),
                                       ("x-binary-bin", b"\0\xff\n")))
        return request

    @staticmethod
    def refuse(_, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: \u00fcber 100 %")

    @staticmethod
    def count(request, _):
        yield from (str(number).encode() for number in range(int(request)))

    @staticmethod
    def sum(requests, _):
        return str(sum(map(int, requests))).encode()

    @staticmethod
    def chat(requests, _):
        yield from (request.upper() for request in requests)

    def forever(self, _, context):
        context.add_callback(self.cancelled.set)
        yield b"first"
        self.cancelled.wait(WAIT)


class Calls:
    """What a gRPC client sees. A class of tests gives `target()`, (address, authority)."""

    @classmethod
    def furnish(cls, rig):
        rig.service = Service()
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), handlers=[rig.service])
        rig.grpc = server.add_insecure_port("127.0.0.1:0")
        server.start()
        rig.addCleanup(lambda: server.stop(0).wait(WAIT))

    def setUp(self):
        address, authority = self.target()
        options = [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.addCleanup(self.channel.close)

    def call(self, kind, method):
        return getattr(self.channel, kind)(f"/{SERVICE}/{method}")

    def test_a_unary_call_has_its_answer_and_its_trailers(self):
        answer, call = self.call("unary_unary", "Unary").with_call(b"hello", metadata=[("x-ask", "this")], timeout=WAIT)
        trailers = dict(call.trailing_metadata())
        self.assertEqual(answer, b"hello")
        self.assertEqual((trailers["x-length"], trailers["x-asked"], trailers["x-binary-bin"]), ("5", "this", b"\0\xff\n"))

    def test_a_status_and_its_message_arrive(self):
        with self.assertRaises(grpc.RpcError) as refused:
            self.call("unary_unary", "Refuse")(b"", timeout=WAIT)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertEqual(refused.exception.details(), "not now: \u00fcber 100 %")

    def test_an_unknown_method_is_unimplemented(self):
        with self.assertRaises(grpc.RpcError) as refused:
            self.call("unary_unary", "Nothing")(b"", timeout=WAIT)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_streams_of_answers_and_of_requests_arrive(self):
        counted = list(self.call("unary_stream", "Count")(b"1000", timeout=WAIT))
        self.assertEqual(counted, [str(number).encode() for number in range(1000)])
        total = self.call("stream_unary", "Sum")((str(number).encode() for number in range(1000)), timeout=WAIT)
        self.assertEqual(total, b"499500")

    def test_a_conversation_goes_both_ways_at_once(self):
        answered, turn = [], threading.Semaphore(1)

        def questions():
            for word in (b"one", b"two", b"three"):
                self.assertTrue(turn.acquire(timeout=WAIT), "the answer to the last message never came")
                yield word

        for answer in self.call("stream_stream", "Chat")(questions(), timeout=WAIT):
            answered.append(answer)
            turn.release()
        self.assertEqual(answered, [b"ONE", b"TWO", b"THREE"])

    def test_large_messages_arrive_whole(self):
        answer = self.call("unary_unary", "Unary")(LARGE, timeout=WAIT)
        self.assertEqual(hashlib.sha256(answer).digest(), hashlib.sha256(LARGE).digest())

    def test_a_cancelled_call_is_cancelled_at_the_neighbour(self):
        self.rig.service.cancelled.clear()
        call = self.call("unary_stream", "Forever")(b"", timeout=WAIT)
        self.assertEqual(next(call), b"first")
        call.cancel()
        self.assertTrue(self.rig.service.cancelled.wait(10))

    def test_sixty_calls_at_once(self):
        calls = [self.call("unary_unary", "Unary").future(str(number).encode(), timeout=WAIT) for number in range(60)]
        self.assertEqual([call.result() for call in calls], [str(number).encode() for number in range(60)])


class DirectGrpc(Calls, Shared):
    """Without the product: the cases themselves."""

    def target(self):
        return f"127.0.0.1:{self.rig.grpc}", f"127.0.0.1:{self.rig.grpc}"


class UplinkGrpc(Calls, Shared):
    """The front takes HTTP/2 without TLS; paths of gRPC belong to the service, so the device is named by the host."""

    @classmethod
    def furnish(cls, rig):
        super().furnish(rig)
        rig.start_both(f"h2c://127.0.0.1:{rig.grpc}")

    def target(self):
        return f"127.0.0.1:{self.rig.front}", f"camera-1.localhost:{self.rig.front}"


class Nghttp2(Shared):
    """nghttpd as the neighbour, nghttp and h2load as clients of the front."""

    @classmethod
    def furnish(cls, rig):
        need("nghttpd", "nghttp", "h2load")
        www, port = rig.dir / "www", free_port()
        www.mkdir()
        (www / "small").write_bytes(b"hello")
        (www / "large").write_bytes(LARGE)
        rig.start("nghttpd", [program("nghttpd"), "--no-tls", "-a", "127.0.0.1", "--trailer", "x-check: 42", "-d", www, port])
        wait_for("nghttpd listens", lambda: listens(port))
        rig.start_both(f"h2c://127.0.0.1:{port}")

    def url(self, path):
        return f"http://127.0.0.1:{self.rig.front}/camera-1/{path}"

    def run_tool(self, *command):
        run = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def test_files_arrive_whole(self):
        self.assertEqual(self.run_tool("nghttp", self.url("small")), b"hello")
        self.assertEqual(self.run_tool("nghttp", self.url("large")), LARGE)

    def test_trailers_arrive(self):
        said = self.run_tool("nghttp", "-nv", "-H", "te: trailers", self.url("small")).decode()
        self.assertIn("x-check: 42", said)

    def test_h2load_sees_every_request_answered(self):
        said = self.run_tool("h2load", "-n", "2000", "-c", "4", "-m", "20", self.url("small")).decode()
        counts = dict((name, int(count)) for count, name in re.findall(r"(\d+) (succeeded|failed|errored|timeout)", said))
        self.assertEqual(counts, {"succeeded": 2000, "failed": 0, "errored": 0, "timeout": 0})
        self.assertRegex(said, r"status codes: 2000 2xx")

    def test_a_body_goes_up(self):
        body = self.rig.dir / "body"
        body.write_bytes(LARGE)
        said = self.run_tool("nghttp", "-nv", "-d", str(body), self.url("small")).decode()
        self.assertIn(":status: 200", said)
