"""Many images that are alike: a dozen projects in five versions each, every one with the base beside it in one layer.

Wheels come from the Python package index once, into a directory that is kept. An image is a tar of the base and the packages, piped
into the import: nothing tells Cairn that sixty images have a base in common. Each is then run in place and exported, and
the layer in the archive is held against the hash of what was imported.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

from .launch import quiet
from .peers import MEGABYTE, disk_bytes

SITE = "usr/local/lib/python3.11/dist-packages"
CHUNK = 1 << 20
# Project, module, versions.
PROJECTS = [
    ("requests", "requests", "2.28.2 2.29.0 2.30.0 2.31.0 2.32.3"), ("flask", "flask", "2.2.5 2.3.2 2.3.3 3.0.0 3.0.3"),
    ("click", "click", "8.1.3 8.1.4 8.1.5 8.1.6 8.1.7"), ("jinja2", "jinja2", "3.0.3 3.1.1 3.1.2 3.1.3 3.1.4"),
    ("rich", "rich", "13.4.2 13.5.2 13.6.0 13.7.0 13.7.1"), ("pygments", "pygments", "2.14.0 2.15.1 2.16.1 2.17.2 2.18.0"),
    ("sympy", "sympy", "1.10.1 1.11.1 1.12 1.12.1 1.13.0"), ("networkx", "networkx", "3.0 3.1 3.2 3.2.1 3.3"),
    ("django", "django", "4.2.5 4.2.6 4.2.7 4.2.9 4.2.10"), ("attrs", "attr", "22.2.0 23.1.0 23.2.0 24.1.0 24.2.0"),
    ("pytest", "pytest", "7.4.0 7.4.1 7.4.2 7.4.3 7.4.4"),
    ("setuptools", "setuptools", "68.0.0 68.1.2 68.2.2 69.0.3 69.5.1"),
]


def installed(place, project, version):
    """A directory with the project and what it needs, as root would unpack them; made once."""
    target = os.path.join(place, f"{project}-{version}")
    if not os.path.exists(target):
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            part = os.path.join(scratch, "part")
            quiet([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--only-binary=:all:",
                   "--python-version", "3.11", "--target", os.path.join(part, SITE), f"{project}=={version}"])
            os.rename(part, target)
    return target


def unpacked_bytes(tree):
    """What the files of a tree take, as du counts them."""
    return int(subprocess.run(["du", "-sB1", tree], check=True, capture_output=True).stdout.split()[0])


def bring(own, base, site, name):
    """Imports a tar of both; its SHA-256."""
    tar = subprocess.Popen(["tar", "--sort=name", "--numeric-owner", "-cf", "-", "-C", base, ".", "-C", site, "."], stdout=subprocess.PIPE)
    take = subprocess.Popen([*own, "import", "-", "--name", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    sha = hashlib.sha256()
    while chunk := tar.stdout.read(CHUNK):
        sha.update(chunk)
        take.stdin.write(chunk)
    take.stdin.close()
    if take.wait() or tar.wait():
        sys.exit(f"{name} was not imported")
    return sha.hexdigest()


def exported(own, name):
    """SHA-256 of the layer in the archive that an export writes."""
    out = subprocess.Popen([*own, "export", name, "-o", "-"], stdout=subprocess.PIPE)
    found = None
    with tarfile.open(fileobj=out.stdout, mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".tar"):
                sha, file = hashlib.sha256(), archive.extractfile(member)
                while chunk := file.read(CHUNK):
                    sha.update(chunk)
                found = sha.hexdigest()
    out.stdout.read()
    if out.wait():
        sys.exit(f"{name} was not exported")
    return found


def siblings(args):
    os.makedirs(args.packages, exist_ok=True)
    place = tempfile.mkdtemp(dir=args.scratch)
    root = os.path.join(place, "repository")
    own = [args.cairn, "--root", root]
    quiet([*own, "init", "--frames"])
    images, unpacked, took, base = {}, 0, 0, unpacked_bytes(args.base)
    try:
        for project, module, versions in PROJECTS:
            for version in versions.split():
                site = installed(args.packages, project, version)
                name = f"{project}:{version}"
                start = time.monotonic()
                images[name] = (module, version, bring(own, args.base, site, name))
                took += time.monotonic() - start
                unpacked += base + unpacked_bytes(site)
        packs = os.path.join(root, "packs")

        def tell(what):
            stored = disk_bytes(root) - disk_bytes(os.path.join(root, "cache"))
            print(f"| {what} | {stored / MEGABYTE:.1f} | {disk_bytes(packs) / MEGABYTE:.1f} | 1/{unpacked / stored:.0f} |", flush=True)

        print(f"{len(images)} images of {unpacked / MEGABYTE:.0f} MB unpacked, imported in {took:.1f} s\n")
        print("| | stored MB | of that packs | of unpacked |\n|-|-|-|-|")
        tell("imported")
        start = time.monotonic()
        quiet([*own, "optimize"])
        tell(f"optimized ({time.monotonic() - start:.0f} s)")
        start, wrong = time.monotonic(), []
        for name, (module, version, _) in images.items():
            ran = subprocess.run([*own, "run", "--rm", name, "/usr/bin/python3", "-c", f"import {module}"], capture_output=True)
            if ran.returncode:
                wrong.append((name, "run", ran.stderr))
        ran_in = time.monotonic() - start
        tell(f"each run once ({ran_in:.1f} s)")
        for name, (_, _, digest) in images.items():
            if exported(own, name) != digest:
                wrong.append((name, "export", b"the layer is another"))
        print(f"\nrun or exported otherwise than they should: {len(wrong)}")
        for name, what, why in wrong:
            print(f"  {name}: {what}: {why.decode(errors='replace').strip()}")
        return bool(wrong)
    finally:
        quiet([*own, "gc", "--prune-cache"])
        shutil.rmtree(place, ignore_errors=True)
