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

# Completes the last item of $1, a list of options, which follows $2 in its word.
_ftpfs_mount_options() {
    local list=$1 typed=$2$1 item kept candidates candidate cut='' breaks=${COMP_WORDBREAKS//[^=:]/}
    item=${list##*,}
    kept=${typed%"$item"}
    if [[ $item == *=* ]]; then
        kept+=${item%%=*}=
        candidates=$(_ftpfs_values "${item%%=*}" "${item#*=}")
    else
        candidates=$(compgen -W '@NAMES@' -- "$item")
    fi
    # Readline replaces only what follows the last of its word breaks.
    if [[ -n $breaks && $typed == *[$breaks]* ]]; then
        cut=${typed%"${typed##*[$breaks]}"}
    fi
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ -n $candidate ]] || continue
        candidate=$kept$candidate
        COMPREPLY+=("${candidate#"$cut"}")
    done <<<"$candidates"
    # Another option may follow, and a file that matches is no option.
    compopt -o nospace +o default +o bashdefault 2>/dev/null
    return 0
}

_ftpfs_directories() {
    mapfile -t COMPREPLY < <(compgen -d -- "$1")
    compopt -o filenames 2>/dev/null
    return 0
}

_ftpfs_program() {
    # bash splits words at = and :, which are part of an option list.
    local line=${COMP_LINE:0:COMP_POINT} word before reply replies=()
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
        case ${COMP_WORDS[1]} in
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
    # The sources of the configuration.
    if ((COMP_CWORD == 1)) || [[ ${COMP_WORDS[1]} == check && $COMP_CWORD == 2 ]]; then
        while IFS=$'\t' read -r reply _; do
            [[ $reply == "$2"* ]] && replies+=("$reply")
        done < <("$1" config show 2>/dev/null)
    fi
    COMPREPLY=("${replies[@]}")
}

complete -F _ftpfs_program -o bashdefault -o default ftpfs
