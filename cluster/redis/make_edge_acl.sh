#!/bin/sh
# make_edge_acl.sh NAME: reads three passwords from standard input, a line each, of the users trainer, actor and robot;
# prints the users of cluster/redis/edge.conf for the run NAME, with the passwords' sha256 only. Nobody else gets in.
#   for user in trainer actor robot; do openssl rand -hex 32 > $user.password; done && chmod 600 *.password
#   cat trainer.password actor.password robot.password | sh make_edge_acl.sh distill_rl > edge.acl
set -eu
name=$1
hash_line() {
    read -r password
    test ${#password} -ge 32 || { echo "make_edge_acl.sh: a password must have at least 32 characters" >&2 && exit 2; }
    printf %s "$password" | sha256sum | cut -d' ' -f1
}
trainer=$(hash_line)
actor=$(hash_line)
robot=$(hash_line)
always="-@all +ping +hello"
listens="+get +subscribe +unsubscribe"
cat <<EOF
user default off
user trainer on #$trainer resetchannels ~$name:* &$name:policy $always +get +set +unlink +lpush +ltrim +lrange +publish +multi +exec +xreadgroup +xgroup +xpending +xclaim +xack +xdel +xadd +xlen
user actor on #$actor resetchannels ~$name:references ~$name:policy:* &$name:policy $always $listens +xadd +xlen
user robot on #$robot resetchannels ~$name:policy:* &$name:policy $always $listens
EOF
