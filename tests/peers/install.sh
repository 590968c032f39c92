#!/usr/bin/env bash
# Unpacks real servers, which we didn't write, under .peers/: from Debian's packages and from PyPI.
#
# Nothing is installed and no service starts: packages that the machine lacks are downloaded and unpacked, with what
# they depend on. Those that conflict with one another get a folder each. Run again, it only adds what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
peers=${PEERS_DIR:-$PWD/.peers}
mkdir -p "$peers"

# folder: packages
packages='
root: microsocks tinyproxy-bin squid dante-server privoxy tor haproxy nginx-light apache2-bin
root: openssh-server openssh-client libnss-wrapper v2ray shadowsocks-libev
root: rbldnsd bind9 bind9-dnsutils unbound nftables ipset spamassassin postgresql
postfix: postfix postgrey
exim: exim4-daemon-light
opensmtpd: opensmtpd
chromium: chromium fonts-dejavu-core
'
pypi='pproxy==2.7.9 proxy.py==2.4.10 aiosmtpd==1.4.6'

refresh() {  # the package lists, once
    [ -n "${refreshed:-}" ] || apt-get -qq update
    refreshed=yes
}

unpack() {  # folder, packages
    local folder=$peers/$1 stamp
    shift
    stamp=$folder/.$(echo "$*" | sha256sum | cut -c1-16)
    if [ -e "$stamp" ]; then return; fi
    refresh
    local archives
    archives=$(mktemp -d)
    mkdir -p "$folder" "$archives/partial"
    apt-get -qq --download-only -y --no-install-recommends --no-upgrade -o Dir::Cache::archives="$archives" \
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 install "$@" > /dev/null
    for package in "$archives"/*.deb; do
        [ -e "$package" ] || continue  # the machine has it all
        dpkg-deb -x "$package" "$folder"
        dpkg-deb -W "$package" >> "$folder/versions"
    done
    rm -r "$archives"
    for part in bin sbin lib lib64; do  # the machine's are links into usr, which a server's own /usr is laid over
        [ -d "$folder/$part" ] || continue
        mkdir -p "$folder/usr/$part"
        cp -a "$folder/$part/." "$folder/usr/$part/"
        rm -r "${folder:?}/$part"
    done
    touch "$stamp"
}

while read -r folder words; do
    # shellcheck disable=SC2086
    [ -z "$folder" ] || unpack "${folder%:}" $words
done <<< "$packages"

if [ "$(cat "$peers/venv/.pypi" 2> /dev/null)" != "$pypi" ]; then
    [ -x "$peers/venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$peers/venv"
    # shellcheck disable=SC2086
    "$peers/venv/bin/python" -m pip install -qq --disable-pip-version-check $pypi
    echo "$pypi" > "$peers/venv/.pypi"
fi
