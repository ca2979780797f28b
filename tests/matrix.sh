#!/usr/bin/env bash
# Runs the end-to-end tests that hold anywhere in all sixteen variants (README.md), or in those that are named, and says
# what came of each. What else is to be run is given after `--`, as `cargo test` takes it.
set -uo pipefail
cd "$(dirname "$0")/.."

variants=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    variants+=("$1")
    shift
done
if [ ${#variants[@]} -eq 0 ]; then
    for hooks in no-hooks hooks; do
        for watch in notify poll; do
            for object in sha1 sha256; do
                for ref in files reftable; do variants+=("$ref,$object,$watch,$hooks"); done
            done
        done
    done
fi
[ "${1:-}" = -- ] && shift
modules=("$@")
# What states its own way of watching, hooks and formats has nothing to gain.
[ ${#modules[@]} -eq 0 ] && modules=(types:: guarantees:: repositories:: resume:: baseline:: clients:: sidecar:: ancestry::)

failed=0
for variant in "${variants[@]}"; do
    log=$(mktemp)
    if REFWATCH_TEST_VARIANT=$variant cargo test --quiet -p refwatch-tests --test it -- "${modules[@]}" >"$log" 2>&1; then
        printf '%-32s %s\n' "$variant" "$(grep '^test result' "$log")"
        rm -f "$log"
    else
        failed=1
        printf '%-32s %s; see %s\n' "$variant" "$(grep '^test result' "$log")" "$log"
        sed -n 's/^---- \(.*\) stdout ----$/    \1/p' "$log"
    fi
done
exit $failed
