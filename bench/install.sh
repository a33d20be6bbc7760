#!/bin/sh
# What the benchmark needs beside the project's own packages: Debian's by apt when root, else named; Python's by pip.
set -eu
here=$(dirname "$0")
python=${PYTHON_OF_VENV:-${VENV:-$here/../.venv}/bin/python}
missing=""
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH="$PATH:/usr/sbin:/sbin"
need wrk wrk
need nginx nginx-light
need mariadbd mariadb-server
need cc gcc
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "The benchmark needs these Debian packages:$missing. Install them (apt-get install$missing), or run make bench as root." >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing libc6-dev >/dev/null
fi
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
