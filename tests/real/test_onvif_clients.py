"""ONVIF clients that we did not write use the emulator, directly and through gateway and uplink: PyPI's onvif-python, whose answers are also
validated against ONVIF's schemas, and npm's onvif. The emulator names itself by an address of a network that nobody here can reach."""

import io
import json
import os
import subprocess
import unittest

from PIL import Image
from support import (BINARY, ROOT, TARGET, Case, Pki, document, free_port, get, listens, need, uplink, wait_for)
from test_camera import assert_every_picture
from test_tokens import NODE

PYTHON = TARGET / "onvif" / "bin" / "python"
NPM = TARGET / "onvif-npm"
# What the emulator takes for its own address.
OWN = "192.168.1.10"
PROFILE = {"ProfileToken": "Profile_1"}
USER, PASSWORD = "admin", "pass word 7"
SOURCE = {"VideoSourceToken": "VideoSource_1"}
RTSP = {"StreamSetup": {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}, **PROFILE}


def ask(address, *steps, scheme="none", user="", password=""):
    """Performs steps one after the other; a list of what onvif_camera.py prints."""
    command = [PYTHON, ROOT / "tests/real/onvif_camera.py", address, scheme, user, password, json.dumps(steps)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=180)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == len(steps), done.stdout + done.stderr
    return answers


# Every operation of the emulator, in an order in which each has something to do.
EVERYTHING = (
    [["devicemgmt", name, {}] for name in (
        "GetDeviceInformation", "GetSystemDateAndTime", "GetServiceCapabilities", "GetScopes", "GetHostname", "GetDNS", "GetNTP",
        "GetNetworkInterfaces", "GetNetworkDefaultGateway", "GetNetworkProtocols", "GetDiscoveryMode", "GetUsers", "GetSystemUris",
        "SystemReboot")]
    + [["devicemgmt", "GetServices", {"IncludeCapability": True}], ["devicemgmt", "GetCapabilities", {"Category": "All"}],
       ["devicemgmt", "GetSystemLog", {"LogType": "System"}]]
    + [["media", name, {}] for name in (
        "GetServiceCapabilities", "GetProfiles", "GetVideoSources", "GetVideoSourceConfigurations",
        "GetVideoEncoderConfigurations", "GetVideoEncoderConfigurationOptions")]
    + [["media", name, PROFILE] for name in ("GetProfile", "GetSnapshotUri", "SetSynchronizationPoint")]
    + [["media", "GetVideoEncoderConfiguration", {"ConfigurationToken": "VideoEncoder_1"}],
       ["media", "GetVideoSourceConfiguration", {"ConfigurationToken": "VideoSourceConfig_1"}], ["media", "GetStreamUri", RTSP]]
    + [["media2", name, {}] for name in (
        "GetServiceCapabilities", "GetVideoEncoderConfigurations", "GetVideoSourceConfigurations",
        "GetVideoEncoderConfigurationOptions")]
    + [["media2", "GetProfiles", {"Type": ["All"]}], ["media2", "GetStreamUri", {"Protocol": "RTSP", **PROFILE}],
       ["media2", "GetSnapshotUri", PROFILE], ["media2", "SetSynchronizationPoint", PROFILE]]
    + [["ptz", name, {}] for name in ("GetServiceCapabilities", "GetNodes", "GetConfigurations")]
    + [["ptz", "GetNode", {"NodeToken": "PTZNode_1"}], ["ptz", "GetConfiguration", {"PTZConfigurationToken": "PTZConfig_1"}],
       ["ptz", "GetConfigurationOptions", {"ConfigurationToken": "PTZConfig_1"}], ["ptz", "GetCompatibleConfigurations", PROFILE],
       ["ptz", "SetPreset", {"PresetName": "gate", **PROFILE}], ["ptz", "GetPresets", PROFILE],
       ["ptz", "GotoPreset", {"PresetToken": "1", **PROFILE}], ["ptz", "RemovePreset", {"PresetToken": "1", **PROFILE}],
       ["ptz", "ContinuousMove", {"Velocity": {"PanTilt": {"x": 1, "y": 0}}, **PROFILE}], ["ptz", "Stop", PROFILE],
       ["ptz", "RelativeMove", {"Translation": {"PanTilt": {"x": 0.1, "y": 0.1}}, **PROFILE}],
       ["ptz", "AbsoluteMove", {"Position": {"PanTilt": {"x": 0.1, "y": 0.1}, "Zoom": {"x": 0.2}}, **PROFILE}],
       ["ptz", "GetStatus", PROFILE], ["ptz", "GotoHomePosition", PROFILE]]
    + [["imaging", name, SOURCE] for name in ("GetImagingSettings", "GetOptions", "GetMoveOptions", "GetStatus")]
    + [["imaging", "GetServiceCapabilities", {}], ["imaging", "SetImagingSettings", {"ImagingSettings": {"Brightness": 80}, **SOURCE}]]
    + [["events", name, {}] for name in ("GetServiceCapabilities", "GetEventProperties", "CreatePullPointSubscription")]
    + [["pullpoint", "PullMessages", {"Timeout": "PT10S", "MessageLimit": 5}]] * 2
    + [["pullpoint", "SetSynchronizationPoint", {}], ["subscription", "Renew", {"TerminationTime": "PT60S"}],
       ["subscription", "Unsubscribe", {}]])


