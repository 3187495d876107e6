#!/bin/sh
# Hear what is published to a channel: Server-Sent Events, as an EventSource gets them.
#
#     sh listen.sh comments-17
set -eu

exec curl --no-buffer --silent --show-error --fail --header 'Accept: text/event-stream' \
  "${FANOUT_URL:-http://127.0.0.1:8000}/sse?channel=$1"
