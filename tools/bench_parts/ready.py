"""How long it takes from an archive to the end of the first process, and what the disk holds then.

`bring` is the import of a docker archive (with umoci the copy to a layout and the unpacking), `first` the first process of an
image that was never run, `again` the next one, `disk` all that the tool has written by then. Each round uses new
repositories; tools go in turns.
"""
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from .launch import PODMAN_LIMITS, make_tree, podman_command, quiet, wait_for_socket
from .peers import MEGABYTE, disk_bytes


def timed(*commands, **more):
    """Seconds for commands, one after another."""
    start = time.monotonic()
    for command in commands:
        quiet(command, **more)
    return time.monotonic() - start


class Cairn:
    name, needs, options, made_with = "cairn", [], [], []

    def __init__(self, place, program):
        self.place, self.own = place, [program, "--root", os.path.join(place, "repository")]

    def start(self):
        quiet([*self.own, "init", *self.made_with])

    def bring(self, archive):
        return timed([*self.own, "import", archive])

    def run(self, image, command):
        return timed([*self.own, *self.options, "run", "--rm", image, command])

    def size(self):
        return disk_bytes(self.place)

    def close(self):
        pass


class CairnPacks(Cairn):
    name, options, made_with = "cairn packs", ["--driver", "packs"], ["--frames"]


class Podman(Cairn):
    name, needs = "podman", ["podman", "runc"]

    def __init__(self, place, program):
        super().__init__(place, program)
        self.own = podman_command(place)

    def start(self):
        pass

    def bring(self, archive):
        return timed([*self.own, "load", "-q", "-i", archive])

    def run(self, image, command):
        return timed([*self.own, "run", "--rm", "--network", "none", *PODMAN_LIMITS, image, command])

    def close(self):
        quiet([*self.own, "rmi", "-f", "-a"])


class Containerd(Cairn):
    name, needs = "containerd", ["containerd", "ctr", "runc"]

    def start(self):
        address = os.path.join(self.place, "socket")
        dirs = ["--root", os.path.join(self.place, "root"), "--state", os.path.join(self.place, "state")]
        self.daemon = subprocess.Popen(["containerd", *dirs, "--address", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_socket(address)
        self.own, self.count = ["ctr", "--address", address], 0

    def bring(self, archive):
        return timed([*self.own, "image", "import", archive])

    def run(self, image, command):
        self.count += 1
        listed = subprocess.run([*self.own, "image", "ls", "-q"], capture_output=True, text=True, check=True).stdout.split()
        return timed([*self.own, "run", "--rm", listed[0], f"bench-{os.getpid()}-{self.count}", command])

    def close(self):
        self.daemon.terminate()
        self.daemon.wait()


class Umoci(Cairn):
    name, needs = "umoci + runc", ["skopeo", "umoci", "runc"]

    def start(self):
        self.layout, self.bundle = (os.path.join(self.place, name) for name in ("layout", "bundle"))

    def bring(self, archive):
        copy = ["skopeo", "--insecure-policy", "copy", "-q", f"docker-archive:{archive}", f"oci:{self.layout}:bench"]
        return timed(copy, ["umoci", "unpack", "--image", f"{self.layout}:bench", self.bundle])

    def run(self, image, command):
        path = os.path.join(self.bundle, "config.json")
        with open(path) as file:
            config = json.load(file)
        config["process"].update(args=[command], terminal=False)
        # Some machines do not allow what is above their own limits.
        config["process"].pop("rlimits", None)
        with open(path, "w") as file:
            json.dump(config, file)
        return timed(["runc", "run", "-b", self.bundle, f"bench-{os.getpid()}"])


TOOLS = [Cairn, CairnPacks, Podman, Containerd, Umoci]
COLUMNS = {"bring": "bring, s", "first": "first, s", "again": "again, s", "ready": "ready, s", "disk": "disk, MB"}


def measure(tool, program, scratch, archive, command):
    place = tempfile.mkdtemp(dir=scratch)
    one = tool(place, program)
    try:
        one.start()
        figures = {"bring": one.bring(archive)}
        figures["first"] = one.run("bench:latest", command)
        figures["again"] = one.run("bench:latest", command)
        figures["ready"] = figures["bring"] + figures["first"]
        figures["disk"] = one.size() / MEGABYTE
        return figures
    finally:
        one.close()
        subprocess.run(f"grep -o '{place}[^ ]*' /proc/self/mountinfo | sort -ru | xargs -r -n1 umount -l", shell=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


def archive_of(program, tree, place):
    """A docker archive of a tree, as the image bench:latest."""
    own = [program, "--root", os.path.join(place, "made")]
    archive = os.path.join(place, "bench.tar")
    quiet([*own, "import", tree, "--name", "bench:latest"])
    quiet([*own, "export", "bench:latest", "-o", archive])
    shutil.rmtree(os.path.join(place, "made"))
    return archive


def ready(program, files, trees, rounds, scratch):
    """Prints a table for images with each of these numbers of files, and for each of these trees."""
    tools = []
    for tool in TOOLS:
        missing = [name for name in tool.needs if not shutil.which(name)]
        if missing:
            print(f"{tool.name} is left out: {', '.join(missing)} is not installed")
        else:
            tools.append(tool)
    for what in [*files, *trees]:
        place = tempfile.mkdtemp(dir=scratch)
        try:
            made = isinstance(what, int)
            tree = make_tree(place, what) if made else what
            command = "/bin/begun" if made else "/bin/true"
            archive = archive_of(program, tree, place)
            results = {tool.name: [] for tool in tools}
            for _ in range(rounds):
                for tool in tools:
                    results[tool.name].append(measure(tool, program, scratch, archive, command))
            name = f"{what} files" if made else what
            print(f"\n{name}, medians of {rounds} rounds; load {os.getloadavg()[0]:.1f}")
            print(f"{'':14}" + "".join(f"{title:>12}" for title in COLUMNS.values()))
            for tool, rows in results.items():
                medians = [statistics.median(row[column] for row in rows) for column in COLUMNS]
                print(f"{tool:14}" + "".join(f"{median:12.2f}" for median in medians))
        finally:
            shutil.rmtree(place, ignore_errors=True)
