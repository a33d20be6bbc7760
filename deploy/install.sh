#!/bin/bash
# Install the connector on Debian or Ubuntu, or upgrade it: run as root from the unpacked code. Runs again without harm.
#
#   deploy/install.sh --domain pbx.example.ru        first installation
#   deploy/install.sh --settings FILE                first installation with the settings of another node, or of a lost server
#   deploy/install.sh                                upgrade to this code; also after a certificate was issued
#       --certificate FILE --certificate-key FILE    a certificate that certbot did not issue
#   deploy/install.sh --rollback                     back to the release before the present one
#   deploy/install.sh --uninstall                    away with the code and the units; settings, data and backups stay
#
# PYTHON=/usr/bin/python3.12 chooses the interpreter. docs/operations.md has the rest.
set -Eeuo pipefail
umask 022 # the service's user reads what is laid here, whatever root's own umask is
trap 'echo "pbx-connector: stopped at line $LINENO: $BASH_COMMAND" >&2' ERR

NAME=pbx-connector
SOURCE=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
HOME_DIR=/opt/$NAME
RELEASES=$HOME_DIR/releases
CURRENT=$HOME_DIR/current
SETTINGS=/etc/$NAME/settings.env
DATA=/var/lib/$NAME
BACKUPS=/var/backups/$NAME
WEBROOT=/var/www/$NAME
SOCKET=/run/$NAME/gunicorn.sock
SITE=/etc/nginx/sites-available/$NAME
TLS=/etc/nginx/$NAME/tls.conf
KNOWN=/etc/nginx/$NAME/known.geo
NGINX_MAIN=/etc/nginx/modules-enabled/60-$NAME.conf
UNITS="$NAME.socket $NAME.service $NAME-nginx.socket $NAME-nginx.service $NAME-daily.service $NAME-daily.timer"
KEEP_RELEASES=3
KEEP_BACKUPS=14
MIB_NEEDED=500

domain="" settings_file="" certificate="" certificate_key="" action=install
release="" fresh=no built=no changed=no site_changed=no

say() { echo "$NAME: $*"; }
fail() {
    echo "$NAME: $*" >&2
    exit 1
}
booted() { [ -d /run/systemd/system ]; }
writes() { # writes FILE MODE: standard input into FILE; true when that changed it
    local new
    new=$(mktemp "$1.XXXXXX")
    cat >"$new"
    chmod "$2" "$new"
    if cmp -s "$new" "$1"; then
        rm -f "$new"
        return 1
    fi
    mv -f "$new" "$1"
}
as_user() { # as_user RELEASE COMMAND…: as the service's user, with the settings file as the only settings
    (
        cd "$1"
        shift
        umask 077
        exec runuser -u "$NAME" -- env -i PATH=/usr/bin:/bin HOME="$DATA" LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 BIND="unix:$SOCKET" "$@"
    )
}
connector() { # connector RELEASE ARGUMENT…
    local where=$1
    shift
    if [ -e "$where/$NAME" ]; then
        as_user "$where" "./$NAME" "$@"
    else # back to 0.1.0
        as_user "$where" .venv/bin/flask --app wsgi "$@"
    fi
}
settings() { # settings RELEASE: NAME=value of each, of the file
    if [ -e "$1/$NAME" ]; then connector "$1" check --offline; else connector "$1" check; fi 2>/dev/null || true
}
setting() { # setting RELEASE NAME
    settings "$1" | sed -n "s/^$2=//p"
}

# ------------------------------------------------------------------------------------------------ what is needed first

python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

