# Prints what may follow -o: the list so far, with each of the options or values that may come next.
function __ftpfs_mount_options
    set -l list (commandline -ct | string replace -r -- '^-o' '')
    set -l item (string replace -r -- '.*,' '' "$list")
    set -l kept (string replace -r -- '[^,]*$' '' "$list")
    if not string match -q -- '*=*' "$item"
@NAMES@
        return
    end
    set -l name (string replace -r -- '=.*' '' "$item")
    set -l value (string replace -r -- '^[^=]*=' '' "$item")
    set -l start "$kept$name="
    switch $name
@VALUES@
    end
end

complete -c ftpfs -s o -x -a '(__ftpfs_mount_options)'

# Prints the sources of the configuration, each with its URL.
function __ftpfs_sources
    ftpfs config show 2>/dev/null | string replace -r '\t([^\t]*)\t.*' '\t$1'
end

complete -c ftpfs -n __fish_ftpfs_needs_command -a '(__ftpfs_sources)'
complete -c ftpfs -n '__fish_seen_subcommand_from check' -f -a '(__ftpfs_sources)'
