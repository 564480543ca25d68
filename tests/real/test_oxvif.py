"""A camera that we did not write, the mock of the crate oxvif, which wants a WS-UsernameToken for everything but the time: used through
gateway and sidecar by onvif-python, which knows no password. It lets every account do everything, so what is refused to a level is
refused by the uplink."""

import io
import unittest

import test_onvif_clients as clients
from PIL import Image
from support import TARGET, Case, Pki, document, free_port, get, listens, uplink, wait_for
from test_credentials import SOAP, status_of

CAMERA = TARGET / "oxvif" / "debug" / "oxvif-camera"
USER, PASSWORD = "keeper", "pass word 7"
MOVE = ["ptz", "AbsoluteMove", {"Position": {"PanTilt": {"x": -0.25, "y": 0.125}, "Zoom": {"x": 0.5}}, **clients.PROFILE}]
STATUS = ["ptz", "GetStatus", clients.PROFILE]
SOAP_TYPE = {"Content-Type": 'application/soap+xml; charset=utf-8; action="http://www.onvif.org/ver10/device/wsdl/GetDeviceInformation"'}


class Oxvif(Case):
    def setUp(self):
        super().setUp()
        if not CAMERA.exists() or not clients.PYTHON.exists():
            raise unittest.SkipTest("oxvif's camera or onvif-python not installed: make install-test-tools")
        self.camera = free_port()
        (self.dir / "account").write_text(f"{USER}:{PASSWORD}\n")
        self.start("oxvif", [CAMERA, self.camera, self.dir / "account"])
        wait_for("the camera listens", lambda: listens(self.camera))

    def uplink(self, level, password=PASSWORD):
        """Gateway and sidecar, which has the password; returns the address of the device service at the front."""
        pki = Pki(self.dir / "pki")
        pki.client("camera-1")
        listen, front = self.start_gateway(pki)
        (self.dir / "password").write_text(password + "\n")
        account = ["credentials:", f"  Administrator: {{ username: {USER}, passwordFile: {self.dir}/password }}"]
        config = self.dir / "uplinks.yaml"
        config.write_text(document(pki, [("camera-1", self.camera, level)], f"https://localhost:{listen}/uplink", keys=account))
        _, self.admin = self.start_sidecar(config)
        wait_for("the uplink", lambda: uplink(self.admin, "camera-1")["status"] == "Online")
        self.front = f"http://127.0.0.1:{front}/camera-1"
        return f"{self.front}/onvif/device"

    def direct(self, *steps, password=PASSWORD):
        """What the camera itself says to a client that shows an account."""
        return clients.ask(f"http://127.0.0.1:{self.camera}/onvif/device", *steps, scheme="token", user=USER, password=password)

    def answers(self, steps):
        for step in steps:
            self.assertIn("answer", step, step)
        return [step["answer"] for step in steps]

    def test_the_camera_itself_wants_its_password(self):
        asked = ["devicemgmt", "GetDeviceInformation", {}]
        (refused,) = self.direct(asked, password="wrong")
        self.assertEqual((refused.get("fault") or {}).get("subcodes"), ["FailedAuthentication"], refused)
        (information,) = self.answers(self.direct(asked))
        self.assertEqual(information["Manufacturer"], "oxvif-mock")

    def test_an_operator_uses_it_without_a_password(self):
        address = self.uplink("Operator")
        information, profiles, stream, snapshot, _, status = self.answers(clients.ask(
            address, ["devicemgmt", "GetDeviceInformation", {}], ["media", "GetProfiles", {}], ["media", "GetStreamUri", clients.RTSP],
            ["media", "GetSnapshotUri", clients.PROFILE], MOVE, STATUS))
        self.assertEqual((information["Manufacturer"], profiles[0]["token"]), ("oxvif-mock", "Profile_1"))
        self.assertEqual(stream["Uri"], self.front.replace("http", "rtsp", 1) + "/mock/stream")
        self.assertEqual(snapshot["Uri"], f"{self.front}/mock/snapshot.jpg")
        self.assertEqual(Image.open(io.BytesIO(get(snapshot["Uri"]))).format, "BMP")
        at = status["Position"]
        self.assertEqual((at["PanTilt"]["x"], at["PanTilt"]["y"], at["Zoom"]["x"]), (-0.25, 0.125, 0.5))
        self.assertIsNone(uplink(self.admin, "camera-1")["deviceError"])

    def test_a_user_may_neither_move_it_nor_rename_it(self):
        address = self.uplink("User")
        rename = ["devicemgmt", "SetHostname", {"Name": "renamed"}]
        (before,) = self.answers(self.direct(STATUS))
        profiles, *refused = clients.ask(address, ["media", "GetProfiles", {}], MOVE, rename)
        self.assertEqual(self.answers([profiles])[0][0]["token"], "Profile_1")
        for step in refused:
            self.assertEqual((step.get("fault") or {}).get("subcodes"), ["NotAuthorized"], step)
        hostname, after = self.answers(self.direct(["devicemgmt", "GetHostname", {}], STATUS))
        self.assertEqual((hostname["Name"], after["Position"]), ("mock-camera", before["Position"]))
        # The camera would have done both.
        self.answers(self.direct(MOVE, rename))

    def test_a_wrong_password_is_502_with_its_cause_until_the_file_is_right(self):
        address = self.uplink("Operator", "wrong")
        for _ in range(2):
            status, head, body = status_of(address, SOAP.encode(), SOAP_TYPE)
            self.assertEqual((status, b"FailedAuthentication" in body), (502, False), body)
            self.assertIn("Retry-After", head)
        error = uplink(self.admin, "camera-1")["deviceError"]
        self.assertEqual((error["phase"], error["cause"]), ("device", "device-credentials-refused"))
        (self.dir / "password").write_text(PASSWORD + "\n")
        wait_for("the new password is taken", lambda: status_of(address, SOAP.encode(), SOAP_TYPE)[0] == 200)
        self.assertIsNone(uplink(self.admin, "camera-1")["deviceError"])


if __name__ == "__main__":
    unittest.main()
