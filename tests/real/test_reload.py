"""The configuration in a directory like a mounted ConfigMap: `..data` is a symlink that is swapped whole."""

import hashlib
import os
import threading

from support import Case, Pki, document, get, metric, need, status, uplink, wait_for

FILE_BYTES = 48 << 20
RATE = "2m"  # bytes per second: the download lasts 24 s, longer than all reloads together
LEVELS = ["Operator", "User"]


class Mount:
    """Writes as the kubelet does: a new time-stamped directory, then `..data` renamed over the old link."""

    def __init__(self, folder):
        self.folder, self.number = folder, 0
        folder.mkdir()

    def write(self, text):
        self.number += 1
        version = f"..2026_01_01_00_00_{self.number:02}"
        (self.folder / version).mkdir()
        (self.folder / version / "uplinks.yaml").write_text(text)
        os.symlink(version, self.folder / "..data_tmp")
        old = os.readlink(self.folder / "..data") if (self.folder / "..data").is_symlink() else None
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
        if not (self.folder / "uplinks.yaml").is_symlink():
            os.symlink("..data/uplinks.yaml", self.folder / "uplinks.yaml")
        if old:
            (self.folder / old / "uplinks.yaml").unlink()
            (self.folder / old).rmdir()


class Reload(Case):
    def setUp(self):
        super().setUp()
        need("nginx")
        (self.dir / "www").mkdir()
        self.content = hashlib.sha512(b"reload").digest() * (FILE_BYTES // 64)
        (self.dir / "www" / "long.bin").write_bytes(self.content)
        self.port = self.start_nginx(f"limit_rate {RATE};")
        self.pki = Pki(self.dir / "pki")
        for name in ("camera-1", "camera-2"):
            self.pki.client(name)
        self.listen, self.front = self.start_gateway(self.pki)
        self.mount = Mount(self.dir / "mount")

    def text(self, level):
        devices = [("camera-1", self.port, "Administrator"), ("camera-2", self.port, level)]
        return document(self.pki, devices, f"https://localhost:{self.listen}/uplink")

    def test_a_long_download_survives_ten_reloads_and_a_bad_edit(self):
        self.mount.write(self.text("Administrator"))
        _, admin = self.start_sidecar(self.mount.folder / "uplinks.yaml")
        for name in ("camera-1", "camera-2"):
            wait_for(f"{name} is online", lambda: uplink(admin, name)["status"] == "Online")
        since = uplink(admin, "camera-1")["session"]["since"]
        outcome = {}

        def download():
            try:
                outcome["body"] = get(f"http://127.0.0.1:{self.front}/camera-1/long.bin", timeout=60)
            except OSError as error:
                outcome["error"] = error

        thread = threading.Thread(target=download)
        thread.start()
        wait_for("the download runs", lambda: uplink(admin, "camera-1")["session"]["bytesSent"] > 1 << 20)
        for number in range(10):
            generation = status(admin)["generation"]
            self.mount.write(self.text(LEVELS[number % 2]))
            wait_for(f"reload {number + 1} is applied", lambda: status(admin)["generation"] > generation)
        generation = status(admin)["generation"]
        reloads = metric(admin, "onvif_uplink_config_reloads_total")
        self.mount.write("devices: [ this is: not a document\n")
        wait_for("the bad edit is seen", lambda: metric(admin, "onvif_uplink_config_reloads_total") > reloads)
        self.assertEqual(status(admin)["generation"], generation, "a bad edit must not become a generation")
        self.assertTrue(thread.is_alive(), "the download ended before the last edit: nothing was proven")
        thread.join(90)
        self.assertNotIn("error", outcome)
        self.assertEqual(hashlib.sha256(outcome["body"]).digest(), hashlib.sha256(self.content).digest())
        self.assertEqual(uplink(admin, "camera-1")["session"]["since"], since, "the untouched uplink was connected anew")

    def test_a_document_that_comes_later_and_a_removed_device(self):
        _, admin = self.start_sidecar(self.mount.folder / "uplinks.yaml")
        self.assertEqual(status(admin)["uplinks"], [])
        self.mount.write(self.text("User"))
        wait_for("camera-2 is online", lambda: uplink(admin, "camera-2")["status"] == "Online")
        self.mount.write(document(self.pki, [("camera-1", self.port, "Administrator")],
                                  f"https://localhost:{self.listen}/uplink"))
        wait_for("camera-2 is gone", lambda: [entry["device"] for entry in status(admin)["uplinks"]] == ["camera-1"])
        wait_for("camera-1 is still online", lambda: uplink(admin, "camera-1")["status"] == "Online")
