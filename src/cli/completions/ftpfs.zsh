# Completes a list of options.
_ftpfs_mount_options() {
    local -a options
    options=(
@OPTIONS@
    )
    _values -s , option $options
}

# Whether the words are those of a mount: flags or a source come first.
_ftpfs_is_mount() {
    case $words[2] in
        (@COMMANDS@) return 1 ;;
        (--*) return 1 ;;
        (-*) return 0 ;;
    esac
    (( CURRENT > 2 ))
}

# Completes the sources of the configuration.
_ftpfs_sources() {
    local -a sources
    sources=(${${(f)"$(_call_program sources $_ftpfs_program config show 2>/dev/null)"}%%$'\t'*})
    compadd -S '' -a sources
}

# Completes the mountpoint of a running mount. It reads only the table of mounts: a mount whose server is away can block.
_ftpfs_mounts() {
    local -a mounts
    local line start
    # In the form that is typed: absolute, below the home directory, or relative.
    if compset -P '\~/'; then
        start=$HOME/
    elif [[ -n $PREFIX && $PREFIX != /* ]]; then
        start=$PWD/
    fi
    for line in ${(f)"$(</proc/self/mounts)"}; do
        [[ $line == *' '*' fuse.ftpfs '* ]] || continue
        line=${${line#* }%% *}
        line=${(g:o:)line}
        [[ $line == $start* ]] && mounts+=("${line#$start}")
    done
    compadd -a mounts
}

# Completes a limit such as down=5M.
_ftpfs_limits() {
    if compset -P '*='; then
        compadd off
    else
        compadd -S '' down= up=
    fi
}

# Completes the words of a mount.
_ftpfs_mount() {
    _arguments -s -S \
@FLAGS@
        ':SOURCE:_ftpfs_sources' \
        ':MOUNTPOINT:_files -/'
}
