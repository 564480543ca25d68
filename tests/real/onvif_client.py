"""Calls the uplink configuration service by onvif-python (zeep with ONVIF's own WSDL of 26.06); run by the Python of target/onvif.

Arguments: the address of the service or HOST:PORT of a device, `digest`, `token` or `none`, user, password, then operations as
JSON: [["SetUplink", {…}], …]. Prints one JSON object for each: {"answer": …}, or {"fault": {"code", "subcodes", "reason"}}.
"""

import json
import sys
from urllib.parse import urlparse

import zeep.helpers
from onvif.client import ONVIFClient
from onvif.operator import CacheMode
from onvif.services.devicemgmt import Device
from onvif.services.uplink import Uplink


def service(address, scheme, user, password):
    arguments = {"username": user or None, "password": password or None, "http_digest": scheme == "digest",
                 "timeout": 20, "cache": CacheMode.MEM}
    if "://" not in address:
        host, port = address.rsplit(":", 1)
        # As its users start it: it looks for the service in GetServices, and knows where to look without that.
        return ONVIFClient(host, int(port), **arguments).uplink()
    url = urlparse(address)
    kind = Device if url.path.endswith("device_service") else Uplink
    return kind(xaddr=address, host=url.hostname, port=url.port, **arguments)


def fault(error):
    """The fault of zeep within the exceptions of the client."""
    while error is not None and not isinstance(error, zeep.exceptions.Fault):
        error = getattr(error, "original_exception", None) or error.__cause__
    if error is None:
        return None
    subcodes = [code.split(":")[-1] if isinstance(code, str) else code.localname for code in error.subcodes or []]
    return {"code": str(error.code), "subcodes": subcodes, "reason": error.message}


def main():
    address, scheme, user, password, operations = sys.argv[1:]
    client = service(address, scheme, user, password)
    for name, arguments in json.loads(operations):
        try:
            answer = getattr(client, name)(**arguments)
            print(json.dumps({"answer": zeep.helpers.serialize_object(answer, dict)}, default=str))
        except Exception as error:  # what went wrong is what the test looks at
            print(json.dumps({"fault": fault(error), "error": f"{type(error).__name__}: {error}"}))


if __name__ == "__main__":
    main()