class OnvifClients(Case):
    def setUp(self):
        super().setUp()
        if not PYTHON.exists():
            raise unittest.SkipTest("onvif-python not installed: make install-test-tools")

    def camera(self, *flags):
        """The emulator; its ports are `self.http` and `self.rtsp`."""
        self.http, self.rtsp = free_port(), free_port()
        self.start("camera", [BINARY, "camera", "--http", f"127.0.0.1:{self.http}", "--rtsp", f"127.0.0.1:{self.rtsp}", *flags])
        wait_for("the camera listens", lambda: listens(self.http) and listens(self.rtsp))

    def uplink(self, level, keys=()):
        """Gateway and sidecar for the emulator; returns the address of its device service at the front."""
        pki = Pki(self.dir / "pki")
        pki.client("camera-1")
        self.players = free_port()
        listen, front = self.start_gateway(pki, "--rtsp", f"127.0.0.1:{self.players}")
        config = self.dir / "uplinks.yaml"
        config.write_text(document(pki, [("camera-1", self.http, level)], f"https://localhost:{listen}/uplink",
                                   keys=[f"rtsp: rtsp://127.0.0.1:{self.rtsp}", *keys]))
        _, admin = self.start_sidecar(config)
        wait_for("the uplink", lambda: uplink(admin, "camera-1")["status"] == "Online")
        self.front = f"http://127.0.0.1:{front}/camera-1"
        return f"{self.front}/onvif/device_service"

    def answered(self, step):
        self.assertIn("answer", step, step)
        self.assertEqual(step["invalid"], [])
        return step["answer"]

    def ask(self, address, *steps, **account):
        """The answers to steps none of which is refused."""
        return [self.answered(step) for step in ask(address, *steps, **account)]

    def assert_picture(self, address):
        self.assertEqual(Image.open(io.BytesIO(get(address))).size, (640, 360))

    def python(self, address, base, stream, **account):
        """What a user of onvif-python does with a camera whose addresses begin with `base`."""
        information, profiles, uri, snapshot, *_ = self.ask(
            address, ["devicemgmt", "GetDeviceInformation", {}], ["media", "GetProfiles", {}], ["media", "GetStreamUri", RTSP],
            ["media2", "GetSnapshotUri", PROFILE],
            ["ptz", "AbsoluteMove", {"Position": {"PanTilt": {"x": -0.25, "y": 0.125}, "Zoom": {"x": 0.5}}, **PROFILE}], **account)
        self.assertEqual((information["SerialNumber"], profiles[0]["token"]), ("camera-1", "Profile_1"))
        self.assertEqual((uri["Uri"], snapshot), (stream, f"{base}/snapshot.jpg"))

        def arrived():
            (status,) = self.ask(address, ["ptz", "GetStatus", PROFILE], **account)
            at = status["Position"]
            return (at["PanTilt"]["x"], at["PanTilt"]["y"], at["Zoom"]["x"]) == (-0.25, 0.125, 0.5)

        wait_for("the position in the status", arrived)
        opened, first, second, _ = self.ask(
            address, ["events", "CreatePullPointSubscription", {}],
            *[["pullpoint", "PullMessages", {"Timeout": "PT20S", "MessageLimit": 1}]] * 2, ["subscription", "Unsubscribe", {}], **account)
        reference = opened["SubscriptionReference"]["Address"]["_value_1"]
        self.assertTrue(reference.startswith(f"{base}/onvif/subscription/"), reference)
        for pulled, kind in ((first, "Initialized"), (second, "Changed")):
            self.assertIn(kind, str(pulled["NotificationMessage"][0]["Message"]))

    def npm(self, host, port, path, *account):
        """What npm's onvif finds."""
        if not (NPM / "node_modules" / "onvif").exists() or not NODE.exists():
            raise unittest.SkipTest("npm's onvif not installed: make install-test-tools")
        command = [NODE.resolve(), ROOT / "tests/real/onvif_npm/camera.cjs", host, port, path, *account]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120,
                              env=dict(os.environ, ONVIF_HOME=str(NPM.resolve())))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def assert_found(self, found, base, stream):
        """Npm's onvif used all of a camera whose addresses begin with `base`."""
        self.assertEqual(found["refused"], {})
        self.assertEqual((found["information"]["serialNumber"], found["profiles"]), ("camera-1", ["Profile_1"]))
        self.assertEqual(found["position"], {"x": -0.25, "y": 0.125, "zoom": 0.5})
        self.assertEqual((found["stream"]["uri"], found["snapshot"]["uri"]), (stream, f"{base}/snapshot.jpg"))
        self.assertEqual(found["events"], [["Initialized"], ["Changed"]])
        for address in [*found["services"], found["pullPoint"]]:
            self.assertTrue(address.startswith(f"{base}/onvif/"), address)

    def test_every_answer_of_the_emulator_is_valid(self):
        self.camera()
        for step, answer in zip(EVERYTHING, ask(f"127.0.0.1:{self.http}", *EVERYTHING)):
            with self.subTest(step[:2]):
                self.answered(answer)

    def test_onvif_python_directly(self):
        self.camera()
        base = f"http://127.0.0.1:{self.http}"
        self.python(f"127.0.0.1:{self.http}", base, f"rtsp://127.0.0.1:{self.rtsp}/stream")

    def test_npms_onvif_directly(self):
        self.camera()
        found = self.npm("127.0.0.1", self.http, "/onvif/device_service")
        self.assert_found(found, f"http://127.0.0.1:{self.http}", f"rtsp://127.0.0.1:{self.rtsp}/stream")

    def test_the_emulator_names_itself_by_its_own_network(self):
        self.camera("--advertise", OWN)
        services, uri = self.ask(f"http://127.0.0.1:{self.http}/onvif/device_service",
                                 ["devicemgmt", "GetServices", {"IncludeCapability": False}], ["devicemgmt", "GetSystemUris", {}])
        self.assertEqual({service["XAddr"].rsplit("/", 1)[0] for service in services}, {f"http://{OWN}/onvif"})
        self.assertIn(f"http://{OWN}/system.log", str(uri))

    def test_onvif_python_through_gateway_and_uplink(self):
        self.camera("--advertise", OWN)
        address = self.uplink("Operator")
        stream = f"rtsp://127.0.0.1:{self.players}/camera-1/stream"
        self.python(address, self.front, stream)
        self.assert_picture(f"{self.front}/snapshot.jpg")

    def test_npms_onvif_through_gateway_and_uplink(self):
        self.camera("--advertise", OWN)
        self.uplink("Operator")
        host, port = self.front.split("/")[2].split(":")
        found = self.npm(host, port, "/camera-1/onvif/device_service")
        self.assert_found(found, self.front, f"rtsp://127.0.0.1:{self.players}/camera-1/stream")
        self.assert_picture(found["snapshot"]["uri"])

    def test_the_stream_address_that_comes_through_the_uplink_plays(self):
        need("ffmpeg")
        self.camera("--advertise", OWN)
        uri, _ = self.ask(self.uplink("User"), ["media", "GetStreamUri", RTSP], ["media2", "GetProfiles", {}])
        assert_every_picture(self, uri["Uri"], "tcp")

    def test_a_user_sees_and_does_not_move(self):
        self.camera("--advertise", OWN)
        address = self.uplink("User")
        refused = ask(address, ["ptz", "ContinuousMove", {"Velocity": {"PanTilt": {"x": 1, "y": 0}}, **PROFILE}],
                      ["imaging", "SetImagingSettings", {"ImagingSettings": {"Brightness": 90}, **SOURCE}],
                      ["devicemgmt", "SystemReboot", {}])
        for step in refused:
            self.assertEqual((step.get("fault") or {}).get("subcodes"), ["NotAuthorized"], step)
        status, uri, settings, _ = self.ask(address, ["ptz", "GetStatus", PROFILE], ["media", "GetSnapshotUri", PROFILE],
                                            ["imaging", "GetImagingSettings", SOURCE], ["events", "CreatePullPointSubscription", {}])
        self.assertEqual((status["Position"]["PanTilt"]["x"], settings["Brightness"]), (0, 50))
        self.assert_picture(uri["Uri"])
        host, port = self.front.split("/")[2].split(":")
        found = self.npm(host, port, "/camera-1/onvif/device_service")
        self.assertEqual(set(found["refused"]), {"move", "setImage"})
        self.assertEqual(found["position"]["x"], 0)

    def protected(self, *flags):
        """The emulator, which wants an account for its web service and for its video; returns the lines of the sidecar's document."""
        account, password = self.dir / "account", self.dir / "password"
        account.write_text(f"{USER}:{PASSWORD}\n")
        password.write_text(PASSWORD + "\n")
        self.camera("--advertise", OWN, "--credentials-file", account, "--rtsp-credentials-file", account, *flags)
        return ["credentials:", f"  Administrator: {{ username: {USER}, passwordFile: {password} }}"]

    def test_a_protected_camera_knows_its_account_directly(self):
        for auth, scheme in (("digest", "digest"), ("wsse", "token")):
            with self.subTest(auth):
                self.protected("--auth", auth)
                address = f"http://127.0.0.1:{self.http}/onvif/device_service"
                refused = ask(address, ["devicemgmt", "GetUsers", {}], scheme=scheme, user=USER, password="wrong")
                self.assertNotIn("answer", refused[0])
                (users,) = self.ask(address, ["devicemgmt", "GetUsers", {}], scheme=scheme, user=USER, password=PASSWORD)
                self.assertEqual(users[0]["Username"], USER)

    def through_without_a_password(self, *flags):
        address = self.uplink("Operator", self.protected(*flags))
        stream = f"rtsp://127.0.0.1:{self.players}/camera-1/stream"
        self.python(address, self.front, stream)
        host, port = self.front.split("/")[2].split(":")
        found = self.npm(host, port, "/camera-1/onvif/device_service")
        self.assert_found(found, self.front, stream)
        self.assert_picture(found["snapshot"]["uri"])
        need("ffmpeg")
        assert_every_picture(self, stream, "tcp")

    def test_a_camera_that_wants_digest_is_used_without_a_password(self):
        self.through_without_a_password("--auth", "digest")

    def test_a_camera_that_wants_sha_256_is_used_without_a_password(self):
        self.through_without_a_password("--auth", "digest-sha256")

    def test_a_camera_that_wants_tokens_in_its_own_wrong_time_is_used_without_a_password(self):
        self.through_without_a_password("--auth", "wsse", "--clock-skew", "3600")


if __name__ == "__main__":
    unittest.main()
