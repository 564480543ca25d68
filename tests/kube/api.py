"""A pod whose sidecar follows its ConfigMap over the API, with exactly the rights that docs/kubernetes.md gives it."""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request

import node
from kube import TLS, Case, configuration, named

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
LEEWAY = 60  # seconds that the API server takes a token after its end
READ = ["get", "list", "watch"]


def rule(resource, *names, verbs=READ, group=""):
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)} | ({"resourceNames": list(names)} if names else {})


class Client:
    """The API server by plain HTTP, as the administrator of the node or by a token; faster than a kubectl for each edit."""

    def __init__(self, token=None):
        context = ssl.create_default_context(cafile=node.HOME / "pki/ca.crt")
        if not token:
            context.load_cert_chain(node.HOME / "pki/admin.crt", node.HOME / "pki/admin.key")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))

    def ask(self, method, path, body=None, kind="application/merge-patch+json"):
        """Status and answer; a refusal is an answer as well."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(node.API + path, data, self.headers | {"Content-Type": kind}, method=method)
        try:
            with self.opener.open(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


class ApiCase(Case):
    """A gateway; `api_pod` makes the rest."""

    def setUp(self):
        super().setUp()
        self.gateway()
        self.client = Client()

    def grant(self, *rules):
        """The one Role of the sidecar; replaces what it had."""
        subject = {"kind": "ServiceAccount", "name": "camera", "namespace": self.namespace}
        self.apply(named("ServiceAccount", "camera"),
                   named("Role", "camera", "rbac.authorization.k8s.io/v1", rules=list(rules)),
                   named("RoleBinding", "camera", "rbac.authorization.k8s.io/v1", subjects=[subject],
                         roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "camera"}))

    def api_pod(self, *arguments, devices=("camera-1",), rules=None, text=None, token=None, mounts=(), volumes=(), environment=(),
                name="camera"):
        """The pod `name`, whose sidecar follows the ConfigMap `uplinks`; returns its address. `token`: the volume it comes from."""
        self.devices = devices
        self.grant(*(rules if rules is not None else [rule("configmaps", "uplinks")]))
        for device in devices:
            self.identity(device)
        self.config_map(text or configuration(*devices))
        sidecar = self.sidecar("--configmap", f"{self.namespace}/uplinks", *arguments)
        sidecar["volumeMounts"] = [{"name": device, "mountPath": f"{TLS}/{device}"} for device in devices]
        sidecar["volumeMounts"] += [{"name": "api", "mountPath": SERVICE_ACCOUNT}, *mounts]
        sidecar["env"] = [*environment, *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in (
            ("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"), ("POD_UID", "metadata.uid")))]
        spec = self.spec(sidecar=sidecar, serviceAccountName="camera")
        spec["volumes"] = [*spec["volumes"][1:], token or projected(), *volumes]
        self.pod(name, spec.pop("containers"), **spec)
        return self.ready(name)

    def edit(self, text):
        """One accepted patch of the document, as quickly as may be."""
        status, answer = self.client.ask("PATCH", f"/api/v1/namespaces/{self.namespace}/configmaps/uplinks",
                                         {"data": {"uplinks.yaml": text}})
        self.assertEqual(status, 200, answer)

    def errors(self, address):
        return json.dumps(self.status(address)["config"]["errors"])

    def short_token(self, seconds):
        """A ServiceAccount token of fewer seconds than the API server itself gives out (600), signed by its key."""
        account = self.object("serviceaccount", "camera")["metadata"]
        now = int(time.time())
        claims = {"iss": "https://kubernetes.default.svc", "aud": ["https://kubernetes.default.svc"], "iat": now - 3600, "nbf": now - 3600,
                  "exp": now + seconds - LEEWAY, "sub": f"system:serviceaccount:{self.namespace}:camera",
                  "kubernetes.io": {"namespace": self.namespace, "serviceaccount": {"name": "camera", "uid": account["uid"]}}}
        text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        (self.dir / "token").write_text(text)
        self.pki.openssl("dgst", "-sha256", "-sign", str(node.HOME / "pki/sa.key"), "-out", str(self.dir / "signature"),
                         str(self.dir / "token"))
        return f"{text}.{encode((self.dir / 'signature').read_bytes())}"


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def projected():
    """As the kubelet mounts it by itself, but into one container only."""
    return {"name": "api", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}
