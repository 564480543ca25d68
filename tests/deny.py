#!/usr/bin/env python3
"""Licences, bans and sources of all dependencies by the rules of deny.toml, with nothing but cargo and Python 3.11.

cargo-deny is the better judge (it reads licence texts and knows advisories), but it takes longer to build than all of this
project, so `make lint` always runs this and cargo-deny only where it is installed. Both read the same deny.toml.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def metadata(targets):
    """What cargo resolved for these targets, with all features and the development dependencies."""
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
    for target in targets:
        command += ["--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def allows(expression, allowed):
    """Whether an SPDX expression can be met by the allowed licences; AND binds tighter than OR, `/` is an old OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        good = both()
        while tokens[:1] == ["OR"]:
            tokens.pop(0)
            good = both() or good
        return good

    def both():
        good = one()
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            good = one() and good
        return good

    def one():
        if not tokens:
            raise ValueError("it ends too early")
        token = tokens.pop(0)
        if token == "(":
            good = either()
            if tokens[:1] != [")"]:
                raise ValueError("a bracket is not closed")
            tokens.pop(0)
            return good
        if tokens[:1] == ["WITH"]:
            token = " ".join([token, *tokens[:2]])
            del tokens[:2]
        return token in allowed

    good = either()
    if tokens:
        raise ValueError(f"{tokens[0]} is not understood")
    return good


def licence_problem(package, allowed):
    expression = package["license"]
    if not expression:
        return "no licence expression"
    try:
        return None if allows(expression, allowed) else f"licence {expression} is not allowed"
    except ValueError as error:
        return f"licence {expression}: {error}"


def source_problem(package, registries):
    source = package["source"]
    if source is None:
        return None  # this repository
    kind, _, url = source.partition("+")
    return None if kind == "registry" and url in registries else f"source {source} is not allowed"


def wildcards(package):
    return [dependency["name"] for dependency in package["dependencies"] if dependency["req"] == "*"]


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    graph = metadata(rules["graph"]["targets"])
    present = {node["id"] for node in graph["resolve"]["nodes"]}
    banned = {entry["crate"]: entry["reason"] for entry in rules["bans"]["deny"]}
    problems = []
    packages = [package for package in graph["packages"] if package["id"] in present]
    for package in packages:
        found = [licence_problem(package, set(rules["licenses"]["allow"])),
                 source_problem(package, set(rules["sources"]["allow-registry"])),
                 banned.get(package["name"]) and f"banned: {banned[package['name']]}"]
        if package["id"] in graph["workspace_members"]:
            found += [f"{name} has the version `*`" for name in wildcards(package)]
        problems += [f"{package['name']} {package['version']}: {problem}" for problem in found if problem]
    print("\n".join([*problems, f"licences, bans and sources of {len(packages)} packages: {len(problems)} problem(s)"]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
