# shellcheck shell=bash
# What an installation of one program consists of, the same in every kind of package. Sourced, not run.

version=${SYNC_PACKAGE_VERSION:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)}

# lay_out NAME BINDIR USR ETC: the files of program NAME, which is in BINDIR; USR is what becomes /usr or /usr/local.
lay_out() {
    local name=$1 bin=$2 usr=$3 etc=$4 doc=$3/share/doc/$1 unit page
    install -Dm755 "$bin/$name" "$usr/bin/$name"
    strip --strip-unneeded "$usr/bin/$name"
    install -Dm644 "packaging/$name/$name.toml" "$etc/$name/$name.toml"
    mkdir -p "$usr/share/man/man1"
    "$bin/$name" man | gzip -9n >"$usr/share/man/man1/$name.1.gz"
    mkdir -p "$usr/share/bash-completion/completions" "$usr/share/zsh/vendor-completions" \
        "$usr/share/fish/vendor_completions.d"
    "$bin/$name" completions bash >"$usr/share/bash-completion/completions/$name"
    "$bin/$name" completions zsh >"$usr/share/zsh/vendor-completions/_$name"
    "$bin/$name" completions fish >"$usr/share/fish/vendor_completions.d/$name.fish"
    install -Dm644 LICENSE "$doc/copyright"
    gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
    # what whoever stands before a broken machine wants to read, without a network
    for page in OPERATIONS RECOVERY SECURITY LINKS CONFLICTS QUARANTINE; do
        install -Dm644 "docs/$page.md" "$doc/$page.md"
    done
    for unit in "packaging/systemd/$name".*; do
        [ ! -e "$unit" ] || install -Dm644 "$unit" "$usr/lib/systemd/system/${unit##*/}"
    done
    install -Dm644 "packaging/$name/sysusers.conf" "$usr/lib/sysusers.d/$name.conf"
}
