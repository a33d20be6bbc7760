#!/bin/sh
# The Debian packages that the tests start for real, and those named as arguments: installed when root, else named.
set -eu
missing=""
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH="$PATH:/usr/sbin:/sbin"
need mariadbd mariadb-server
need cc gcc
need isql unixodbc
need chromium chromium
need chromedriver chromium-driver
need nginx nginx-light
need openssl openssl
need promtool prometheus
need systemd-analyze systemd
need shellcheck shellcheck
need curl curl
need logrotate logrotate
set -- odbc-mariadb libsqliteodbc python3-venv "$@"
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "The tests need these Debian packages:$missing. Install them (apt-get install$missing), or run make test as root." >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing libc6-dev >/dev/null
