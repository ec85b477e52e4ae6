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
    sources=(${${(f)"$(_call_program sources $words[1] config show 2>/dev/null)"}%%$'\t'*})
    compadd -S '' -a sources
}

# Completes the words of a mount.
_ftpfs_mount() {
    _arguments -s -S \
@FLAGS@
        ':SOURCE:_ftpfs_sources' \
        ':MOUNTPOINT:_files -/'
}
