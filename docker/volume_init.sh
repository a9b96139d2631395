# Gives each folder to the user of the container that writes to it. Run as root by the service
# volume-init, on a fresh clone and on every start: a folder that fits is left alone.
set -eu

give() {
    folder=$1 owner=$2 mode=$3
    # All of it, not the top alone: a start that was cut off, or a restored copy, may be mixed.
    find "$folder" ! -user "${owner%:*}" -exec chown -h "$owner" {} + || return 1
    [ -n "$(find "$folder" -maxdepth 0 -perm "$mode")" ] || chmod "$mode" "$folder"
}

# Chats are answered without these two.
give /volumes/grafana 472:0 0755 || echo "./data/grafana can't be given to the user 472: Grafana may not start." >&2
give /volumes/prometheus 65534:65534 0755 ||
    echo "./data/prometheus can't be given to the user 65534: Prometheus may not start." >&2
# Sessions that are forked before the first installation are to see it: the runner cannot make this.
mkdir -p /volumes/packages/sets
give /volumes/packages 10001:10001 0755

# The user's own folder keeps its owner; users' code comes as the group, where it is let in at all.
# A file system without owners (a share, another system's disk) may refuse: then code may not write there.
if [ -z "$(find /volumes/workspace -maxdepth 0 -group 64123 -perm -0070)" ]; then
    { chown :64123 /volumes/workspace && chmod g+rwx /volumes/workspace; } ||
        echo "./workspace can't be given to the group 64123; with SANDBOX_WORKSPACE code may not get in." >&2
fi

# Stands for each key that is not given, and every service reads it.
none=/configuration/secrets/none
if [ -s "$none" ]; then
    echo "secrets/none is not empty. It stays empty, for git publishes it: move the key into another file." >&2
    exit 1
fi
[ -n "$(find "$none" -perm 0444)" ] || chmod 0444 "$none" || :

# A key is for its owner, and for the group of the one container that reads it: Compose mounts it as it lies.
give_key() {
    file=$1 group=$2
    if [ -n "$(find /configuration/secrets -samefile "$file")" ]; then
        chgrp "$group" "$file" && chmod u+r,g+r,g-wx,o-rwx "$file"
    # Of a file elsewhere others may know: nobody is to lose it.
    elif [ -z "$(find "$file" -perm /0077)" ]; then
        chgrp "$group" "$file" && chmod g+r "$file"
    else
        [ -n "$(find "$file" -perm -0004)" ] || [ -n "$(find "$file" -group "$group" -perm -0040)" ]
    fi
}

for pair in LLM_API_KEY:10001 OPENAI_API_KEY:10001 SANDBOX_PACKAGES_INDEX_URL:10001 GRAFANA_ADMIN_PASSWORD:0; do
    key=/configuration/keys/${pair%%:*}
    [ ! "$key" -ef "$none" ] || continue
    give_key "$key" "${pair#*:}" ||
        echo "${pair%%:*}: its service may not read the file (group ${pair#*:} is to); a copy in ./secrets it would." >&2
done

# A clone made under a strict umask is its owner's alone; the containers' users read these as well.
for place in docker monitoring system_prompt.md; do
    find "/configuration/$place" ! -type l \( ! -perm -0444 -o -type d ! -perm -0555 \) \
        -exec chmod a+rX {} + ||
        echo "$place can't be made readable for all; if a container can't read it: chmod -R a+rX." >&2
done
echo "folders are ready"
