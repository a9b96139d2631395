# Puts what a backup holds (a compressed tar on standard input) in the place of what is there: run by
# backup.sh in volume-init, `restore_volumes.sh PLACE FOLDER...`. Needs GNU's tar and mv.
#
# Each folder is a file system of its own. So each gets the new data beside the old ones, and only when all of
# them are there the two change places, by renaming. Whatever fails before the end, the old data stay.
set -eu

cd "$1"
shift
new=.mcp-stack-new moving=.mcp-stack-moving old=.mcp-stack-old done=.mcp-stack-done
is_done=false

all_but() { # FOLDER: what is in it, ours left out, for the find that follows
    folder=$1
    shift
    find "$folder" -mindepth 1 -maxdepth 1 ! -name "$new" ! -name "$moving" ! -name "$old" ! -name "$done" "$@"
}

move_back() { # FOLDER FROM
    find "$1/$2" -mindepth 1 -maxdepth 1 -exec mv -t "$1" {} +
    rmdir "$1/$2"
}

# What an earlier try, or this one, left in the middle. Once one folder is done all are: then the new data stay.
put_back() {
    for each in "$@"; do
        if [ -d "$each/$done" ]; then is_done=true; fi
    done
    for each in "$@"; do
        if [ -d "$each/$moving" ]; then move_back "$each" "$moving"; fi
        if [ -d "$each/$old" ] && $is_done; then
            mv "$each/$old" "$each/$done"
        elif [ -d "$each/$old" ]; then
            all_but "$each" -exec rm -rf {} +
            move_back "$each" "$old"
        fi
        rm -rf "${each:?}/$new"
    done
    for each in "$@"; do rm -rf "${each:?}/$done"; done
}

folders=$*
# shellcheck disable=SC2086,SC2064  # a list of words, which stays what it is
trap "put_back $folders" EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

put_back "$@"
is_done=false
for each in "$@"; do mkdir "$each/$new"; done
# FOLDER/NAME becomes FOLDER/.mcp-stack-new/NAME; what a symbolic link says stays.
tar --numeric-owner --transform "s,^[^/]*,&/$new,S" -xpzf -
for each in "$@"; do
    mkdir "$each/$moving"
    all_but "$each" -exec mv -t "$each/$moving" {} +
    mv "$each/$moving" "$each/$old"
    move_back "$each" "$new"
done
# From here on the new data are the ones that stay.
for each in "$@"; do mv "$each/$old" "$each/$done"; done
put_back "$@"
