"""The uplink configuration service, driven by a client that we did not write: PyPI's onvif-python, whose zeep reads each answer by
ONVIF's WSDL of 26.06. On the local listener by HTTP Digest and by WS-UsernameToken, and through gateway and uplink."""

import json
import subprocess
import unittest

import neighbour
from support import (ROOT, TARGET, Case, Pki, document, free_port, listens, uplink, wait_for)

PYTHON = TARGET / "onvif" / "bin" / "python"
ACCOUNTS = "accounts: [ { username: admin, level: Administrator, passwordFile: admin.txt } ] # the fitter\n"


def ask(address, scheme, *operations, user="admin", password="a long secret"):
    """Calls operations one after the other; a list of what onvif_client.py prints."""
    command = [PYTHON, ROOT / "tests/real/onvif_client.py", address, scheme, user, password, json.dumps(operations)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == len(operations), done.stdout + done.stderr
    return answers


class UplinkService(Case):
    """A gateway, a neighbour, a sidecar with one uplink and a local listener."""

    def setUp(self):
        super().setUp()
        if not PYTHON.exists():
            raise unittest.SkipTest("onvif-python not installed: make install-test-tools")
        self.pki = Pki(self.dir / "pki")
        for name in ("camera-1", "camera-1-second"):
            self.pki.client(name)
        self.neighbour = neighbour.start()
        self.addCleanup(self.neighbour.server_close)
        self.addCleanup(self.neighbour.shutdown)
        self.listen, self.front = self.start_gateway(self.pki)
        self.config = self.dir / "uplinks.yaml"
        remote = f"https://localhost:{self.listen}/uplink"
        port = self.neighbour.server_address[1]
        text = document(self.pki, [("camera-1", port, "Administrator")], remote) + ACCOUNTS
        second = f"  second: {{ certFile: {self.pki.path('camera-1-second.crt')}, keyFile: {self.pki.path('camera-1-second.key')} }}\n"
        self.config.write_text("# by hand\n" + text.replace("certificates:\n", "certificates:\n" + second))
        (self.dir / "admin.txt").write_text("a long secret\n")
        self.local = free_port()
        _, self.admin = self.start_sidecar(self.config, "--onvif", f"127.0.0.1:{self.local}")
        wait_for("the local listener", lambda: listens(self.local))
        wait_for("the uplink", lambda: uplink(self.admin, "camera-1")["status"] == "Online")

    def second(self, **more):
        return {"RemoteAddress": f"https://localhost:{self.listen}/second", "CertificateID": "second", "UserLevel": ["User"],
                "CertPathValidationPolicyID": "ca", **more}

    def configure(self, address, scheme):
        """The life of an uplink, as onvif-python sees it."""
        capabilities, before, done = ask(address, scheme, ["GetServiceCapabilities", {}], ["GetUplinks", {}],
                                         ["SetUplink", {"Configuration": self.second()}])
        self.assertEqual(capabilities["answer"]["MaxUplinks"], 16, capabilities)
        self.assertIn("wss", str(capabilities["answer"]["Protocols"]))
        self.assertEqual([entry["Status"] for entry in before["answer"]], ["Connected"], before)
        self.assertIn("answer", done, done)

        def connected():
            (uplinks,) = ask(address, scheme, ["GetUplinks", {}])
            return [entry for entry in uplinks["answer"]
                    if entry["RemoteAddress"].endswith("/second") and entry["Status"] == "Connected"]

        entry = wait_for("the second uplink", connected)[0]
        self.assertEqual(entry["CertificateID"], "second")
        self.assertEqual(entry["CertPathValidationPolicyID"], "ca")
        text = self.config.read_text()
        self.assertTrue(text.startswith("# by hand\n") and "# the fitter" in text, text)
        deleted, again = ask(address, scheme, ["DeleteUplink", {"RemoteAddress": entry["RemoteAddress"]}],
                             ["DeleteUplink", {"RemoteAddress": entry["RemoteAddress"]}])
        self.assertIn("answer", deleted, deleted)
        self.assertIn("Address", str(again), again)
        self.assertNotIn("/second", self.config.read_text())

    def test_local_by_digest(self):
        self.configure(f"127.0.0.1:{self.local}", "digest")

    def test_local_by_username_token(self):
        self.configure(f"127.0.0.1:{self.local}", "token")

    def test_through_gateway_and_uplink(self):
        address = f"http://127.0.0.1:{self.front}/camera-1/onvif/uplink_service"
        self.configure(address, "none")

    def test_a_wrong_password_is_refused(self):
        for scheme in ("digest", "token"):
            (refused,) = ask(f"127.0.0.1:{self.local}", scheme, ["GetUplinks", {}], password="wrong")
            self.assertNotIn("answer", refused)

    def test_faults_have_their_codes(self):
        operations = [["SetUplink", {"Configuration": self.second(**change)}] for change in (
            {"CertificateID": "none"}, {"CertPathValidationPolicyID": "none"}, {"CertificateID": None},
            {"AuthorizationServer": "idp"}, {"RemoteAddress": "ftp://localhost/"})]
        answers = ask(f"http://127.0.0.1:{self.local}/onvif/uplink_service", "digest", *operations)
        for answer, code in zip(answers, ("CertificateID", "CertPathValidationPolicyID", "MissingAuthentication",
                                          "AmbiguousAuthentication", "ProtocolNotSupported")):
            self.assertIn(code, str(answer), answer)


if __name__ == "__main__":
    unittest.main()
