#!/bin/sh
# Prepares a machine: Python 3.11 and the packages of the checkout in its .venv, and the token for its owner only.
# usage: setup_node.sh [EXTRA], an extra of pyproject.toml: aws or gcp on the head, which asks the cloud for machines
set -eu
cd "$(dirname "$0")/.."
if ! test -x .venv/bin/python; then
    if command -v python3.11 >/dev/null; then
        python3.11 -m venv .venv
    else
        command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
        PATH="$HOME/.local/bin:$PATH" uv venv --quiet --seed --python 3.11 .venv
    fi
fi
.venv/bin/python -m pip install --quiet -c constraints.txt -e ".${1:+[$1]}"
chmod 600 "$HOME/.ray/auth_token"
# `ray down` looks for `ray` in a login shell.
grep -qs distill-rl/cluster/env.sh "$HOME/.bashrc" || echo '. ~/distill-rl/cluster/env.sh' >>"$HOME/.bashrc"
