#!/bin/sh
# Without arguments: the service. With some: a command of ours (docker compose run --rm connector check).
set -eu
umask 077
[ $# = 0 ] || exec python . "$@"
# A database that is away now stops nobody: deliveries are taken, and wait. The tables are made when it answers.
if ! python . db upgrade; then
    echo "the call log is not there yet: deliveries are taken, and forwarded when it is" >&2
    (until sleep 5 && python . db upgrade >/dev/null 2>&1; do :; done) &
fi
exec gunicorn -c deploy/gunicorn.conf.py wsgi:app
