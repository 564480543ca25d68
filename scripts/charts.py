#!/usr/bin/env python3
"""Keeps what is derived from the charts' values.yaml in step: values.schema.json and the table in each README.md.

    scripts/charts.py [--onvif-uplink FILE]            write them
    scripts/charts.py --check [--onvif-uplink FILE]    say what is stale, and end with 1 if anything is

The form of values.yaml, which is read line by line because comments count: `# -- ` before a key describes it, a mark behind the key says
what its schema cannot be guessed from: `@enum A B` (the default is allowed too), `@pattern REGEX`, `@min N`, `@port`, `@items TYPE`,
`@open` (a map that may have other keys), `@config` (the program's own schema) and `@sidecar` (the values of the library, checked by its
schema). A map with keys takes no others; an empty one takes any.

The program's schema comes from `onvif-uplink check --print-schema`. It is rewritten for draft 7, which every Helm reads.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHARTS = ("onvif-uplink-lib", "onvif-uplink", "onvif-uplink-gateway")
MARKERS = ("<!-- values -->", "<!-- end of values -->")
LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w-]*):(?P<rest>.*)$")
TYPES = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object", type(None): "null"}


class Value:
    """One key of values.yaml: its path, default, description and mark."""

    def __init__(self, path, default, text, mark):
        self.path, self.default, self.text, self.mark = path, default, text, mark


def read_values(file):
    """All described keys of a values.yaml, in its order."""
    document = yaml.safe_load(file.read_text())
    values, parents, text = [], [], []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("# -- "):
            text = [stripped[5:]]
        elif stripped.startswith("#") and text:
            text.append(stripped[1:].strip())
        elif match := LINE.match(line):
            depth = len(match["indent"])
            parents = [(at, key) for at, key in parents if at < depth] + [(depth, match["key"])]
            path = tuple(key for _, key in parents)
            mark = re.search(r"#.*?@(.+)$", match["rest"])
            inside = any(value.path == path[: len(value.path)] and opaque(value) for value in values)
            if inside:
                continue
            default = document
            for key in path:
                default = default[key]
            if not text and not isinstance(default, dict):
                raise SystemExit(f"{file}:{number}: {'.'.join(path)} has no description: write `# -- …` above it")
            values.append(Value(path, default, " ".join(text), mark[1].strip() if mark else ""))
            text = []
        elif not stripped:
            text = []
    return values


def opaque(value):
    """Whether the keys below are no values of their own: an open map, the configuration."""
    return value.mark.split(" ")[0] in ("open", "config", "sidecar") or (bool(value.text) and isinstance(value.default, dict))


def schema_of(value):
    word, _, rest = value.mark.partition(" ")
    schema = {"type": TYPES[type(value.default)]}
    if word == "enum":
        schema = {"enum": sorted({*rest.split(), value.default})}
    elif word == "pattern":
        schema["pattern"] = rest
    elif word == "min":
        schema["minimum"] = int(rest)
    elif word == "port":
        schema |= {"minimum": 1, "maximum": 65535}
    elif word == "items":
        schema["items"] = {"type": rest}
    elif word == "config":
        return {"$ref": "#/definitions/Configuration"}
    elif word == "sidecar":
        schema = {
            "type": "object",
            "properties": {
                # It stands at the top of this chart's values; the library's default is empty.
                "config": {"type": "object", "properties": {"devices": {"maxItems": 0}}},
            },
        }
    elif isinstance(value.default, dict):
        # A null takes a default away: `runAsUser: null`, `livenessProbe: null`.
        schema["type"] = ["object", "null"]
    if value.text:
        schema["description"] = value.text
    return schema


def draft7(node):
    """The program's schema in the words of draft 7: definitions, and nothing beside a $ref."""
    if isinstance(node, list):
        return [draft7(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"].replace("#/$defs/", "#/definitions/")}
    # Formats such as uint32 are the program's own words. A key of that name would be a map.
    return {
        key: draft7(item)
        for key, item in node.items()
        if key not in ("$schema", "$defs") and not (key == "format" and isinstance(item, str))
    }


def chart_schema(chart, values, program):
    root = {"type": "object", "properties": {}, "additionalProperties": False}
    for value in values:
        at = root
        for key in value.path[:-1]:
            at = at["properties"][key]
        if isinstance(value.default, dict) and not opaque(value):
            at["properties"][value.path[-1]] = {"type": "object", "properties": {}, "additionalProperties": False}
        else:
            at["properties"][value.path[-1]] = schema_of(value)
    # Helm itself adds it to the values of dependencies.
    root["properties"]["global"] = {"type": "object"}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": chart}
    if any(value.mark == "config" for value in values):
        definitions = {name: draft7(item) for name, item in program.get("$defs", {}).items()}
        root["definitions"] = {"Configuration": draft7(program), **definitions}
    return json.dumps(head | root, indent=2, ensure_ascii=False) + "\n"


def table(values):
    rows = ["| Value | Default | Meaning |", "|---|---|---|"]
    for value in values:
        if not value.text:
            continue
        default = json.dumps(value.default, ensure_ascii=False)
        shown = f"`{default}`" if len(default) <= 60 else "see values.yaml"
        choice = re.match(r"enum (.+)", value.mark)
        text = value.text + (f" ({', '.join(f'`{word}`' for word in choice[1].split())})" if choice and "`" not in value.text else "")
        rows.append(f"| `{'.'.join(value.path)}` | {shown} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def readme(file, values):
    text = file.read_text() if file.exists() else "\n".join(MARKERS) + "\n"
    before, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    if not rest or MARKERS[1] not in rest:
        raise SystemExit(f"{file}: the lines {MARKERS[0]} and {MARKERS[1]} are missing, between which the table goes")
    return f"{before}{MARKERS[0]}\n{table(values)}\n{MARKERS[1]}{after}"


def find_program(given):
    candidates = [given] if given else [ROOT / "target" / profile / "onvif-uplink" for profile in ("demo", "debug", "release")]
    for candidate in candidates:
        if candidate and pathlib.Path(candidate).exists():
            return candidate
    raise SystemExit("no onvif-uplink to ask for the schema of the configuration: build it, or name it with --onvif-uplink FILE")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, say what is stale")
    parser.add_argument("--onvif-uplink", metavar="FILE", help="the program whose schema is embedded")
    arguments = parser.parse_args()
    printed = subprocess.run([find_program(arguments.onvif_uplink), "check", "--print-schema"], check=True, capture_output=True, text=True)
    program, stale = json.loads(printed.stdout), []
    for chart in CHARTS:
        directory = ROOT / "charts" / chart
        values = read_values(directory / "values.yaml")
        for file, wanted in (
            (directory / "values.schema.json", chart_schema(chart, values, program)),
            (directory / "README.md", readme(directory / "README.md", values)),
        ):
            if file.exists() and file.read_text() == wanted:
                continue
            stale.append(str(file.relative_to(ROOT)))
            if not arguments.check:
                file.write_text(wanted)
    for name in stale:
        print(f"{name}: {'is stale; run scripts/charts.py' if arguments.check else 'written'}")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
