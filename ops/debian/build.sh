#!/bin/sh
# Makes the package for Debian of programs that are built already:
#   ops/debian/build.sh target/release [directory for the package]
# Prints where it is. Needs dpkg-deb and gzip. With static programs (x86_64-unknown-linux-musl) it depends on nothing.
set -eu
umask 022
repository=$(cd "$(dirname "$0")/../.." && pwd)
programs=$1
destination=${2:-.}
here=$repository/ops/debian
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

version=$("$programs/refwatch" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
# The newest commit, so that the same commit gives the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

put() { install -D -m "$1" "$2" "$tree/$3"; }

for program in refwatch refwatch-hook; do
    put 755 "$programs/$program" "usr/bin/$program"
    strip --strip-unneeded --remove-section=.comment "$tree/usr/bin/$program"
done
for unit in refwatch.service refwatch.socket refwatch-http.socket; do
    put 644 "$repository/ops/systemd/$unit" "lib/systemd/system/$unit"
done
put 644 "$repository/ops/systemd/refwatch.sysusers" usr/lib/sysusers.d/refwatch.conf
put 644 "$repository/ops/systemd/refwatch.tmpfiles" usr/lib/tmpfiles.d/refwatch.conf
put 644 "$here/copyright" usr/share/doc/refwatch/copyright
put 644 "$repository/ops/RUNBOOK.md" usr/share/doc/refwatch/RUNBOOK.md
put 644 "$repository/ops/HOOKS.md" usr/share/doc/refwatch/HOOKS.md
put 644 "$repository/ops/prometheus/alerts.yaml" usr/share/doc/refwatch/examples/alerts.yaml
put 644 "$repository/ops/grafana/refwatch.json" usr/share/doc/refwatch/examples/grafana.json

# Every setting with its default and its help; what is not the default is the root.
put 644 "$here/refwatch.toml" etc/refwatch/refwatch.toml

mkdir -p "$tree/usr/share/man/man1"
"$programs/refwatch" man "$tree/usr/share/man/man1"
gzip -9n "$tree"/usr/share/man/man1/*
completions() { mkdir -p "$(dirname "$tree/$2")" && "$programs/refwatch" completions "$1" >"$tree/$2"; }
completions bash usr/share/bash-completion/completions/refwatch
completions zsh usr/share/zsh/vendor-completions/_refwatch
completions fish usr/share/fish/vendor_completions.d/refwatch.fish
printf 'refwatch (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md in the repository.\n\n -- %s  %s\n' \
    "$version" "$(sed -n 's/^Maintainer: //p' "$here/control")" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" |
    gzip -9n >"$tree/usr/share/doc/refwatch/changelog.gz"

mkdir "$tree/DEBIAN"
depends='libc6 (>= 2.34), libgcc-s1'
# A static program names no interpreter.
if ! readelf -l "$programs/refwatch" | grep -q 'program interpreter'; then depends=; fi
size=$(du -k -s --exclude=DEBIAN "$tree" | cut -f1)
sed -e "s/@version@/$version/" -e "s/@architecture@/$architecture/" -e "s/@size@/$size/" \
    -e "s/@depends@/$depends/" -e '/^Depends: $/d' "$here/control" >"$tree/DEBIAN/control"
echo /etc/refwatch/refwatch.toml >"$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$tree/DEBIAN/$script"; done
(cd "$tree" && find usr lib etc -type f ! -path 'etc/*' -exec md5sum {} + | sort -k2) >"$tree/DEBIAN/md5sums"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

package=$destination/refwatch_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
echo "$package"
