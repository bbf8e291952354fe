# Sourced by ./demo and ./test: makes the machine ready, once. Needs bash and Python 3.11 or newer; all else it installs.
# Python packages go to .venv beside this checkout; system packages come from apt, only where they are missing.

say() { printf '%s\n' "$*" >&2; }
give_up() { say "error: $1"; say "  mend: $2"; exit 3; }

# Give the newest Python that Airflow runs on.
find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      printf '%s' "$name"
      return 0
    fi
  done
  return 1
}

# Install Debian packages, with sudo where that asks nothing.
apt_install() {
  local as_root=()
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  say "installing system packages: $*"
  "${as_root[@]}" apt-get update -qq >/dev/null 2>&1 || say "  (the package lists could not be refreshed; trying with those at hand)"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

has_library() { ldconfig -p 2>/dev/null | grep -q "$1" || /sbin/ldconfig -p 2>/dev/null | grep -q "$1"; }

# Packages without which nothing can run in a sandbox or be installed.
system_packages() {
  local missing=()
  command -v bwrap >/dev/null || missing+=(bubblewrap)
  has_library libseccomp.so.2 || missing+=(libseccomp2)
  command -v unshare >/dev/null && command -v setpriv >/dev/null || missing+=(util-linux)
  PYTHON=$(find_python) || missing+=(python3)
  if [ -n "${PYTHON:-}" ]; then
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  else
    missing+=(python3-venv)
  fi
  [ "${#missing[@]}" -eq 0 ] && return 0
  apt_install "${missing[@]}" || give_up "these system packages are missing: ${missing[*]}" \
    "install them as root, for example: apt-get install ${missing[*]}"
  PYTHON=$(find_python) || give_up "no Python 3.11, 3.12 or 3.13 was found" "install one and run this again"
}

# Make .venv with the package and the given extras; does nothing if that was done for the present pyproject.toml.
python_packages() {
  local extras=$1 log stamp
  stamp=".venv/installed-$extras-$(sha256sum pyproject.toml | cut -c1-16)"
  [ -e "$stamp" ] && return 0
  [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv || give_up "the virtual environment .venv cannot be made" "is the disk full?"
  say "installing Python packages into .venv (a few minutes, once)"
  log=$(mktemp)
  if ! .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check -e ".[$extras]" >"$log" 2>&1; then
    # Addresses of package indexes are nobody's business in a log.
    tail -n 15 "$log" | sed -E 's#(https?|file)://[^ ,)]*#<index>#g' >&2
    rm -f "$log"
    give_up "the Python packages could not be installed" "is there a network, and room on the disk? then run this again"
  fi
  rm -f "$log"
  touch "$stamp"
}

prepare_environment() {
  system_packages
  python_packages "$1"
  PATH="$PWD/.venv/bin:$PATH"
  export PATH
}