prepare() {
    local missing="" place free
    python >/dev/null || missing=" python3 python3-venv"
    command -v nginx >/dev/null || missing="$missing nginx"
    command -v useradd >/dev/null || missing="$missing passwd"
    command -v logrotate >/dev/null || missing="$missing logrotate"
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
    if [ -n "$missing" ]; then
        say "installing ${missing# }"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        # shellcheck disable=SC2086
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
    fi
    python >/dev/null || fail "Python 3.11 or newer with venv is needed, this system has $(python3 -V 2>&1 || echo none): install one, then PYTHON=/path/to/python3.12 $0"
    for place in /opt /var; do
        free=$(($(df -Pk "$place" | awk 'NR == 2 { print $4 }') / 1024))
        [ "$free" -ge "$MIB_NEEDED" ] || fail "$free MiB are free in $place, $MIB_NEEDED are needed: nothing was changed"
    done
    id "$NAME" >/dev/null 2>&1 || useradd --system --user-group --home-dir "$DATA" --no-create-home --shell /usr/sbin/nologin "$NAME"
    install -d -m 0755 "$HOME_DIR" "$RELEASES" "$WEBROOT" "/etc/nginx/$NAME"
    install -d -m 0750 -o root -g "$NAME" "/etc/$NAME"
    install -d -m 0711 -o "$NAME" -g "$NAME" "$DATA"
    install -d -m 0700 -o "$NAME" -g "$NAME" "$BACKUPS"
    rm -f "$HOME_DIR"/code.*
}

in_ascii() { # a Cyrillic name as DNS and nginx have it
    [ -n "$domain" ] || return 0
    domain=$("$(python)" -X utf8 -c 'import sys; print(sys.argv[1].encode("idna").decode().lower())' "$domain" 2>/dev/null || true)
    [[ $domain =~ ^[a-z0-9.-]+$ ]] || fail "--domain is no name of a server"
}

first_settings() {
    if [ -e "$SETTINGS" ]; then
        [ -z "$settings_file" ] || fail "$SETTINGS is there already: change it there, then run this again"
        return 0
    fi
    if [ -n "$settings_file" ]; then
        install -m 0640 -o root -g "$NAME" "$settings_file" "$SETTINGS" || fail "--settings must name a readable file"
        say "the settings are those of $settings_file"
        return 0
    fi
    [ -n "$domain" ] || fail "the first installation needs --domain, the name by which the providers reach this server, or --settings"
    umask 077
    "$(python)" "$SOURCE/deploy/new_env.py" "PUBLIC_URL=http://$domain" "DATA_DIR=$DATA" >"$SETTINGS.new"
    umask 022
    chown root:"$NAME" "$SETTINGS.new"
    chmod 0640 "$SETTINGS.new"
    mv "$SETTINGS.new" "$SETTINGS"
    say "wrote $SETTINGS with random keys"
}

# --------------------------------------------------------------------------------------------------------- the release

