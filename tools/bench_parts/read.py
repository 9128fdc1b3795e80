"""How fast the files of an image are read, and how much memory many views of similar images take.

Views of Cairn's drivers stand beside a plain directory and an overlay of extracted layers, which is what docker and containerd
mount. `cold` is after the page cache was dropped; memory is what the page cache grew by when everything was read in all views.
"""
import json
import os
import random
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time

BLOCK = 4096
RANDOM_READS = 4000


def quiet(command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3\n")


def cached():
    """Bytes of the page cache."""
    with open("/proc/meminfo") as file:
        words = dict(line.split(":") for line in file)
    return sum(int(words[name].split()[0]) for name in ("Cached", "Buffers")) * 1024


class Views:
    """Mounts images one after another below a directory."""

    def __init__(self, place, archives, program):
        self.place, self.archives, self.program, self.mounted, self.count = place, archives, program, [], 0

    def point(self):
        self.count += 1
        path = os.path.join(self.place, f"view{self.count}")
        os.mkdir(path)
        self.mounted.append(path)
        return path

    def close(self):
        for path in reversed(self.mounted):
            subprocess.run(["umount", "-l", path], check=False)
        self.mounted.clear()


class Plain(Views):
    """A directory for each image, with nothing between."""
    name = "plain ext4"

    def start(self):
        self.roots = []
        for number, archive in enumerate(self.archives):
            root = os.path.join(self.place, f"root{number}")
            os.mkdir(root)
            for layer in layers(archive, self.place):
                quiet(["tar", "-xf", layer, "-C", root])
            self.roots.append(root)

    def view(self, number):
        return self.roots[number % len(self.roots)]


class Extracted(Views):
    """An overlay of layers that are extracted once each."""
    name = "overlay of layers"

    def start(self):
        self.lowers, known = [], {}
        for archive in self.archives:
            own = []
            for layer in layers(archive, self.place):
                digest = subprocess.run(["sha256sum", layer], check=True, capture_output=True, text=True).stdout.split()[0]
                if digest not in known:
                    known[digest] = os.path.join(self.place, digest[:12])
                    os.mkdir(known[digest])
                    quiet(["tar", "-xf", layer, "-C", known[digest]])
                own.insert(0, known[digest])
            self.lowers.append(own)

    def view(self, number):
        point = self.point()
        # Without a layer for changes overlayfs wants two below.
        empty = os.path.join(self.place, "empty")
        os.makedirs(empty, exist_ok=True)
        lowers = [*self.lowers[number % len(self.lowers)], empty]
        quiet(["mount", "-t", "overlay", "overlay", "-o", "lowerdir=" + ":".join(lowers), point])
        return point


class Cairn(Views):
    name, options, made_with = "cairn erofs", [], []

    def start(self):
        self.own = [self.program, "--root", os.path.join(self.place, "repository")]
        quiet([*self.own, "init", *self.made_with])
        for archive in self.archives:
            quiet([*self.own, "import", archive])
        listed = subprocess.run([*self.own, "--json", "images"], check=True, capture_output=True, text=True).stdout
        self.names = sorted(name for image in json.loads(listed) for name in image["names"])

    def view(self, number):
        point = self.point()
        quiet([*self.own, *self.options, "mount", self.names[number % len(self.names)], point])
        return point

    def close(self):
        for path in reversed(self.mounted):
            subprocess.run([*self.own, "unmount", path], check=False, stdout=subprocess.DEVNULL)
        self.mounted.clear()
        quiet([*self.own, "gc", "--prune-cache"])


class CairnPacks(Cairn):
    name, options, made_with = "cairn packs", ["--driver", "packs"], ["--frames"]


TOOLS = [Plain, Extracted, Cairn, CairnPacks]


def layers(archive, place):
    """Paths of the layers of a docker archive, the lowest first."""
    target = tempfile.mkdtemp(dir=place)
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    with open(os.path.join(target, "manifest.json")) as file:
        return [os.path.join(target, name) for name in json.load(file)[0]["Layers"]]


def timed(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def read_all(root):
    quiet(["sh", "-c", 'tar -C "$1" -cf - . | cat >/dev/null', "sh", root])


def random_reads(files):
    """Reads of 4 KiB at random places of files."""
    chance = random.Random(7)
    for _ in range(RANDOM_READS):
        path, size = chance.choice(files)
        with open(path, "rb", buffering=0) as file:
            file.seek(chance.randrange(max(size - BLOCK, 1)))
            file.read(BLOCK)


def large_files(root):
    found = []
    for directory, _, names in os.walk(root):
        for path in (os.path.join(directory, name) for name in names):
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) > 10 * BLOCK:
                found.append((path, os.path.getsize(path)))
    return sorted(found)


def questions(root, program):
    """What is timed, by name."""
    files = large_files(root)
    all_of = {"find": lambda: quiet(["find", root]), "ls -lR": lambda: quiet(["ls", "-lR", root]),
              "read all": lambda: read_all(root), "random 4 KiB": lambda: random_reads(files)}
    if program and os.path.exists(root + program[0]):
        all_of[" ".join(program)] = lambda: quiet(["chroot", root, *program])
    return all_of


def measure(tool, args, scratch):
    place = tempfile.mkdtemp(dir=scratch)
    one = tool(place, args.archives, args.cairn)
    try:
        one.start()
        root, figures = one.view(0), {}
        for name, work in questions(root, args.program.split() if args.program else None).items():
            for state in ("cold", "warm"):
                if state == "cold":
                    drop_caches()
                figures[f"{name}, {state}"] = timed(work)
        one.close()
        for views in args.views:
            roots = [one.view(number) for number in range(views)]
            drop_caches()
            before = cached()
            for root in roots:
                read_all(root)
            figures[f"{views} views, MB"] = (cached() - before) / 1_000_000
            one.close()
        return figures
    finally:
        one.close()
        shutil.rmtree(place, ignore_errors=True)


def read(args):
    rounds = {tool: [] for tool in TOOLS}
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        for _ in range(args.rounds):
            for tool in TOOLS:
                rounds[tool].append(measure(tool, args, scratch))
    names = list(rounds[Plain][0])
    print("| | " + " | ".join(tool.name for tool in TOOLS) + " |")
    print("|-|" + "-|" * len(TOOLS))
    for name in names:
        medians = [statistics.median(figures[name] for figures in rounds[tool]) for tool in TOOLS]
        unit = "{:.0f}" if name.endswith("MB") else "{:.3f}"
        cells = [f"{unit.format(value)} ({value / max(medians[0], 1e-9):.2f})" for value in medians]
        print(f"| {name} | " + " | ".join(cells) + " |")
