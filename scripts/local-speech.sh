#!/bin/sh
# local-speech.sh [--model base|tiny.en] [--language CODE]: a real Whisper on this machine, for `make dev SPEECH=local`.
# All that it installs lies in target/local-speech; delete that folder to be rid of it.
set -eu

cd "$(dirname "$0")/.."
here=scripts/local-speech
home=target/local-speech
python=${PYTHON:-python3}

give_up() {
    echo "$1" >&2
    exit 1
}

command -v "$python" >/dev/null || give_up "Local speech needs Python 3.9 or newer, and there is no $python."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    give_up "Local speech needs Python 3.9 or newer; $python is $("$python" -V 2>&1). Name another one with PYTHON=..."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    give_up "Python's venv is missing. On Debian or Ubuntu: \`apt-get install python3-venv\`."

# The copy of the requirements is the mark of an installation that was finished.
if ! cmp -s "$here/requirements.txt" "$home/venv/requirements.txt"; then
    echo "Installing faster-whisper to $home/venv: about 130 MB to download, 500 MB on disk (once)."
    "$python" -m venv --clear "$home/venv" || give_up "Python could not make $home/venv."
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        --requirement "$here/requirements.txt" ||
        give_up "pip could not install faster-whisper (see above). Without it, \`make dev\` works with its stand-in."
    cp "$here/requirements.txt" "$home/venv/"
fi
exec "$home/venv/bin/python" "$here/server.py" "$@"
