#!/bin/bash
# Make a release of what is committed, into dist/: a tarball of the code with the wheels that it runs on, and its checksum.
# deploy/install.sh from the unpacked tarball asks no package index.
#
#   deploy/release.sh [COMMIT]        VENV=.venv, the environment whose pip downloads the wheels
set -Eeuo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

commit=${1:-HEAD}
pip="${VENV:-.venv}/bin/pip"
version=$(git show "$commit:pyproject.toml" | sed -n 's/^version = "\(.*\)"$/\1/p')
name=pbx-connector-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# what servers do not need stays out
git archive --format=tar --prefix="$name/" "$commit" -- . ':!tests' ':!bench' ':!.ci' ':!requirements-dev.*' | tar -C "$work" -xf -
for python in 3.11 3.12 3.13 3.14; do
    for machine in x86_64 aarch64; do
        "$pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            --python-version "$python" --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" \
            --dest "$work/$name/wheels" -r "$work/$name/requirements.txt"
    done
done

mkdir -p dist
# the same commit gives the same bytes
tar -C "$work" --sort=name --mtime="@$(git log -1 --format=%ct "$commit")" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX -cf - "$name" | gzip -9n >"dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256" && cat "$name.tar.gz.sha256")
