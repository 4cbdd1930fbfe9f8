#!/bin/sh
# Reads a password from standard input and prints the users of cluster/redis/gcs.conf: nobody without a password, and for
# Ray what Ray does, on its own keys. The file holds the password's sha256 only.
set -eu
read -r password
test ${#password} -ge 32 || { echo "make_acl.sh: the password must have at least 32 characters" >&2 && exit 2; }
hash=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
cat <<EOF
user default off
user ray on #$hash resetchannels ~RAY* ~DUMMY -@all +ping +info +hset +hsetnx +hget +hmget +hdel +hscan +hexists +incrby +del
EOF
