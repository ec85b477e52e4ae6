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

# Prints the mountpoints of running mounts in the form that is typed: absolute, below the home directory, or relative. It
# reads only the table of mounts: a mount whose server is away can block.
function __ftpfs_mounts
    set -l typed (commandline -ct)
    for mountpoint in (string replace -rf '^\S+ (\S+) fuse\.ftpfs .*' '$1' </proc/self/mounts)
        set -l path (string replace -a '\\040' ' ' -- $mountpoint | string replace -a '\\011' \t \
            | string replace -a '\\043' '#' | string replace -a '\\134' '\\')
        switch "$typed"
            case '~/*'
                string replace -rf -- '^'(string escape --style=regex -- $HOME/) '~/' $path
            case '' '/*'
                printf '%s\n' $path
            case '*'
                string replace -rf -- '^'(string escape --style=regex -- $PWD/) '' $path
        end
    end
end

# Whether the next argument of the subcommand is number $argv[1].
function __ftpfs_argument
    test (count (commandline -opc | string match -v -- '-*')) -eq (math $argv[1] + 1)
end

complete -c ftpfs -n __fish_ftpfs_needs_command -a '(__ftpfs_sources)'
complete -c ftpfs -n '__fish_ftpfs_using_subcommand check' -f -a '(__ftpfs_sources)'
complete -c ftpfs -n '__fish_ftpfs_using_subcommand config; and __fish_seen_subcommand_from show' -f -a '(__ftpfs_sources)'
complete -c ftpfs -n '__fish_ftpfs_using_subcommand limit; and not __ftpfs_argument 1' -f -a 'down= up='
