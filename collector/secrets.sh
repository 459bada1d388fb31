#!/bin/sh
# Makes, once, what the parts of the stack trust each other by: a certificate, tokens and Grafana's password, all random.
set -eu
umask 027
cd "${1:?the folder to write to}"
[ -s grafana_password ] && exit 0
random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
openssl req -x509 -newkey rsa:3072 -nodes -days 825 -keyout key.pem -out cert.pem -subj /CN=collector \
  -addext subjectAltName=DNS:collector,DNS:localhost,IP:127.0.0.1 2>/dev/null
random >collector_token
random >gateway_token
random >grafana_password
