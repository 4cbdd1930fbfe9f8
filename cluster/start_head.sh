#!/bin/sh
# Starts Ray's head; after a crash starts it again, and machines that live join it as they are.
# The cluster's state is kept in Redis if ~/.ray/gcs_redis.env (mode 600) says where:
#     RAY_REDIS_ADDRESS=10.0.0.5:6380
#     REDIS_USERNAME=ray
#     REDIS_PASSWORD=...
# usage: start_head.sh [OPTION of `ray start`]...
set -eu
. "$(dirname "$0")/env.sh"
ulimit -n 65536 2>/dev/null || true
redis_env="${GCS_REDIS_ENV:-$HOME/.ray/gcs_redis.env}"
if [ -f "$redis_env" ]; then
    . "$redis_env"
    export RAY_REDIS_ADDRESS RAY_external_storage_namespace="${RAY_external_storage_namespace:-distill-rl}"
    # Ray takes the password as an argument only: keep other people off the head.
    set -- --redis-username="$REDIS_USERNAME" --redis-password="$REDIS_PASSWORD" "$@"
fi
exec ray start --head --port="${RAY_PORT:-6379}" --disable-usage-stats "$@"
