#!/bin/sh
# Licences, bans and sources always, by tests/deny.py; cargo-deny on top where it is installed. Advisories are cargo-deny's
# alone and need its database, a git repository on the Internet; whatever was not checked is said.
set -eu
cd "$(dirname "$0")/.."
python3 tests/deny.py
if ! command -v cargo-deny >/dev/null; then
    echo "advisories were NOT checked: cargo-deny is not installed (WITH_DENY=1 make install-test-tools)"
    exit 0
fi
cargo deny --locked check bans licenses sources
if cargo deny --locked fetch db 2>/dev/null; then
    cargo deny --locked check advisories
else
    echo "advisories were NOT checked: the advisory database could not be fetched"
fi
