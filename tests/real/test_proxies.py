"""Uplinks through proxies that we did not write: tinyproxy (CONNECT, with and without a password), stunnel in front of it
(https), microsocks (SOCKS 5). The remote is the foreign HTTP/2 stack of test_remote."""

import os
import threading

import neighbour
from remote import Remote
from support import Case, Pki, document, free_port, listens, need, program, status, uplink, wait_for


class Proxies(Case):
    """One uplink to the foreign remote; each test puts a proxy in between."""

    def setUp(self):
        super().setUp()
        self.pki = Pki(self.dir / "pki")
        self.pki.client("camera-1")
        self.neighbour = neighbour.start()
        self.addCleanup(self.neighbour.server_close)
        self.addCleanup(self.neighbour.shutdown)
        self.remote = Remote(self.pki)
        self.addCleanup(self.remote.close)
        self.remote_port = self.remote.listener.getsockname()[1]

    def tinyproxy(self, *lines):
        """Returns its port; it logs each CONNECT."""
        need("tinyproxy")
        port, folder = free_port(), self.dir / "tinyproxy"
        folder.mkdir()
        (folder / "conf").write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Allow 127.0.0.1", "Timeout 600",
                                                "LogLevel Connect", "MaxClients 20", *lines]) + "\n")
        self.start("tinyproxy", [program("tinyproxy"), "-d", "-c", folder / "conf"])
        wait_for("tinyproxy listens", lambda: listens(port))
        return port

    def carried(self):
        """Whether tinyproxy has seen the way to the remote asked for."""
        return f"CONNECT localhost:{self.remote_port} " in (self.dir / "tinyproxy.log").read_text()

    def sidecar(self, *settings, flags=(), env=None):
        config = self.dir / "uplinks.yaml"
        config.write_text(document(self.pki, [("camera-1", self.neighbour.server_port, "Administrator")],
                                   self.remote.address, settings))
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        _, self.admin = self.start_sidecar(config, *flags, env=clean | (env or {}))

    def served(self):
        """One uplink is accepted and a request goes through it, with a body larger than any buffer on the way."""
        session = self.remote.accept()
        self.addCleanup(session.close)
        self.assertEqual(session.get("/hello").body, b"hello")
        self.assertEqual(bytes(session.get("/large").body), neighbour.LARGE)

    def failed(self, cause):
        """The uplink shows this cause; returns its sentence."""
        def error():
            error = uplink(self.admin, "camera-1")["error"]
            return error and error["cause"] == cause and error["message"]
        return wait_for(f"the cause {cause}", error)

    def test_connect_without_a_password(self):
        self.sidecar(f"network: {{ proxy: 'http://127.0.0.1:{self.tinyproxy()}' }}")
        self.served()
        self.assertTrue(self.carried())

    def test_connect_with_a_password_from_a_file_that_may_be_mended(self):
        port = self.tinyproxy("BasicAuth camera secret")
        credentials = self.dir / "credentials"
        credentials.write_text("camera:wrong\n")
        self.sidecar(f"network: {{ proxy: 'http://127.0.0.1:{port}', proxyCredentialsFile: {credentials} }}")
        sentence = self.failed("proxy-authentication")
        self.assertIn(f"127.0.0.1:{port}", sentence)
        self.assertNotIn("wrong", sentence)
        credentials.write_text("camera:secret\n")
        self.served()
        self.assertNotIn("secret", (self.dir / "sidecar.log").read_text())

    def test_a_proxy_that_does_not_let_us_through_is_named(self):
        port = self.tinyproxy("ConnectPort 1")
        self.sidecar(f"network: {{ proxy: 'http://127.0.0.1:{port}' }}")
        self.assertIn("403", self.failed("proxy-refused"))

    def test_connect_over_an_https_proxy(self):
        need("stunnel")
        behind, port, conf = self.tinyproxy(), free_port(), self.dir / "stunnel.conf"
        conf.write_text(f"foreground = yes\npid =\n[proxy]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{behind}\n"
                        f"cert = {self.pki.path('server.crt')}\nkey = {self.pki.path('server.key')}\n")
        self.start("stunnel", [program("stunnel"), conf])
        wait_for("stunnel listens", lambda: listens(port))
        # Proxies are trusted by the system's roots.
        self.sidecar(f"network: {{ proxy: 'https://localhost:{port}' }}", env={"SSL_CERT_FILE": str(self.pki.path("ca.crt"))})
        self.served()
        self.assertTrue(self.carried())

    def test_the_proxy_of_the_environment_with_a_password_from_a_file(self):
        port = self.tinyproxy("BasicAuth camera secret")
        credentials = self.dir / "credentials"
        credentials.write_text("camera:secret\n")
        self.sidecar(flags=["--proxy-credentials-file", credentials], env={"HTTPS_PROXY": f"http://127.0.0.1:{port}"})
        self.served()
        self.assertTrue(self.carried())

    def test_no_proxy_of_the_environment_leads_past_it(self):
        self.sidecar(env={"HTTPS_PROXY": f"http://127.0.0.1:{self.tinyproxy()}", "NO_PROXY": "example.com,localhost"})
        self.served()
        self.assertFalse(self.carried())

    def microsocks(self, *arguments):
        need("microsocks")
        port = free_port()
        self.start("microsocks", [program("microsocks"), "-i", "127.0.0.1", "-p", str(port), *arguments])
        wait_for("microsocks listens", lambda: listens(port))
        return port

    def test_socks_5_without_and_with_a_password(self):
        for arguments, line in (((), ""), (("-u", "camera", "-P", "secret"), ", proxyCredentialsFile: {file}")):
            with self.subTest(arguments=arguments):
                port = self.microsocks(*arguments)
                (self.dir / "credentials").write_text("camera:secret\n")
                line = line.format(file=self.dir / "credentials")
                self.sidecar(f"network: {{ proxy: 'socks5://127.0.0.1:{port}'{line} }}")
                self.served()
                self.assertIn("connected to localhost", (self.dir / "microsocks.log").read_text())

    def test_a_wrong_password_of_socks_5_is_named(self):
        port = self.microsocks("-u", "camera", "-P", "secret")
        (self.dir / "credentials").write_text("camera:wrong\n")
        self.sidecar(f"network: {{ proxy: 'socks5://127.0.0.1:{port}', proxyCredentialsFile: {self.dir / 'credentials'} }}")
        self.assertIn(f"127.0.0.1:{port}", self.failed("proxy-authentication"))

    def test_a_proxy_that_goes_away_takes_its_uplink_down_and_brings_it_back(self):
        port = self.microsocks()
        self.sidecar(f"network: {{ proxy: 'socks5://127.0.0.1:{port}' }}")
        accepted = []
        accepting = threading.Thread(target=lambda: accepted.extend(self.remote.accept() for _ in range(2)), daemon=True)
        accepting.start()
        wait_for("Online", lambda: uplink(self.admin, "camera-1")["status"] == "Online")
        first = self.processes["microsocks"]
        first.kill()
        first.wait()
        self.failed("proxy-unreachable")
        self.start("microsocks", [program("microsocks"), "-i", "127.0.0.1", "-p", str(port)])
        accepting.join(40)
        self.assertEqual(len(accepted), 2)
        for session in accepted:
            self.addCleanup(session.close)
        self.assertEqual(accepted[1].get("/hello").body, b"hello")
        self.assertEqual(status(self.admin)["config"]["errors"], [])
