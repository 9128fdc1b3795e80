"""Starts one process in a container, again and again, with Cairn and its peers in turns.

The process is a static program that says when it began (CLOCK_MONOTONIC is the same inside) and ends. `start` is
from the moment the command was executed to that; `whole` is until the command has returned, with the container gone.
Minima are reported beside medians: on a busy machine only they say much about a program.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = r"""
#include <stdio.h>
#include <time.h>
int main(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    printf("%lld\n", t.tv_sec * 1000000000LL + t.tv_nsec);
    return 0;
}
"""


def quiet(command, **more):
    """Runs a command that must work, and says nothing."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.decode(errors='replace').strip()[-300:]}")


def make_tree(place, files):
    """A root file system with the program and so many files of 200 bytes."""
    tree = os.path.join(place, "tree")
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        os.makedirs(os.path.join(tree, name))
    source = os.path.join(place, "begun.c")
    with open(source, "w") as out:
        out.write(PROGRAM)
    quiet(["gcc", "-O2", "-static", "-o", os.path.join(tree, "bin", "begun"), source])
    with open(os.path.join(tree, "etc", "passwd"), "w") as out:
        out.write("root:x:0:0:root:/root:/bin/sh\n")
    for number in range(files):
        directory = os.path.join(tree, "files", str(number // 200))
        if number % 200 == 0:
            os.makedirs(directory)
        with open(os.path.join(directory, str(number)), "w") as out:
            out.write(f"{number:>200}")
    return tree


class Peer:
    """A way to start the program: its name, and the command for the n-th time."""

    def __init__(self, name, command, close=lambda: None, env=None):
        self.name, self.command, self.close, self.env = name, command, close, env


def fork_exec(tree, place):
    return Peer("fork+exec", lambda n: [os.path.join(tree, "bin", "begun")])


def bundle(runtime):
    def make(tree, place):
        directory = os.path.join(place, runtime)
        os.makedirs(directory)
        quiet([runtime, "spec"], cwd=directory)
        path = os.path.join(directory, "config.json")
        with open(path) as file:
            config = json.load(file)
        config["process"]["args"] = ["/bin/begun"]
        config["process"]["terminal"] = False
        config["root"] = {"path": tree, "readonly": False}
        with open(path, "w") as file:
            json.dump(config, file)
        return Peer(runtime, lambda n: [runtime, "run", "-b", directory, f"bench-{os.getpid()}-{n}"])
    return make


def bwrap(tree, place):
    options = ["--bind", tree, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all"]
    return Peer("bwrap", lambda n: ["bwrap", *options, "/bin/begun"])


# podman's usual ones, and those it takes from the host, are above what a machine may allow.
PODMAN_LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]


def podman_command(place):
    """podman with directories of its own."""
    return ["podman", "--root", os.path.join(place, "podman"), "--runroot", os.path.join(place, "podman-run"),
            "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc"]


def wait_for_socket(address):
    for _ in range(200):
        if os.path.exists(address):
            break
        time.sleep(0.05)


def podman(tree, place):
    own = podman_command(place)
    archive = os.path.join(place, "tree.tar")
    quiet(["tar", "-C", tree, "-cf", archive, "."])
    quiet([*own, "import", archive, "bench"])
    os.unlink(archive)
    return Peer("podman", lambda n: [*own, "run", "--rm", "--network", "none", *PODMAN_LIMITS, "bench", "/bin/begun"])


def containerd(tree, place):
    own = os.path.join(place, "containerd")
    os.makedirs(own)
    address = os.path.join(own, "socket")
    daemon = subprocess.Popen(["containerd", "--root", os.path.join(own, "root"), "--state", os.path.join(own, "state"),
                               "--address", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_socket(address)
    ctr = ["ctr", "--address", address]
    archive = os.path.join(place, "image.tar")
    quiet([os.environ["BENCH_CAIRN"], "export", "bench", "-o", archive])
    quiet([*ctr, "image", "import", "--base-name", "bench", archive])
    os.unlink(archive)
    listed = subprocess.run([*ctr, "image", "ls", "-q"], capture_output=True, text=True, check=True).stdout.split()

    def close():
        daemon.terminate()
        daemon.wait()

    return Peer("ctr run", lambda n: [*ctr, "run", "--rm", listed[0], f"bench-{os.getpid()}-{n}", "/bin/begun"], close)


def measure(peer, number):
    """Milliseconds until the process began, and until the command returned."""
    begun = time.monotonic_ns()
    child = subprocess.Popen(peer.command(number), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, error = child.communicate()
    ended = time.monotonic_ns()
    if child.returncode != 0:
        raise RuntimeError(f"{peer.name}: {error.decode(errors='replace').strip()[-300:]}")
    return (int(out.split()[0]) - begun) / 1e6, (ended - begun) / 1e6


def at_once(peer, count):
    """Milliseconds until so many, started at once, have all returned."""
    begun = time.monotonic_ns()
    children = [subprocess.Popen(peer.command(f"m{n}"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for n in range(count)]
    for child in children:
        _, error = child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"{peer.name}: {error.decode(errors='replace').strip()[-300:]}")
    return (time.monotonic_ns() - begun) / 1e6


def report(results):
    own = {which: min(row[which] for row in results["cairn"]) for which in (0, 1)}
    print(f"{'':12}{'start min':>12}{'median':>10}{'':>8}{'whole min':>12}{'median':>10}   (in brackets the multiple of Cairn's)")
    for name, rows in results.items():
        cells = ""
        for which in (0, 1):
            values = [row[which] for row in rows]
            cells += f"{min(values):>12.2f}{statistics.median(values):>10.2f}{f'({min(values) / own[which]:.2f})':>8}"
        print(f"{name:12}{cells}")


def launch(program, files, rounds, together, scratch):
    """Prints a table for images with each of these numbers of files."""
    for count in files:
        place = tempfile.mkdtemp(dir=scratch)
        os.environ["CAIRN_ROOT"], os.environ["BENCH_CAIRN"] = os.path.join(place, "cairn"), program
        peers = []
        try:
            tree = make_tree(place, count)
            quiet([program, "import", tree, "--name", "bench"])
            cairn = Peer("cairn", lambda n: [program, "run", "--rm", "bench", "/bin/begun"])
            makers = {"fork+exec": fork_exec, "runc": bundle("runc"), "crun": bundle("crun"), "bwrap": bwrap, "podman": podman, "ctr": containerd}
            peers.append(cairn)
            for name, make in makers.items():
                if name != "fork+exec" and not shutil.which(name):
                    print(f"{name} is left out: it is not installed")
                    continue
                try:
                    peer = make(tree, place)
                    peers.append(peer)
                    measure(peer, "first")
                except RuntimeError as e:
                    print(f"{name} is left out: {e}")
                    peers = [other for other in peers if other.name.split()[0] != name]
            for _ in range(3):
                measure(cairn, "first")
            results = {peer.name: [] for peer in peers}
            for number in range(rounds):
                for peer in peers:
                    results[peer.name].append(measure(peer, number))
            print(f"\n{count} files, {rounds} rounds, milliseconds; load {os.getloadavg()[0]:.1f}")
            report(results)
            if together:
                for peer in peers:
                    if peer.name in ("cairn", "runc", "bwrap"):
                        times = [at_once(peer, together) for _ in range(3)]
                        print(f"{together} at once: {peer.name} {min(times):.0f} ms (of three)")
        finally:
            for peer in peers:
                peer.close()
            subprocess.run(f"grep -o '{place}[^ ]*' /proc/self/mountinfo | sort -ru | xargs -r -n1 umount", shell=True, check=False)
            shutil.rmtree(place, ignore_errors=True)
