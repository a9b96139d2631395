# Gives Grafana its first password, out of a variable or the file of secrets/grafana, then becomes Grafana.
# Grafana's own __FILE variable would demand that the file is there.
set -eu

file=/run/secrets/grafana/GRAFANA_ADMIN_PASSWORD
password=${GRAFANA_ADMIN_PASSWORD:-}
if [ -z "$password" ] && [ -s "$file" ]; then
    password=$(cat "$file")
fi
unset GRAFANA_ADMIN_PASSWORD
export GF_SECURITY_ADMIN_PASSWORD="${password:-admin}"
exec /run.sh "$@"
