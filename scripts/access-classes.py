#!/usr/bin/env python3
"""Makes src/model/access/classes.tsv from a checkout of the public repository onvif/specs:

    scripts/access-classes.py SPECS [--more-wsdl DIR] > src/model/access/classes.tsv
    scripts/access-classes.py SPECS --compare src/model/access/classes.tsv

The WSDL files say which operations exist and which element stands in the SOAP body of each; that element is the key, because
it is all that a message shows. Mostly it is the operation's own name; Renew, Unsubscribe and Subscribe are of the namespace
b-2, and four operations of the search service have elements that end in `Request`: for these both names are rows.

The documents say the class: each operation is a section with a `variablelist role="op"`, whose entry "access class" names it.
Titles are written freely ("Get users", "CreateSchedule command"), so they are compared without spaces, case and "command";
`Get<entity>Configurations` of Media2 stands for all of its kind. Misspelt classes are mended and the source says so. An
operation without a class keeps an empty column: nothing is guessed, but that every GetServiceCapabilities is PRE_AUTH.

The table in the tree was made from commit ae44f9ea (July 2026, after release 26.06). bw-2.wsdl of OASIS is not in the
repository; --more-wsdl names a directory with it.
"""

import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
DOCBOOK = "{http://docbook.org/ns/docbook}"
CLASSES = {"PRE_AUTH", "READ_SYSTEM", "READ_SYSTEM_SENSITIVE", "READ_SYSTEM_SECRET", "WRITE_SYSTEM", "UNRECOVERABLE",
           "READ_MEDIA", "ACTUATE"}
MISSPELT = {"SYSTEM_WRITE": "WRITE_SYSTEM", "SYSTEM_READ": "READ_SYSTEM", "READ MEDIA": "READ_MEDIA",
            "WRITE_SYSTEM_SECRET": "WRITE_SYSTEM"}
ONVIF = "http://www.onvif.org/ver"
NOTIFICATION = "http://docs.oasis-open.org/wsn/bw-2"
# Which namespaces a document describes.
DOCUMENTS = {
    "AccessControl": ["10/accesscontrol"], "AccessRules": ["10/accessrules"], "ActionEngine": ["10/actionengine"],
    "Analytics": ["20/analytics"], "AppMgmt": ["10/appmgmt"], "AuthenticationBehavior": ["10/authenticationbehavior"],
    "Core": ["10/device", "10/events", "10/analyticsdevice"], "Credential": ["10/credential"], "DeviceIo": ["10/deviceIO"],
    "Display": ["10/display"], "DoorControl": ["10/doorcontrol"], "Imaging": ["20/imaging"], "Media": ["10/media"],
    "Media2": ["20/media"], "PTZ": ["20/ptz"], "Provisioning": ["10/provisioning"], "Receiver": ["10/receiver"],
    "RecordingControl": ["10/recording"], "RecordingSearch": ["10/search", "10/federatedsearch"], "Replay": ["10/replay"],
    "Schedule": ["10/schedule"], "Security": ["10/advancedsecurity"], "Thermal": ["10/thermal"], "Uplink": ["10/uplink"],
}


def wsdl_operations(folders):
    """(namespace of the WSDL, operation) -> (namespace, name) of the element in the body of its request."""
    messages, operations = {}, {}
    for file in sorted(file for folder in folders for file in pathlib.Path(folder).rglob("*.wsdl")):
        root, prefixes = None, {}
        for event, value in ET.iterparse(file, events=("start-ns", "end")):
            if event == "start-ns":
                prefixes.setdefault(*value)
            else:
                root = value

        def name(text):
            prefix, _, local = text.rpartition(":")
            return prefixes.get(prefix, ""), local

        target = root.get("targetNamespace", "")
        for message in root.iter(WSDL + "message"):
            for part in message.iter(WSDL + "part"):
                if part.get("element"):
                    messages[target, message.get("name")] = name(part.get("element"))
        for kind in root.iter(WSDL + "portType"):
            for operation in kind.iter(WSDL + "operation"):
                given = operation.find(WSDL + "input")
                if given is not None:
                    operations[target, operation.get("name")] = name(given.get("message"))
    return {key: messages[message] for key, message in operations.items() if message in messages}


def plain(title):
    return re.sub(r"\(.*?\)|\bcommand\b|\s", "", title).lower()


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def documented(file):
    """Title and class of each operation that the document gives a class."""
    for section in ET.parse(file).iter(DOCBOOK + "section"):
        title = section.find(DOCBOOK + "title")
        for entries in section.findall(DOCBOOK + "variablelist"):
            if title is None or entries.get("role") != "op":
                continue
            for entry in entries.findall(DOCBOOK + "varlistentry"):
                term, item = entry.find(DOCBOOK + "term"), entry.find(DOCBOOK + "listitem")
                if term is not None and item is not None and text_of(term).lower() == "access class":
                    yield text_of(title), text_of(item)


def classes_of(documents, operations):
    """(namespace of the WSDL, operation) -> (class, source)."""
    found = {}
    for name, services in DOCUMENTS.items():
        file = documents / f"{name}.xml"
        if not file.exists():
            print(f"{file} is not there; its operations get no class", file=sys.stderr)
            continue
        namespaces = [f"{ONVIF}{service}/wsdl" for service in services]
        candidates = [key for key in operations if key[0] in namespaces or (name == "Core" and key[0] == NOTIFICATION)]
        for title, printed in documented(file):
            access = MISSPELT.get(printed, printed)
            if access not in CLASSES:
                print(f"{file}: {title}: `{printed}` is no class", file=sys.stderr)
                continue
            source = f"doc/{name}.xml § {title}" + ("" if access == printed else f" [printed as {printed}]")
            pattern = re.sub(r"\\?<\\?w*entity\\?>", r"\\w+", re.escape(plain(title)))
            for key in candidates:
                if re.fullmatch(pattern, key[1].lower()):
                    # A section of its own counts more than a template.
                    if key not in found or "<" not in title:
                        found[key] = (access, source)
    for key in operations:
        if key[1] == "GetServiceCapabilities" and key not in found:
            found[key] = ("PRE_AUTH", "inferred: every documented GetServiceCapabilities is PRE_AUTH")
    return found


def table(specs, more):
    operations = wsdl_operations([specs / "wsdl", *more])
    classes = classes_of(specs / "doc", operations)
    rows = {}
    for key, element in operations.items():
        for name in {element, key} if key[0] != NOTIFICATION else {element}:
            if classes.get(key) or name not in rows:
                rows[name] = classes.get(key, ("", ""))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", type=pathlib.Path, help="checkout of onvif/specs")
    parser.add_argument("--more-wsdl", action="append", default=[], type=pathlib.Path, help="a directory with bw-2.wsdl")
    parser.add_argument("--compare", type=pathlib.Path, help="print what differs from this table, and end with 1 if something does")
    arguments = parser.parse_args()
    rows = table(arguments.specs, arguments.more_wsdl)
    lines = [f"{ns}\t{name}\t{access}\t{source}" for (ns, name), (access, source) in sorted(rows.items())]
    if not arguments.compare:
        print("namespace\toperation\tclass\tsource")
        print("\n".join(lines))
        return 0
    old = {tuple(line.split("\t")[:3]) for line in arguments.compare.read_text().splitlines()[1:]}
    new = {tuple(line.split("\t")[:3]) for line in lines}
    for sign, difference in (("-", old - new), ("+", new - old)):
        for row in sorted(difference):
            print(sign, *row)
    return int(old != new)


if __name__ == "__main__":
    sys.exit(main())
