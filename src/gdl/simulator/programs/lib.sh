# Shared by the simulated programs. Nothing here installs, downloads or computes anything.
: "${SIM_ROOT:?this program runs on a simulated machine only}"
. "$SIM_ROOT/machine.sh"

mark() { : > "$SIM_ROOT/marks/$1"; }

note() { printf '%s\n' "$*" >> "$SIM_ROOT/history"; }

pause() { case $1 in 0.00[0-2]*) ;; *) sleep "$1" ;; esac; }

fault() {
    # Fails as the scenario wants it: `faults/$1` always, `faults/$1.N` once each.
    for file in "$SIM_ROOT/faults/$1" "$SIM_ROOT/faults/$1".[0-9]*; do
        [ -f "$file" ] || continue
        { read -r status; cat >&2; } < "$file"
        case $file in *.[0-9]*) rm -f "$file" ;; esac
        exit "$status"
    done
}

environment_of() {
    # The folder of the environment whose interpreter is $1.
    case $1 in */bin/python*) printf '%s' "${1%/bin/python*}" ;; esac
}

make_environment() {
    # $1 folder, $2 version, $3 the tool that makes it
    mkdir -p "$1/bin"
    ln -sf "$SIM_PROGRAMS/python" "$1/bin/python"
    ln -sf python "$1/bin/python3"
    ln -sf "$SIM_PROGRAMS/pip" "$1/bin/pip"
    printf 'version = %s\nsimulated = true\n' "$2" > "$1/pyvenv.cfg"
}

variant_of() {
    # The PyTorch variant for a command line.
    case $* in
        *--torch-backend=cu*) v=${*##*--torch-backend=}; printf '%s' "${v%% *}" ;;
        *+cu*) v=${*##*+}; printf '%s' "${v%%[!a-z0-9]*}" ;;
        *) case $SIM_CUDA in 13.*) printf cu130 ;; *) printf cu129 ;; esac ;;
    esac
}

download() {
    # $1 requirement, $2 PyTorch variant
    case $1 in
        vllm* | sglang*)
            for package in "torch (846.8MiB)" "${1%%[=@ ]*} (412.2MiB)" "nvidia-cublas (566.8MiB)" \
                "nvidia-cudnn (674.0MiB)" "triton (148.4MiB)" "flashinfer (87.6MiB)" \
                "transformers (11.4MiB)" "numpy (15.8MiB)"
            do
                echo "Downloading $package"
                pause "$SIM_T_PACKAGE"
            done
            ;;
        *) pause "$SIM_T_PACKAGE" ;;
    esac
}

version_of() {
    v=${1#*==}
    case $1 in
        *vllm-[0-9]*) v=${1##*vllm-}; v=${v%%+*} ;;
    esac
    printf '%s' "${v%%+*}"
}

packages() {
    # What is there after a requirement was installed, a line each.
    case $1 in
        vllm*)
            echo "numpy==2.3.5"
            echo "torch==2.13.0+$2"
            echo "transformers==5.17.0"
            echo "vllm==$(version_of "$1")"
            ;;
        sglang*)
            echo "numpy==2.3.5"
            echo "torch==2.14.1+$2"
            echo "transformers==5.19.0"
            echo "sglang==$(version_of "$1")"
            ;;
        *) echo "$1" ;;
    esac
}
