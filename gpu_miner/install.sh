#!/bin/sh
# Installs, updates and removes the MIA miner. POSIX shell, no root needed: everything lives in one folder.
#   curl -sSL https://your-platform/install.sh | sh -s -- --token mia_et_...
set -eu

# The platform that serves this file fills these in.
PLATFORM=''
ARCHIVE_SHA256=''

MARK=.mia-miner
UNIT=mia-miner.service
CORE_DISK_MB=600
CUDA_DISK_MB=20000
LEAST_DRIVER=570

usage() {
    cat <<'TEXT'
Usage: install.sh [OPTIONS]

  --token TOKEN        enrolment token from the platform (or MIA_ENROLMENT_TOKEN, or --token-file FILE)
  --name NAME          name of this miner, unique on the platform (host name)
  --engine ENGINE      exllamav2 with an NVIDIA GPU, openai with --openai-url, else extractive
  --openai-url URL     an OpenAI-compatible server on this machine
  --set KEY=VALUE      any other setting of miner.toml, such as --set hours=22:00-08:00
  --dir FOLDER         where to install (/data/mia-gpu-miner where /data is, else ~/mia-gpu-miner)
  --url URL            the platform (the one that served this file)
  --python PROGRAM     Python 3.11 or newer to make the virtual environment with
  --use-python PROGRAM a Python that has every package already: no environment is made
  --no-start           install only
  --no-service         plain start and stop scripts, even where systemd would run the miner
  --dry-run            say what would be done, and do nothing
  --uninstall          stop the miner and remove all of it, its key and its models too
TEXT
}

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# act COMMAND...: runs it, or says so in a dry run.
act() {
    if [ "$dry" = yes ]; then
        say "would: $*"
    else
        "$@"
    fi
}

fetch() { # URL FILE
    if have curl; then
        curl -fsSL --proto '=http,https' --connect-timeout 15 --retry 3 -o "$2" "$1"
    elif have wget; then
        wget -q -T 30 -O "$2" "$1"
    else
        fail "curl or wget is needed"
    fi
}

# Arguments of a process are for everybody to read: the token goes into a file, and this program starts again without it.
hide_token() {
    hidden=
    wanted=
    remaining=$#
    while [ "$remaining" -gt 0 ]; do
        argument=$1
        shift
        remaining=$((remaining - 1))
        if [ -n "$wanted" ]; then
            case $argument in '' | -*) fail "--token needs a value" ;; esac
            hidden=$argument wanted=
            continue
        fi
        case $argument in
            --token) wanted=yes ;;
            --token=*) hidden=${argument#--token=} ;;
            *) set -- "$@" "$argument" ;;
        esac
    done
    [ -z "$wanted" ] || fail "--token needs a value"
    [ -n "$hidden" ] || return 0
    scratch=$(umask 077 && mktemp -d)
    (umask 077 && printf '%s\n' "$hidden" >"$scratch/token")
    if [ -f "$0" ] && grep -q '^MARK=.mia-miner$' "$0"; then
        cp "$0" "$scratch/install.sh"
    else
        # Piped in: what the pipe still holds is not needed, and its writer must not fail.
        cat >/dev/null
        if [ -z "$PLATFORM" ] || ! fetch "$PLATFORM/install.sh" "$scratch/install.sh"; then
            rm -rf "$scratch"
            fail "this script cannot be fetched again to hide the token; give it as MIA_ENROLMENT_TOKEN instead"
        fi
    fi
    MIA_INSTALL_SCRATCH=$scratch
    export MIA_INSTALL_SCRATCH
    exec sh "$scratch/install.sh" --token-file "$scratch/token" "$@"
}

parse() {
    url=$PLATFORM token=${MIA_ENROLMENT_TOKEN:-} name='' engine='' openai_url='' folder='' python='' ready_python=''
    start=yes service=yes dry=no uninstall=no extra=''
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry=yes ;;
            --no-start) start=no ;;
            --no-service) service=no ;;
            --uninstall) uninstall=yes ;;
            -h | --help) usage && exit 0 ;;
            --token-file | --name | --engine | --openai-url | --set | --dir | --url | --python | --use-python)
                [ $# -ge 2 ] || fail "$1 needs a value"
                take "$1" "$2"
                shift
                ;;
            *) fail "there is no option '$1'; --help lists them" ;;
        esac
        shift
    done
}

