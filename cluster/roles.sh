#!/bin/sh
# Prints what a machine without node types offers, as JSON for `ray start --resources`.
# usage: roles.sh head|worker
set -eu
num_gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
if [ "$num_gpus" -gt 0 ]; then roles="\"learner\": $((num_gpus))"; else roles="\"actor\": $(nproc)"; fi
case "$1" in
    head) echo "{$roles, \"evaluator\": 1, \"driver\": 1}" ;;
    worker) echo "{$roles}" ;;
    *) echo "roles.sh: expected head or worker, got $1" >&2 && exit 2 ;;
esac
