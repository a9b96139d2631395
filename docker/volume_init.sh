# Gives each folder to the user of the container that writes to it. Run as root by the service
# volume-init, on a fresh clone and on every start: a folder that fits is left alone.
set -eu

give() {
    folder=$1 owner=$2 mode=$3
    # All of it, not the top alone: a start that was cut off, or a restored copy, may be mixed.
    find "$folder" ! -user "${owner%:*}" -exec chown -h "$owner" {} +
    chmod "$mode" "$folder"
}

give /volumes/grafana 472:0 0755
give /volumes/prometheus 65534:65534 0755
# Sessions that are forked before the first installation are to see it: the runner cannot make this.
mkdir -p /volumes/packages/sets
give /volumes/packages 10001:10001 0755

# The user's own folder keeps its owner; users' code comes as the group, where it is let in at all.
chown :64123 /volumes/workspace
chmod g+rwx /volumes/workspace

# Keys are for their owner, and for the group of the one container that they are mounted into.
for pair in middleware:10001 sandbox:10001 grafana:0; do
    folder=/configuration/secrets/${pair%%:*}
    [ -d "$folder" ] || continue
    chgrp -R "${pair#*:}" "$folder"
    chmod -R u+rX,g+rX,g-w,o-rwx "$folder"
done
chmod a+x /configuration/secrets

# A clone made under a strict umask is its owner's alone; the containers' users read these as well.
chmod -R a+rX /configuration/docker /configuration/monitoring /configuration/system_prompt.md
echo "folders are ready"
