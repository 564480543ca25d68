#!/bin/sh
# Licences, bans and sources always; advisories when their database can be had (it is a git repository on the Internet).
set -eu
cd "$(dirname "$0")/.."
cargo deny --locked check bans licenses sources
if cargo deny --locked fetch db 2>/dev/null; then
    cargo deny --locked check advisories
else
    echo "advisories were NOT checked: the advisory database could not be fetched"
fi
