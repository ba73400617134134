#!/bin/sh
# Build the vendored bundle from the packages in package.json. Needs Node with npm, and a registry that npm is set up for.
set -eu
sources=$(cd "$(dirname "$0")" && pwd)
target=$sources/../../static/cloudtrain/vendor/codemirror-6
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$sources/package.json" "$sources/entry.js" "$work"
cd "$work"
npm install --no-package-lock --ignore-scripts --no-audit --no-fund --silent
node_modules/.bin/esbuild entry.js --bundle --minify --format=esm --target=es2022 --charset=utf8 \
  --banner:js="// @ts-nocheck" --legal-comments=none --log-level=warning --outfile=codemirror.min.js
mkdir -p "$target"
# Every package that is in the bundle, with its licence.
node --input-type=module > LICENSE <<'JS'
import { readFileSync } from "node:fs";
for (const name of Object.keys(JSON.parse(readFileSync("package.json", "utf8")).dependencies)) {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const text = readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
  console.log(`${name} ${version} (${license})\n\n${text}\n`);
}
JS
cp codemirror.min.js LICENSE "$target"
