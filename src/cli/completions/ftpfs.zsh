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

# Completes the words of a mount.
_ftpfs_mount() {
    _arguments -s -S \
@FLAGS@
        ':SOURCE: ' \
        ':MOUNTPOINT:_files -/'
}
