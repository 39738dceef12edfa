#!/bin/sh
# Types and style of the pages' scripts. Says so and passes where node or the packages cannot be had.
set -eu
cd "${0%/*}/.."
tools=js/node_modules
if ! command -v npm >/dev/null; then
    echo "SKIPPED: npm is missing: the pages' scripts are NOT checked (install node 20.19 or newer)" >&2
    exit 0
fi
if ! [ -e $tools/.ready ] || [ js/package-lock.json -nt $tools/.ready ]; then
    if ! (cd js && npm ci --ignore-scripts --no-audit --no-fund --silent); then
        echo "SKIPPED: npm cannot fetch TypeScript and oxlint: the pages' scripts are NOT checked" >&2
        exit 0
    fi
    touch $tools/.ready
fi
for page in exported served upload; do
    $tools/.bin/tsc -p js/tsconfig.$page.json
done
$tools/.bin/oxlint -c js/.oxlintrc.json --quiet src/dynapoint/exports/assets src/dynapoint/viewer/assets
