#!/usr/bin/env bash
# Packs a release: config/dist/pack.sh BINARY FOLDER writes rollcall-VERSION-TARGET.tar.gz and its .sha256 there, and prints the
# tarball's path. The same inputs make the same bytes.
set -eu -o pipefail
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/../.."

version=$("$binary" --version | cut -d' ' -f2)
target=$(rustc -vV | sed -n 's/^host: //p')
name=rollcall-$version-$target
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/$name
mkdir -p "$root/config/deploy" "$root/docs"

install -m 755 "$binary" "$root/rollcall"
# What a debugger needs is no part of a release.
if command -v strip > /dev/null; then strip "$root/rollcall"; fi
install -m 644 config/rollcall.toml config/rollcall.service config/nginx.conf "$root/config/"
install -m 644 config/deploy/[!c]* "$root/config/deploy/"
install -m 755 config/deploy/cluster.sh "$root/config/deploy/"
install -m 644 README.md CHANGELOG.md LICENSE LICENSE-APACHE LICENSE-MIT Dockerfile "$root/"
install -m 644 docs/*.md docs/*.png "$root/docs/"
node config/dist/licences.mjs "$target" > "$root/THIRD-PARTY-LICENCES.txt"
chmod 644 "$root/THIRD-PARTY-LICENCES.txt"
(cd "$root" && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS && chmod 644 SHA256SUMS)

# The time of the newest commit where there is one, so that a tarball can be made again.
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || echo 0)}
LC_ALL=C tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=gnu -C "$stage" -c "$name" \
  | gzip -n -9 > "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
