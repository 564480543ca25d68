"""The smallest real deployment, as the README prints it: its key commands, its document, its two commands."""

import re
import subprocess

from support import BINARY, Case, ROOT, free_port, get, listens, need, wait_for


class Readme(Case):
    def setUp(self):
        super().setUp()
        need("openssl")
        text = (ROOT / "README.md").read_text()
        text = text[text.index("## The smallest real deployment"):]
        # The README's ports are fixed; here each is free.
        self.ports = {name: free_port() for name in ("8443", "8800", "8080", "9600", "9601")}
        for name, port in self.ports.items():
            text = text.replace(f":{name}", f":{port}")
        self.blocks = re.findall(r"```(yaml)?\n(.*?)```", text, re.S)

    def block(self, word):
        return next(body for _, body in self.blocks if word in body)

    def front(self, path):
        return f"http://127.0.0.1:{self.ports['8800']}{path}"

    def test_the_printed_commands_make_a_camera_reachable(self):
        subprocess.run(["sh", "-e", "-c", self.block("mkdir pki")], cwd=self.dir, check=True, capture_output=True)
        (self.dir / "uplinks.yaml").write_text(self.block("devices:\n  - name: camera-1"))
        camera = ["camera", "--http", f"127.0.0.1:{self.ports['8080']}"]
        self.start("camera", [BINARY, *camera], cwd=self.dir)
        command = self.block("onvif-uplink gateway --listen").replace("\\\n", " ").split()
        self.start("gateway", [BINARY, *command[1:], "--admin", f"127.0.0.1:{self.ports['9601']}"], cwd=self.dir)
        wait_for("the gateway listens", lambda: listens(self.ports["8443"]))
        check, run = (line.split() for line in self.block("onvif-uplink check uplinks.yaml\nonvif-uplink run").splitlines())
        subprocess.run([BINARY, *check[1:]], cwd=self.dir, check=True)
        self.start("sidecar", [BINARY, *run[1:], "--admin", f"127.0.0.1:{self.ports['9600']}"], cwd=self.dir)
        wait_for("the gateway lists camera-1",
                 lambda: b"camera-1" in get(self.front("/devices"), {"Accept": "application/json"}))
        self.assertEqual(get(self.front("/camera-1/snapshot.jpg"))[:2], b"\xff\xd8")
        shown = subprocess.run([BINARY, "status", "--admin", f"127.0.0.1:{self.ports['9600']}"], check=True,
                               capture_output=True).stdout.decode()
        self.assertIn("camera-1", shown)
        self.assertIn("Online", shown)
