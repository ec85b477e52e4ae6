# Prints the values of option $1 that start with $2.
_ftpfs_values() {
    case $1 in
@VALUES@
    esac
}

# Prints words of list $1 for the last part of $2, a value joined by +.
_ftpfs_joined() {
    local last=${2##*+}
    compgen -P "${2%"$last"}" -W "$1" -- "$last"
}

# Prints the paths (-f) or directories (-d) that start with $2; a directory ends with a slash.
_ftpfs_paths() {
    local path
    compgen "$1" -- "$2" | while IFS= read -r path; do
        if [[ -d $path ]]; then printf '%s/\n' "$path"; else printf '%s\n' "$path"; fi
    done
}

# Replies with the lines of $2, each after $1, for the word $3.
_ftpfs_reply() {
    local candidate cut='' breaks=${COMP_WORDBREAKS//[^=:]/}
    # Readline replaces only what follows the last of its word breaks.
    if [[ -n $breaks && $3 == *[$breaks]* ]]; then
        cut=${3%"${3##*[$breaks]}"}
    fi
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ -n $candidate ]] || continue
        candidate=$1$candidate
        COMPREPLY+=("${candidate#"$cut"}")
    done <<<"$2"
    _ftpfs_nothing_else
    compopt -o nospace 2>/dev/null
    return 0
}

# Keeps bash from offering files when there is no reply.
_ftpfs_nothing_else() {
    compopt +o default +o bashdefault 2>/dev/null
    return 0
}

# Completes the last item of $1, a list of options, which follows $2 in its word.
_ftpfs_mount_options() {
    local list=$1 typed=$2$1 item kept candidates
    item=${list##*,}
    kept=${typed%"$item"}
    if [[ $item == *=* ]]; then
        kept+=${item%%=*}=
        candidates=$(_ftpfs_values "${item%%=*}" "${item#*=}")
    else
        candidates=$(compgen -W '@NAMES@' -- "$item")
    fi
    _ftpfs_reply "$kept" "$candidates" "$typed"
}

# Completes $1, the mountpoint of a running mount. It reads only the table of mounts: a mount whose server is away can block.
_ftpfs_mounts() {
    local mountpoint type start rest
    COMPREPLY=()
    while read -r _ mountpoint type _; do
        [[ $type == fuse.ftpfs ]] || continue
        printf -v mountpoint '%b' "$mountpoint"
        # In the form that is typed: absolute, below the home directory, or relative.
        start='' rest=$mountpoint
        case $1 in
            '~/'*) [[ $mountpoint == "$HOME"/* ]] || continue; start='~/' rest=${mountpoint#"$HOME"/} ;;
            '' | /*) ;;
            *) [[ $mountpoint == "$PWD"/* ]] || continue; rest=${mountpoint#"$PWD"/} ;;
        esac
        printf -v rest '%q' "$rest"
        [[ $start$rest == "$1"* ]] && COMPREPLY+=("$start$rest")
    done </proc/self/mounts
    _ftpfs_nothing_else
}

# Adds the sources of the configuration that start with $2, by the program $1.
_ftpfs_sources() {
    local name
    while IFS=$'\t' read -r name _; do
        [[ $name == "$2"* ]] && COMPREPLY+=("$name")
    done < <("$1" config show 2>/dev/null)
    return 0
}

# Completes $1, a limit such as down=5M.
_ftpfs_limits() {
    case $1 in
        *=*) _ftpfs_reply "${1%%=*}=" "$(compgen -W off -- "${1#*=}")" "$1" ;;
        *) _ftpfs_reply '' "$(compgen -W 'down= up=' -- "$1")" "$1" ;;
    esac
}

_ftpfs_directories() {
    mapfile -t COMPREPLY < <(compgen -d -- "$1")
    compopt -o filenames 2>/dev/null
    return 0
}

_ftpfs_program() {
    # bash splits words at = and :, which are part of an option list.
    local line=${COMP_LINE:0:COMP_POINT} word before reply replies=() place=0
    word=${line##*[[:space:]]}
    before=${line%"$word"}
    before=${before%"${before##*[![:space:]]}"}
    if [[ ${before##*[[:space:]]} == -o ]]; then
        _ftpfs_mount_options "$word" ''
        return
    fi
    case $word in
        -o*) _ftpfs_mount_options "${word#-o}" -o; return ;;
        -*) _ftpfs "$@"; return ;;
    esac
    if ((COMP_CWORD > 1)); then
        # Flags may come before the mountpoint.
        for reply in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
            [[ $reply == -* ]] || ((place += 1))
        done
        case ${COMP_WORDS[1]} in
            @MOUNT_COMMANDS@) ((place == 1)) && { _ftpfs_mounts "$2"; return; } ;;&
            limit) _ftpfs_limits "$word"; return ;;
            @DIRECTORY_COMMANDS@) ((COMP_CWORD == 2)) && { _ftpfs_directories "$2"; return; } ;;
            @COMMANDS@) ;;
            *) _ftpfs_directories "$2"; return ;;
        esac
    fi
    # Without the flags and the names of arguments that clap adds.
    _ftpfs "$@"
    for reply in "${COMPREPLY[@]}"; do
        [[ $reply == [-\<\[]* ]] || replies+=("$reply")
    done
    COMPREPLY=("${replies[@]}")
    if ((COMP_CWORD == 1)); then
        _ftpfs_sources "$1" "$2"
    elif [[ ${COMP_WORDS[1]} == check ]]; then
        _ftpfs_nothing_else
        ((COMP_CWORD == 2)) && _ftpfs_sources "$1" "$2"
    elif [[ ${COMP_WORDS[1]} == config && ${COMP_WORDS[2]} == show && ${COMP_WORDS[COMP_CWORD-1]} != --file ]]; then
        _ftpfs_nothing_else
        ((COMP_CWORD == 3)) && _ftpfs_sources "$1" "$2"
    fi
    return 0
}

complete -F _ftpfs_program -o bashdefault -o default ftpfs