take() {
    case $2 in *[[:cntrl:]]*) fail "$1: line breaks and control characters are not possible here" ;; esac
    case $1 in
        --token-file) token=$(head -n 1 "$2") || fail "the file of --token-file cannot be read" ;;
        --name) name=$2 ;;
        --engine) engine=$2 ;;
        --openai-url) openai_url=$2 ;;
        --dir) folder=$2 ;;
        --url) url=${2%/} ;;
        --python) python=$2 ;;
        --use-python) ready_python=$2 ;;
        --set) add_setting "$2" ;;
    esac
}

add_setting() {
    key=${1%%=*}
    case $1 in *=*) ;; *) fail "--set wants KEY=VALUE, not '$1'" ;; esac
    case $key in '' | *[!a-z0-9_-]*) fail "--set: '$key' is no name of a setting" ;; esac
    extra="$extra$key = $(quoted "${1#*=}")
"
}

# quoted TEXT: as a TOML string.
quoted() { printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

choose_folder() {
    if [ -z "$folder" ]; then
        # Rented machines keep /data when the rest is thrown away.
        if [ -d /data ] && [ -w /data ]; then
            folder=/data/mia-gpu-miner
        else
            [ -n "${HOME:-}" ] || fail "HOME is not set; say --dir"
            folder=$HOME/mia-gpu-miner
        fi
    fi
    case $folder in
        /*) ;;
        *) folder=$PWD/$folder ;;
    esac
    # The path goes into scripts and a systemd unit.
    case $folder in *[!A-Za-z0-9_./@+-]*) fail "the folder '$folder' has characters other than A-Z a-z 0-9 _ . / @ + -" ;; esac
    unit_folder=${XDG_CONFIG_HOME:-${HOME:-$folder}/.config}/systemd/user
}

has_systemd() {
    [ "$service" = yes ] && have systemctl && systemctl --user show-environment >/dev/null 2>&1
}

check_gpu() {
    gpu=no
    if have nvidia-smi && found=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1) &&
        [ -n "$found" ]; then
        gpu=yes
        driver=${found##*, }
        say "GPU: ${found%, *}, driver $driver"
        case ${driver%%.*} in
            '' | *[!0-9]*) warn "the driver's version is not understood" ;;
            *) [ "${driver%%.*}" -ge "$LEAST_DRIVER" ] || warn "the driver is older than $LEAST_DRIVER; update it for ExLlamaV2" ;;
        esac
    else
        say "GPU: none that nvidia-smi shows"
    fi
    [ -n "$engine" ] || { [ -z "$openai_url" ] || engine=openai; }
    [ -n "$engine" ] || { [ "$gpu" = no ] || [ -n "$ready_python" ] || engine=exllamav2; }
    case $engine in
        exllamav2) packages=requirements-cuda.txt ;;
        exllamav3) packages=requirements-exllamav3.txt ;;
        transformers) packages=requirements-transformers.txt ;;
        *) packages=requirements.txt ;;
    esac
}

check_disk() {
    place=$folder
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    [ -w "$place" ] || fail "$place cannot be written; choose another folder with --dir"
    needed=$CORE_DISK_MB
    [ "$packages" = requirements.txt ] || needed=$CUDA_DISK_MB
    free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1024) }')
    say "Disk: $free MB free in $place, about $needed MB are needed"
    [ "$free" -ge "$needed" ] || fail "there is not enough room; choose another disk with --dir"
}

# The pinned wheels of the GPU engines are built for 3.11 to 3.13; the core runs on any newer one as well.
find_python() {
    newest='import sys; sys.exit(sys.version_info < (3, 11))'
    [ "$packages" = requirements.txt ] || newest='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
    for candidate in "$ready_python" "$python" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c "$newest" 2>/dev/null; then
            python=$(command -v "$candidate")
            case $python in *[!A-Za-z0-9_./@+-]*) fail "the path '$python' has characters that no script can hold" ;; esac
            say "Python: $("$python" -V) ($python)"
            return
        fi
    done
    if have uv; then
        say "Python: 3.12, which uv brings"
        python=3.12
        return
    fi
    fail "Python 3.11, 3.12 or 3.13 is needed (Debian, Ubuntu: sudo apt-get install python3 python3-venv), or say --python"
}

check_archive() { # FILE
    [ -n "$ARCHIVE_SHA256" ] || return 0
    if have sha256sum; then
        sum=$(sha256sum "$1")
    elif have shasum; then
        sum=$(shasum -a 256 "$1")
    else
        fail "sha256sum or shasum is needed"
    fi
    [ "${sum%% *}" = "$ARCHIVE_SHA256" ] || fail "the miner's archive does not have its checksum; try again in a minute"
}

install_code() {
    if [ "$dry" = yes ]; then
        say "would: fetch $url/miner.tar.gz, check its SHA-256 and unpack it into $folder/app"
        return
    fi
    archive=$folder/miner.tar.gz
    fetch "$url/miner.tar.gz" "$archive" || fail "$url/miner.tar.gz cannot be fetched"
    check_archive "$archive"
    rm -rf "$folder/app.new"
    mkdir "$folder/app.new"
    tar -xzf "$archive" -C "$folder/app.new"
    rm -rf "$folder/app"
    mv "$folder/app.new" "$folder/app"
    rm -f "$archive"
}

install_packages() {
    if [ -n "$ready_python" ]; then
        say "Packages: those of $python"
        return
    fi
    if [ "$dry" = yes ]; then
        say "would: make $folder/venv with $python and install what $packages pins"
        return
    fi
    say "Packages: installing what $packages pins..."
    if [ ! -x "$folder/venv/bin/python" ]; then
        if have uv; then
            uv venv --quiet --python "$python" "$folder/venv"
        else
            "$python" -m venv "$folder/venv" || fail "$python makes no virtual environments; install python3-venv, or uv"
        fi
    fi
    python=$folder/venv/bin/python
    if have uv; then
        uv pip install --quiet --python "$python" -r "$folder/app/gpu_miner/$packages"
    else
        "$python" -m pip install --quiet --disable-pip-version-check -r "$folder/app/gpu_miner/$packages"
    fi
}

write_settings() {
    file=$folder/miner.toml
    if [ -f "$file" ] && [ -z "$token$name$openai_url$extra" ]; then
        say "Settings: $file is kept"
        return
    fi
    if [ "$dry" = yes ]; then
        say "would: write $file, for its owner alone"
        return
    fi
    [ ! -f "$file" ] || cp -p "$file" "$file.before"
    (
        umask 077
        {
            say "# Settings of the MIA miner; python -m gpu_miner --help explains each."
            say "url = $(quoted "$url")"
            [ -z "$name" ] || say "name = $(quoted "$name")"
            [ -z "$token" ] || say "enrolment_token = $(quoted "$token")"
            [ -z "$engine" ] || say "engine = $(quoted "$engine")"
            [ -z "$openai_url" ] || say "openai_url = $(quoted "$openai_url")"
            say "state_dir = $(quoted "$folder/state")"
            say "models_dir = $(quoted "$folder/models")"
            say "log_file = $(quoted "$folder/miner.log")"
            printf '%s' "$extra"
        } >"$file.new"
    )
    mv "$file.new" "$file"
    say "Settings: $file"
}

write_scripts() {
    if [ "$dry" = yes ]; then
        say "would: write $folder/mia-miner, start_miner.sh and stop_miner.sh"
        return
    fi
    cat >"$folder/mia-miner" <<TEXT
#!/bin/sh
# The miner's command line with this folder's settings: mia-miner status, doctor, bench, download.
export PYTHONPATH="$folder/app" MIA_CONFIG="$folder/miner.toml"
exec "$python" -m gpu_miner "\$@"
TEXT
    cat >"$folder/start_miner.sh" <<TEXT
#!/bin/sh
# Starts the miner, if it does not run yet.
if [ -f "$unit_folder/$UNIT" ]; then
    exec systemctl --user start $UNIT
fi
if "$folder/mia-miner" status >/dev/null; then
    echo "it runs already"
    exit 0
fi
nohup "$folder/mia-miner" run >>"$folder/start.log" 2>&1 </dev/null &
echo "started; see $folder/miner.log"
TEXT
    cat >"$folder/stop_miner.sh" <<TEXT
#!/bin/sh
# Lets the miner finish its running jobs, at most two minutes long, and ends it.
if [ -f "$unit_folder/$UNIT" ]; then
    exec systemctl --user stop $UNIT
fi
pid=\$("$folder/mia-miner" status --json 2>/dev/null | sed -n 's/.*"pid": \\([0-9]*\\).*"is_running": true.*/\\1/p' | head -n 1)
if [ -z "\$pid" ]; then
    echo "it does not run"
    exit 0
fi
kill -TERM "\$pid"
waited=0
while kill -0 "\$pid" 2>/dev/null; do
    [ "\$waited" -lt 120 ] || kill -KILL "\$pid"
    waited=\$((waited + 1))
    sleep 1
done
echo "stopped"
TEXT
    chmod 700 "$folder/mia-miner" "$folder/start_miner.sh" "$folder/stop_miner.sh"
}

write_unit() {
    if ! has_systemd; then
        say "Service: none; start_miner.sh and stop_miner.sh do without systemd"
        return
    fi
    if [ "$dry" = yes ]; then
        say "would: write $unit_folder/$UNIT and enable it"
        return
    fi
    mkdir -p "$unit_folder"
    cat >"$unit_folder/$UNIT" <<TEXT
[Unit]
Description=MIA miner
After=network-online.target

[Service]
ExecStart=$folder/mia-miner run
Restart=on-failure
RestartSec=10
# What waiting does not cure: wrong settings, a refusal, a name that is taken.
RestartPreventExitStatus=2 4 5
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec=120
Nice=5
NoNewPrivileges=true
UMask=0077

[Install]
WantedBy=default.target
TEXT
    systemctl --user daemon-reload
    systemctl --user enable --quiet "$UNIT"
    # Without it the miner ends when its owner logs out; not every machine allows it.
    loginctl enable-linger >/dev/null 2>&1 || warn "ask the administrator for: loginctl enable-linger $(id -un)"
    say "Service: $UNIT (systemctl --user status mia-miner)"
}

start_miner() {
    [ "$start" = yes ] || return 0
    if [ "$dry" = yes ]; then
        say "would: start the miner"
        return
    fi
    "$folder/stop_miner.sh" >/dev/null 2>&1 || true
    "$folder/start_miner.sh"
    # A large model is downloaded and loaded first; only an end within moments is a failure of the installation.
    waited=0
    while [ "$waited" -lt 15 ]; do
        sleep 1
        waited=$((waited + 1))
        if "$folder/mia-miner" status 2>/dev/null; then
            return
        fi
    done
    say "It is not online yet. What it says:"
    tail -n 5 "$folder/start.log" "$folder/miner.log" 2>/dev/null || true
}

remove() {
    [ -f "$folder/$MARK" ] || fail "$folder holds no miner of this installer; nothing is removed"
    if [ -f "$unit_folder/$UNIT" ]; then
        act systemctl --user disable --now --quiet "$UNIT" || warn "systemd did not stop the miner"
        act rm -f "$unit_folder/$UNIT"
        act systemctl --user daemon-reload || true
    elif [ -x "$folder/stop_miner.sh" ]; then
        act "$folder/stop_miner.sh"
    fi
    act rm -rf "$folder"
    say "Removed $folder. The miner's key is gone with it: its name stays taken on the platform."
}

main() {
    hide_token "$@"
    parse "$@"
    if [ -n "${MIA_INSTALL_SCRATCH:-}" ]; then
        scratch=$MIA_INSTALL_SCRATCH
        trap 'rm -rf "$scratch"' EXIT
        unset MIA_INSTALL_SCRATCH
    fi
    unset MIA_ENROLMENT_TOKEN
    choose_folder
    if [ "$uninstall" = yes ]; then
        remove
        return
    fi
    [ -n "$url" ] || fail "the address of the platform is missing: --url https://..."
    [ -n "$token" ] || [ -f "$folder/miner.toml" ] || warn "no --token: only a platform with open registration takes this miner"
    check_gpu
    find_python
    check_disk
    act mkdir -p "$folder"
    [ "$dry" = yes ] || : >"$folder/$MARK"
    act chmod 700 "$folder"
    install_code
    install_packages
    write_settings
    write_scripts
    write_unit
    start_miner
    say ""
    say "Look:    $folder/mia-miner status --follow    (or tail -f $folder/miner.log)"
    say "Check:   $folder/mia-miner doctor"
    say "Stop:    $folder/stop_miner.sh        Start: $folder/start_miner.sh"
    say "Remove:  curl -sSL $url/install.sh | sh -s -- --uninstall --dir $folder"
}

main "$@"