build() { # the code and its environment in a directory of its own; the same code and Python again: the one there is
    local digest packed stamp there index=()
    packed=$(mktemp "$HOME_DIR/code.XXXXXX")
    tar -C "$SOURCE" --sort=name --mtime=@0 --owner=0 --group=0 --mode=u=rwX,go=rX -cf "$packed" \
        --exclude=./.git --exclude=./.venv --exclude=./.env --exclude=./.digest --exclude=./data --exclude=./tests --exclude=./bench \
        --exclude=./wheels --exclude=./dist \
        --exclude=./.ci --exclude='.*_cache' --exclude=__pycache__ .
    digest=$({ cat "$packed" && "$(python)" -V; } | sha256sum | cut -c1-16)
    if [ "$(cat "$CURRENT/.digest" 2>/dev/null)" = "$digest" ]; then
        rm -f "$packed"
        release=$(readlink -f "$CURRENT")
        say "this code is installed already: $release"
        return
    fi
    for there in "$RELEASES"/*/.digest; do # after a rollback: the same code and Python are here still
        if [ "$(cat "$there" 2>/dev/null)" = "$digest" ]; then
            rm -f "$packed"
            release=$(dirname "$there")
            fresh=yes
            say "this code is here already: $release"
            return
        fi
    done
    stamp=$(date -u +%Y%m%dT%H%M%S)-${digest:0:6}
    release=$RELEASES/$stamp
    fresh=yes built=yes
    say "building $release"
    install -d -m 0755 "$release"
    tar -C "$release" --no-same-owner -xf "$packed"
    rm -f "$packed"
    "$(python)" -m venv "$release/.venv"
    if [ -d "$SOURCE/wheels" ]; then index=(--no-index --find-links "$SOURCE/wheels"); fi # a release needs no package index
    "$release/.venv/bin/pip" install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes "${index[@]}" -r "$release/requirements.txt"
    "$release/.venv/bin/python" -m compileall -q "$release" >/dev/null || true
    ln -s "$SETTINGS" "$release/.env"
    echo "$digest" >"$release/.digest"
}

check() { # wrong settings are told before anything is switched
    local said
    said=$(as_user "$release" .venv/bin/gunicorn -c deploy/gunicorn.conf.py --check-config wsgi:app 2>&1) && return
    echo "$said" >&2
    if grep -q "^wrong settings" <<<"$said"; then
        fail "the settings in $SETTINGS are wrong: mend them and run this again; what runs was left alone"
    fi
    fail "this code does not load (the reason is above); what runs was left alone"
}

migrate() {
    local pending=yes
    if connector "$release" db status >/dev/null 2>&1; then pending=no; fi
    if [ -e "$CURRENT" ] && [ "$fresh$pending" != nono ]; then
        backup
        if [ "$pending" = yes ]; then dump; fi
    fi
    [ "$pending" = yes ] || return 0
    connector "$release" db upgrade || fail "the call log was not upgraded: nothing was switched, what runs was left alone"
}

migrate_back() { # the call log to what the release before writes; by the present one, which alone knows the way
    local present version
    present=$(readlink -f "$CURRENT")
    version=$(as_user "$release" .venv/bin/python -c 'import models; print(models.VERSION)')
    connector "$present" db downgrade --help >/dev/null 2>&1 || return 0 # it is as old as the one before
    connector "$present" db downgrade "$version" || fail "the call log was not brought back: nothing was switched. If the database is away, run this again when it answers"
}

backup() { # the inbox and a call log on SQLite
    local data
    data=$(setting "$release" DATA_DIR)
    [ -e "$data/inbox/inbox.db" ] || return 0
    connector "$release" backup "$BACKUPS" --keep "$KEEP_BACKUPS" || fail "no backup, no upgrade: what runs was left alone"
}

dump() { # a call log on MySQL, before its tables change
    local dumper file applied
    if [[ $(setting "$release" DATABASE_URL) == sqlite:* ]]; then return 0; fi
    applied=$(connector "$release" db status 2>/dev/null || true)
    if ! grep -qE ' [0-9]{4}-[0-9]{2}-[0-9]{2} ' <<<"$applied"; then return 0; fi # no tables yet
    dumper=$(command -v mariadb-dump || command -v mysqldump) ||
        fail "the tables are about to change and there is no mariadb-dump: apt-get install mariadb-client, then run this again"
    file=$BACKUPS/calls-$(date -u +%Y%m%dT%H%M%SZ).sql.gz
    as_user "$release" .venv/bin/python deploy/dump.py "$dumper" | gzip >"$file.part" ||
        fail "the call log was not dumped: no upgrade, what runs was left alone"
    chmod 0600 "$file.part"
    mv "$file.part" "$file"
    say "the call log is dumped in $file"
}

switch() { # switch RELEASE: one rename
    ln -sfn "$1" "$CURRENT.new"
    mv -fT "$CURRENT.new" "$CURRENT"
}

previous() { # the newest release before the present one
    local present
    present=$(basename "$(readlink -f "$CURRENT")")
    find "$RELEASES" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | awk -v present="$present" '$0 < present' | tail -n 1
}

prune() {
    local present
    present=$(basename "$(readlink -f "$CURRENT")")
    find "$RELEASES" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort -r | awk -v present="$present" '$0 != present' | tail -n +$KEEP_RELEASES |
        while read -r old; do rm -rf "${RELEASES:?}/$old"; done
}

# ----------------------------------------------------------------------------------------------------- systemd and nginx

units() {
    local unit
    for unit in $UNITS; do
        if [ ! -e "$release/deploy/$unit" ]; then # back to a release that had none
            if booted; then systemctl disable --quiet --now "$unit" 2>/dev/null || true; fi
            rm -f "/etc/systemd/system/$unit"
            continue
        fi
        if writes "/etc/systemd/system/$unit" 0644 <"$release/deploy/$unit"; then changed=yes; fi
    done
    writes "/usr/local/bin/$NAME" 0755 <"$release/deploy/$NAME" || true
}

start() {
    if ! booted; then
        say "systemd does not run here, so nothing was started: the units are in /etc/systemd/system, systemctl enable --now $NAME.socket $NAME.service $NAME-nginx.socket $NAME-daily.timer starts them"
        return
    fi
    systemctl daemon-reload
    systemctl enable --quiet "$NAME.socket" "$NAME.service" "$NAME-daily.timer"
    systemctl start "$NAME.socket" "$NAME-daily.timer"
    if [ -e "/etc/systemd/system/$NAME-nginx.socket" ]; then
        systemctl enable --quiet --now "$NAME-nginx.socket"
        systemctl try-restart "$NAME-nginx.service"
    fi
    # the socket stays: what comes meanwhile waits in its queue
    if [ "$fresh" = yes ] || [ "$changed" = yes ]; then
        systemctl restart "$NAME.service"
    else # also what was changed by hand
        systemctl reload-or-restart "$NAME.service" || fail "the settings are not in force: journalctl -u $NAME says why"
    fi
    answers || fail "this release does not answer: journalctl -u $NAME says why; $0 --rollback brings the release before back"
    say "$(systemctl is-active "$NAME.service"), release $(readlink -f "$CURRENT")"
    agrees
}

agrees() { # what runs is what is installed: the service says so itself
    local found
    found=$(connector "$release" check 2>&1) && return
    grep WRONG <<<"$found" >&2 || echo "$found" >&2
    if grep -q "^service: WRONG" <<<"$found"; then fail "the service and what is installed differ"; fi
    say "ATTENTION: it takes deliveries, but $NAME check finds something wrong (above)"
}

answers() { # /readyz through the socket, within a minute; of this release, where it says which one it is
    "$CURRENT/.venv/bin/python" - "$SOCKET" "$(readlink -f "$CURRENT")" <<'PYTHON'
import http.client, json, socket, sys, time

for _ in range(60):
    connection = http.client.HTTPConnection("localhost")
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(sys.argv[1])
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        release = json.loads(answer.read()).get("service", {}).get("release", sys.argv[2])
        if answer.status == 200 and release == sys.argv[2]:
            sys.exit(0)
    except (OSError, ValueError):
        pass
    time.sleep(1)
sys.exit(1)
PYTHON
}

public_name() { setting "$release" PUBLIC_URL | sed -E 's#^https?://##; s#[:/].*$##'; }

nginx_site() {
    local name bytes kept
    name=${domain:-$(public_name)}
    bytes=$(setting "$release" MAX_BODY_BYTES)
    kept=$(mktemp -d)
    cp -a "$SITE" "$TLS" "$NGINX_MAIN" /etc/nginx/nginx.conf "$kept/" 2>/dev/null || true
    nginx_limits
    nginx_errors
    known_addresses
    tls "$name"
    install -d -m 0755 /etc/nginx/sites-available /etc/nginx/sites-enabled
    sed -e "s/server_name _;/server_name $name;/" -e "s/client_max_body_size 262144;/client_max_body_size $bytes;/" \
        "$release/deploy/nginx.conf" | without_ipv6 >"$kept/site"
    if writes "$SITE" 0644 <"$kept/site"; then site_changed=yes; fi
    ln -sfn "$SITE" "/etc/nginx/sites-enabled/$NAME"
    # Debian's page of welcome would get, and log with its key, whatever comes without our name
    if [ "$(readlink -f /etc/nginx/sites-enabled/default)" = /etc/nginx/sites-available/default ]; then
        rm /etc/nginx/sites-enabled/default
        say "nginx: Debian's welcome page is off; ln -s ../sites-available/default /etc/nginx/sites-enabled/ brings it back"
    fi
    if ! nginx -t 2>"$kept/said"; then
        cat "$kept/said" >&2
        rm -f "$SITE" "$TLS" "$NGINX_MAIN" "/etc/nginx/sites-enabled/$NAME"
        [ ! -e "$kept/60-$NAME.conf" ] || cp -a "$kept/60-$NAME.conf" "$NGINX_MAIN"
        [ ! -e "$kept/$NAME" ] || { cp -a "$kept/$NAME" "$SITE" && ln -sfn "$SITE" "/etc/nginx/sites-enabled/$NAME"; }
        [ ! -e "$kept/tls.conf" ] || cp -a "$kept/tls.conf" "$TLS"
        cp -a "$kept/nginx.conf" /etc/nginx/nginx.conf
        rm -rf "$kept"
        fail "nginx refuses the site: its configuration is as it was"
    fi
    rm -rf "$kept"
    public_scheme "$name"
    if booted; then
        systemctl enable --quiet nginx
        # a reload closes idle connections that a sender may be about to use: only when there is something new
        if [ "$site_changed" = yes ]; then systemctl reload-or-restart nginx; else systemctl start nginx; fi
    else
        say "nginx was not started either"
    fi
}

without_ipv6() {
    if [ -e /proc/net/if_inet6 ]; then cat; else sed '/listen \[::\]/d'; fi
}

nginx_limits() { # Debian's 768 connections a worker are 384 senders; 4096 and 16384 are what we wrote before
    local main=/etc/nginx/nginx.conf
    if grep -qE '^\s*worker_connections (512|768|1024|4096);' "$main"; then
        sed -i -E -e 's/^(\s*worker_connections) (512|768|1024|4096);/\1 16384;/' \
            -e 's/^(worker_rlimit_nofile) 16384;/\1 65536;/' "$main"
        grep -qE '^\s*worker_rlimit_nofile' "$main" || sed -i '1i worker_rlimit_nofile 65536;' "$main"
        site_changed=yes
        say "nginx: worker_connections is 16384 now"
    fi
}

nginx_errors() { # what is no site's, to our reader too; nginx's own file goes on where it is the default alone
    local main=/etc/nginx/nginx.conf
    if [ ! -e "$release/deploy/nginx-main.conf" ] || ! grep -qF "include /etc/nginx/modules-enabled/*.conf;" "$main"; then
        rm -f "$NGINX_MAIN"
        return 0
    fi
    if {
        cat "$release/deploy/nginx-main.conf"
        sed '/^http/,$d' "$main" | grep -qE '^\s*error_log' || echo "error_log /var/log/nginx/error.log;"
    } | writes "$NGINX_MAIN" 0644; then site_changed=yes; fi
}

known_addresses() { # whose connections nginx does not count
    if {
        echo "# Written by install.sh from the settings: this host, TRUSTED_PROXIES and every <FEED>_ALLOW."
        { echo "127.0.0.1/32, ::1/128" && settings "$release" |
            sed -nE 's/^(TRUSTED_PROXIES|[A-Z]+_ALLOW)=//p'; } | tr ',' '\n' | sed -E 's/^ +//; /^$/d; /\/0$/d; s/$/ 1;/' | sort -u
    } | writes "$KNOWN" 0644; then site_changed=yes; fi
}

tls() { # tls NAME: the certificate that was named, that certbot issued, or none
    local live=/etc/letsencrypt/live/$1
    if [ -n "$certificate" ]; then
        certificate=$(readlink -f "$certificate") certificate_key=$(readlink -f "$certificate_key")
        { [ -r "$certificate" ] && [ -r "$certificate_key" ]; } || fail "--certificate and --certificate-key must name readable files"
    elif [ ! -e "$TLS" ] && [ -e "$live/fullchain.pem" ]; then
        certificate=$live/fullchain.pem certificate_key=$live/privkey.pem
    fi
    if [ -n "$certificate" ]; then
        if without_ipv6 <<TLS | writes "$TLS" 0644; then site_changed=yes; fi
# Written by install.sh. The certificate is renewed in place; nginx reads it anew at a reload.
listen 443 ssl;
listen [::]:443 ssl;
ssl_certificate $certificate;
ssl_certificate_key $certificate_key;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_cache shared:pbx_connector:1m;
if (\$pbx_page_in_clear) { return 308 https://\$host\$request_uri; }
TLS
    fi
}

public_scheme() { # https in the printed addresses, once nginx has taken the certificate
    local name=$1
    if [ ! -e "$TLS" ]; then
        grep -q "^PUBLIC_URL=https://$name\$" "$SETTINGS" &&
            say "ATTENTION: PUBLIC_URL says https and the site has no certificate: run this with --certificate, or set http in $SETTINGS (right where a proxy before this server has the certificate)"
        return 0
    fi
    if grep -q "^PUBLIC_URL=http://$1\$" "$SETTINGS"; then
        sed -i "s#^PUBLIC_URL=http://$1\$#PUBLIC_URL=https://$1#" "$SETTINGS"
        changed=yes
        say "PUBLIC_URL is https://$1 now"
    fi
}

# ------------------------------------------------------------------------------------------------------------- to do

tell() {
    local feed
    echo
    echo "Addresses to paste at the providers (what else to set up there: $NAME feeds show <feed>):"
    for feed in $(settings "$release" | sed -n 's/^\([A-Z]*\)_KEY=.*key(s)$/\L\1/p'); do
        echo "  $feed"
        connector "$release" feeds show "$feed" | grep -oE 'https?://[^ "<>«»,]+' | grep -F "$(public_name)" | sort -u | sed 's/^/    /' || true
    done
    echo
    echo "The operator page: $(setting "$release" PUBLIC_URL)/, its password is OPERATOR_PASSWORD in $SETTINGS; 1C's key is API_KEY there."
    echo "Settings: $SETTINGS, then systemctl reload $NAME. Is all well: $NAME check."
    if [ ! -e "$TLS" ]; then
        echo "No certificate yet: apt-get install certbot, then"
        echo "  certbot certonly --webroot -w $WEBROOT -d $(public_name) --deploy-hook 'systemctl reload nginx'"
        echo "  $HOME_DIR/current/deploy/install.sh"
    fi
}

do_install() {
    prepare
    in_ascii
    first_settings
    trap '[ "$built" != yes ] || [ "$(readlink -f "$CURRENT")" = "$release" ] || rm -rf "$release"' EXIT
    build
    check
    migrate
    if [ "$fresh" = yes ]; then switch "$release"; fi
    units
    nginx_site
    start
    prune
    tell
}

do_rollback() {
    local back
    back=$(previous)
    [ -n "$back" ] || fail "there is no release before the present one"
    release=$RELEASES/$back
    fresh=yes
    check
    migrate_back
    switch "$release"
    units
    nginx_site
    start
}

do_uninstall() {
    local unit
    if booted; then
        for unit in $NAME-daily.timer $NAME-nginx.socket $NAME-nginx.service $NAME.socket $NAME.service; do
            systemctl disable --quiet --now "$unit" 2>/dev/null || true
        done
    fi
    for unit in $UNITS; do rm -f "/etc/systemd/system/$unit"; done
    rm -f "/etc/nginx/sites-enabled/$NAME" "$SITE" "$NGINX_MAIN" "$KNOWN" "/usr/local/bin/$NAME"
    rmdir --ignore-fail-on-non-empty "/etc/nginx/$NAME" 2>/dev/null || true # what is yours stays, and where the certificate is
    rm -rf "$HOME_DIR"
    if booted; then
        systemctl daemon-reload
        if nginx -t 2>/dev/null; then systemctl reload-or-restart nginx || true; fi
    fi
    say "uninstalled. Left: $SETTINGS, $DATA, $BACKUPS and the user $NAME; a new installation takes them up"
}

main() {
    while [ $# -gt 0 ]; do
        case $1 in
        --domain) domain=${2:?} && shift ;;
        --settings) settings_file=${2:?} && shift ;;
        --certificate) certificate=${2:?} && shift ;;
        --certificate-key) certificate_key=${2:?} && shift ;;
        --rollback) action=rollback ;;
        --uninstall) action=uninstall ;;
        *) sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//p}' "$0" && exit 2 ;;
        esac
        shift
    done
    [[ $domain != *[/:@\ ]* ]] || fail "--domain is a name without http:// and path"
    [ "$(id -u)" = 0 ] || fail "run it as root"
    exec 9>"/run/$NAME-install.lock"
    flock -n 9 || fail "another installation is running"
    case $action in
    install) do_install ;;
    rollback) do_rollback ;;
    uninstall) do_uninstall ;;
    esac
    exit
}

main "$@"
