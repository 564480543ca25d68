"""Uses a camera by onvif-python (zeep with ONVIF's own WSDL); run by the Python of target/onvif.

Arguments: HOST:PORT of a device or the address of its device service, `digest`, `token` or `none`, user, password, then steps as
JSON: [[service, operation, arguments], …] with the services devicemgmt, media, media2, ptz, imaging, events, and pullpoint and
subscription for the pull point that was opened last. By HOST:PORT the client finds the services itself, and mends addresses; by an address each
service is used at the address that GetServices gave, as it stands. Prints one JSON object for each step: {"answer", "invalid"}, the latter what
ONVIF's schema has against it, or {"fault", "error"}. zeep reads strictly.
"""

import json
import sys
from urllib.parse import urlparse

import zeep.helpers
from lxml import etree
from onvif import services
from onvif.client import ONVIFClient
from onvif.operator import CacheMode
from onvif_client import fault
from onvif_schema import Validator
from zeep.plugins import HistoryPlugin

KINDS = {"devicemgmt": ("Device", "http://www.onvif.org/ver10/device/wsdl"),
         "media": ("Media", "http://www.onvif.org/ver10/media/wsdl"),
         "media2": ("Media2", "http://www.onvif.org/ver20/media/wsdl"),
         "ptz": ("PTZ", "http://www.onvif.org/ver20/ptz/wsdl"),
         "imaging": ("Imaging", "http://www.onvif.org/ver20/imaging/wsdl"),
         "events": ("Events", "http://www.onvif.org/ver10/events/wsdl"),
         "pullpoint": ("PullPoint", None), "subscription": ("Subscription", None)}


class Camera:
    def __init__(self, address, scheme, user, password):
        self.history = HistoryPlugin()
        self.arguments = {"username": user or None, "password": password or None, "http_digest": scheme == "digest",
                          "timeout": 70, "cache": CacheMode.MEM, "plugins": [self.history]}
        self.url = urlparse(address) if "://" in address else None
        self.client, self.opened, self.known = None, None, {}
        if self.url is None:
            host, port = address.rsplit(":", 1)
            self.client = ONVIFClient(host, int(port), **self.arguments)

    def at(self, kind, address):
        return getattr(services, kind)(xaddr=address, host=self.url.hostname, port=self.url.port, **self.arguments)

    def service(self, name):
        if name not in self.known:
            self.known[name] = self.find(name)
            self.known[name].operator.client.settings.strict = True
        return self.known[name]

    def find(self, name):
        kind, namespace = KINDS[name]
        if self.client:
            return getattr(self.client, name)(*([self.opened] if namespace is None else []))
        if name == "devicemgmt":
            return self.at(kind, self.url.geturl())
        if namespace is None:
            return self.at(kind, self.opened["SubscriptionReference"]["Address"]["_value_1"])
        listed = self.service("devicemgmt").GetServices(IncludeCapability=False)
        return self.at(kind, next(entry.XAddr for entry in listed if entry.Namespace == namespace))

    def do(self, name, operation, arguments):
        answer = getattr(self.service(name), operation)(**arguments)
        if operation == "CreatePullPointSubscription":
            self.opened = answer
            self.known.pop("pullpoint", None), self.known.pop("subscription", None)
        return answer


def text(value):
    """What JSON has no form for; elements that zeep leaves as they are become XML."""
    return etree.tostring(value).decode() if isinstance(value, etree._Element) else str(value)


def main():
    address, scheme, user, password, steps = sys.argv[1:]
    camera, validator = Camera(address, scheme, user, password), Validator()
    for name, operation, arguments in json.loads(steps):
        try:
            answer = camera.do(name, operation, arguments)
            invalid = validator.errors(camera.history.last_received["envelope"])
            print(json.dumps({"answer": zeep.helpers.serialize_object(answer, dict), "invalid": invalid}, default=text))
        except Exception as error:  # what went wrong is what the test looks at
            print(json.dumps({"fault": fault(error), "error": f"{type(error).__name__}: {error}"}))


if __name__ == "__main__":
    main()
