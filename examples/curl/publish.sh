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
key=$(printf '%s' "$FANOUT_KEY" | openssl base64 -A -d | od -An -v -tx1 | tr -d ' \n')
signature=$(printf '%s.%s' "$head" "$claims" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64url)

curl --fail-with-body --silent --show-error --max-time 10 \
  --header "Authorization: Bearer $head.$claims.$signature" \
  --json "{\"items\": [{\"channel\": \"$channel\", \"json-object\": $data}]}" \
  "$hub/realm/$realm/publish/"
echo
