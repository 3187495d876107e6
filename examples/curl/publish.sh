#!/bin/sh
# Publish with curl and openssl alone, from anything that has a shell.
#
#     FANOUT_KEY=$(cat var/fanout.key) sh publish.sh comments-17 '{"id": 17}'
set -eu

hub=${FANOUT_URL:-http://127.0.0.1:8000}
realm=${FANOUT_REALM:-fanfare}
channel=$1
data=${2:-true}

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# A JSON Web Token, RFC 7519: header and claims, signed with the realm's key (HS256).
head=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url)
claims=$(printf '{"iss":"%s","exp":%d}' "$realm" "$(($(date +%s) + 600))" | base64url)
# HMAC-SHA256 (RFC 2104) by hand: openssl takes a key as an argument only, which every user of the machine can read in
# the list of processes. printf and [ are the shell's own.
key=$(printf '%s' "$FANOUT_KEY" | openssl base64 -A -d | od -An -v -tx1 | tr -d '\n')
masked() {
    left=64
    for byte in $key; do printf "\\$(printf '%03o' $((0x$byte ^ $1)))" && left=$((left - 1)); done
    while [ $left -gt 0 ]; do printf "\\$(printf '%03o' "$(($1))")" && left=$((left - 1)); done
}
sha256() { openssl dgst -sha256 -binary; }
signature=$({ masked 0x5c && { masked 0x36 && printf '%s.%s' "$head" "$claims"; } | sha256; } | sha256 | base64url)

# The token goes to curl by its standard input, for the same reason.
printf 'header = "Authorization: Bearer %s.%s.%s"\n' "$head" "$claims" "$signature" |
  curl --fail-with-body --silent --show-error --max-time 10 --config - \
    --json "{\"items\": [{\"channel\": \"$channel\", \"json-object\": $data}]}" \
    "$hub/realm/$realm/publish/"
echo
