# Sourced by whatever starts or uses Ray on a machine of the cluster.
export PATH="$HOME/distill-rl/.venv/bin:$PATH"
# Whoever shows no token, or a wrong one, is refused; the token lies in ~/.ray/auth_token.
export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"
# Machines and drivers wait this long for a head that died and comes back, instead of a minute.
export RAY_gcs_rpc_server_reconnect_timeout_s="${RAY_gcs_rpc_server_reconnect_timeout_s:-600}"
export MUJOCO_GL="${MUJOCO_GL:-disabled}" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
