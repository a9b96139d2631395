# Gives Grafana its first password, out of a variable or a secret of Compose, then becomes Grafana.
# Grafana's own __FILE variable would take an empty one for the password.
set -eu

file=/run/secrets/GRAFANA_ADMIN_PASSWORD
password=${GRAFANA_ADMIN_PASSWORD:-}
if [ -z "$password" ] && [ -s "$file" ]; then
    password=$(cat "$file")
fi
unset GRAFANA_ADMIN_PASSWORD
export GF_SECURITY_ADMIN_PASSWORD="${password:-admin}"
exec /run.sh "$@"
