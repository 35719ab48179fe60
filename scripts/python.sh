# For scripts to source: which Python the project runs on, and how packages get into an environment.

# Prints the first Python that is new enough; fails where there is none.
find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "${0##*/}: no Python 3.11 or newer found" >&2
    return 1
}

# install_into VENV ARGUMENT...: `pip install` at the versions of constraints.txt, in the project's
# root. uv does it in a tenth of the time; where it cannot be had, or pip knows of an index that uv
# does not, pip does.
install_into() {
    local python=$1/bin/python uv=$1/bin/uv
    shift
    local pip=("$python" -m pip --quiet --disable-pip-version-check)
    if ! "${pip[@]}" config list | grep -qE 'index[-_]url' &&
        "${pip[@]}" install --constraint constraints.txt uv 2>/dev/null &&
        "$uv" pip install --quiet --python "$python" --constraint constraints.txt "$@" 2>/dev/null
    then
        return
    fi
    PIP_CONSTRAINT=$PWD/constraints.txt "${pip[@]}" install "$@"
}
