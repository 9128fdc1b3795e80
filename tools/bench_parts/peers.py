"""Cairn and its peers behind one interface: store a tree, bring it back, drop half, say the size."""
import json
import os
import subprocess
import sys
import time

PACKAGES = {"restic": "restic", "borg": "borgbackup", "casync": "casync", "tar | zstd -3": "zstd"}
MEGABYTE = 1_000_000


def run(command, env=None, cwd=None):
    """Runs a command; seconds and the peak resident set in MB of it and its children."""
    start = time.monotonic()
    child = subprocess.Popen(command, env={**os.environ, **(env or {})}, cwd=cwd, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, shell=isinstance(command, str))
    error = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command} failed: {error.decode(errors='replace')[-500:]}")
    return time.monotonic() - start, usage.ru_maxrss * 1024 / MEGABYTE


def seconds(commands, env=None):
    """Runs commands one after another; seconds for all of them."""
    return sum(run(command, env)[0] for command in commands)


def disk_bytes(path):
    """Bytes on disk, as du counts."""
    output = subprocess.run(["du", "-s", "-B1", path], check=True, capture_output=True, text=True).stdout
    return int(output.split()[0])


class Tool:
    """What each tool does; `None` where it has no such thing."""

    def __init__(self, place, program):
        self.place, self.program = place, program

    def start(self):
        """Makes the repository."""

    def store(self, tree, number):
        """Stores a tree under a number; seconds and peak memory."""
        raise NotImplementedError

    def checkout(self, tree, number, target):
        """Writes a stored tree below an empty directory; seconds."""

    def drop(self, numbers):
        """Removes stored trees and frees what only they had; seconds."""

    def size(self):
        """Bytes on disk."""
        raise NotImplementedError


class Cairn(Tool):
    name = "cairn"

    @property
    def env(self):
        return {"CAIRN_ROOT": os.path.join(self.place, "repository")}

    def store(self, tree, number):
        return run([self.program, "import", tree, "--name", f"t{number}"], self.env)

    def checkout(self, tree, number, target):
        return run([self.program, "export", f"t{number}", "--format", "dir", "-o", target], self.env)[0]

    def drop(self, numbers):
        return seconds([[self.program, "rmi", *(f"t{n}" for n in numbers)], [self.program, "gc"]], self.env)

    def size(self):
        return disk_bytes(self.env["CAIRN_ROOT"])


class CairnLater(Cairn):
    """The same with `cairn optimize` after each tree, which nobody waits for: its time is not counted."""
    name = "cairn optimize"

    def store(self, tree, number):
        took = super().store(tree, number)
        run([self.program, "optimize"], self.env)
        return took


class Restic(Tool):
    name = "restic"

    def __init__(self, place, program):
        super().__init__(place, program)
        self.repository = os.path.join(place, "restic")
        self.env = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": os.path.join(place, "cache")}

    def restic(self, *words):
        return ["restic", "-r", self.repository, *words]

    def start(self):
        run(self.restic("init", "--repository-version", "2"), self.env)

    def store(self, tree, number):
        return run(self.restic("backup", "--compression", "auto", "--tag", f"t{number}", tree), self.env)

    def checkout(self, tree, number, target):
        return run(self.restic("restore", "latest", "--tag", f"t{number}", "--target", target), self.env)[0]

    def drop(self, numbers):
        listed = subprocess.run(self.restic("snapshots", "--json"), env={**os.environ, **self.env},
                                capture_output=True, text=True, check=True).stdout
        ids = [s["id"] for s in json.loads(listed) if any(f"t{n}" in s["tags"] for n in numbers)]
        return seconds([self.restic("forget", "--prune", "--max-unused", "0", *ids)], self.env)

    def size(self):
        return disk_bytes(self.repository)


class Borg(Tool):
    name = "borg"

    def __init__(self, place, program):
        super().__init__(place, program)
        self.repository = os.path.join(place, "borg")
        self.env = {"BORG_BASE_DIR": place, "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def start(self):
        run(["borg", "init", "-e", "none", self.repository], self.env)

    def store(self, tree, number):
        return run(["borg", "create", "-C", "zstd,3", f"{self.repository}::t{number}", tree], self.env)

    def checkout(self, tree, number, target):
        return run(["borg", "extract", f"{self.repository}::t{number}"], self.env, cwd=target)[0]

    def drop(self, numbers):
        delete = ["borg", "delete", self.repository, *(f"t{n}" for n in numbers)]
        return seconds([delete, ["borg", "compact", "--threshold", "0", self.repository]], self.env)

    def size(self):
        return disk_bytes(self.repository)


class Casync(Tool):
    name = "casync"

    def __init__(self, place, program):
        super().__init__(place, program)
        self.chunks = os.path.join(place, "default.castr")

    def index(self, number):
        return os.path.join(self.place, f"t{number}.caidx")

    def store(self, tree, number):
        return run(["casync", "make", "--compression=zstd", "--with=unix", f"--store={self.chunks}", self.index(number), tree])

    def checkout(self, tree, number, target):
        return run(["casync", "extract", f"--store={self.chunks}", "--with=unix", self.index(number), target])[0]

    def size(self):
        return disk_bytes(self.place)


class TarZstd(Tool):
    name = "tar | zstd -3"

    def archive(self, number):
        return os.path.join(self.place, f"t{number}.tar.zst")

    def store(self, tree, number):
        return run(f"tar -C '{tree}' -cf - . | zstd -q -f -3 -o '{self.archive(number)}'")

    def checkout(self, tree, number, target):
        return run(f"zstd -q -d -c '{self.archive(number)}' | tar -C '{target}' -xf -")[0]

    def size(self):
        return disk_bytes(self.place)


TOOLS = [Cairn, CairnLater, Restic, Borg, Casync, TarZstd]


def binary(tool, program):
    """The program of a tool."""
    return {"tar | zstd -3": "zstd", Cairn.name: program, CairnLater.name: program}.get(tool.name, tool.name)


def version(tool, program):
    """The first line a tool prints of its version."""
    command = [binary(tool, program), "version" if tool is Restic else "--version"]
    words = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return words.splitlines()[0] if words else "?"
