"""Unpacks images with one containerd and several of its snapshotters, in turns: its own overlayfs and native, and
Cairn as a proxy.

Layers are brought to the content store before, so that only the unpacking is measured: `first` is the first image, `next`
the mean of the others, one after the other, `again` all of them a second time after the first was removed (its content may
still be there), `rm` the removal of all snapshots until they are gone, `disk` what the snapshots took. Then eight clients
prepare and remove snapshots at once (tests/contract/examples/latency.rs), by way of containerd and, for Cairn, at its own
socket: medians and 99th percentiles.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from .peers import MEGABYTE, disk_bytes

CONFIG = """version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "{0}/containerd.sock"
[ttrpc]
address = "{0}/ttrpc.sock"
[proxy_plugins.cairn]
type = "snapshot"
address = "{0}/cairn.sock"
[proxy_plugins.cairn-packs]
type = "snapshot"
address = "{0}/cairn-packs.sock"
"""
# Our servers, each with a repository of its own: options before the command, and for the making of that.
SERVERS = {"cairn": ([], []), "cairn-packs": (["--driver", "packs"], ["--frames"])}
SNAPSHOTTERS = ["overlayfs", "native", *SERVERS]
# The same, asked by our own client as differs, too.
DIFFERS = {"differ": ([], []), "differ-packs": (["--driver", "packs"], ["--frames"])}
OURS = {**SERVERS, **DIFFERS}


class Node:
    """A containerd and servers of ours, with directories of their own."""

    def __init__(self, program, place):
        self.place = place
        with open(os.path.join(place, "config.toml"), "w") as out:
            out.write(CONFIG.format(place))
        self.servers = []
        for name, (options, made_with) in OURS.items():
            own = [program, "--root", os.path.join(place, name)]
            subprocess.run([*own, "init", *made_with], check=True, stdout=subprocess.DEVNULL)
            serve = [*own, *options, "serve", "--address", f"{place}/{name}.sock", "--state", f"{place}/views",
                     "--containerd", f"{place}/containerd.sock"]
            self.servers.append(subprocess.Popen(serve))
        log = open(os.path.join(place, "containerd.log"), "w")
        self.containerd = subprocess.Popen(["containerd", "-c", f"{place}/config.toml"], stdout=log, stderr=log)
        until(lambda: self.try_ctr("version").returncode == 0)

    def try_ctr(self, *args):
        return subprocess.run(["ctr", "-a", f"{self.place}/containerd.sock", *args], capture_output=True, text=True)

    def ctr(self, *args):
        done = self.try_ctr(*args)
        if done.returncode != 0:
            raise RuntimeError(f"ctr {' '.join(args)}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def manifests(self):
        """Digests of the images, by name."""
        lines = self.ctr("image", "ls").splitlines()[1:]
        return [re.search(r"sha256:[0-9a-f]{64}", line).group() for line in sorted(lines)]

    def socket(self, snapshotter):
        """Where a snapshotter answers by itself."""
        return f"{self.place}/{snapshotter}.sock" if snapshotter in OURS else None

    def unpack(self, snapshotter, manifest):
        start = time.monotonic()
        # The option of the command itself: that of `snapshot` does not reach it.
        self.ctr("snapshot", "unpack", "--snapshotter", snapshotter, manifest)
        return time.monotonic() - start

    def layers(self, manifest):
        """Media type, digest, size and chain id of each layer, lowest first."""
        manifest = json.loads(self.ctr("content", "get", manifest))
        config = json.loads(self.ctr("content", "get", manifest["config"]["digest"]))
        chain, lines = None, []
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
            both = f"{chain} {diff_id}".encode()
            chain = f"sha256:{hashlib.sha256(both).hexdigest()}" if chain else diff_id
            lines.append(f"{layer['mediaType']} {layer['digest']} {layer['size']} {chain}")
        return "\n".join(lines)

    def apply(self, snapshotter, manifest, client):
        """Seconds for unpacking by our differ."""
        done = subprocess.run([client, self.socket(snapshotter), "default"], input=self.layers(manifest), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"unpack: {done.stderr.strip()[-500:]}")
        return float(done.stdout.split()[0])

    def snapshots(self, snapshotter):
        return [line.split()[0] for line in self.ctr("snapshot", "--snapshotter", snapshotter, "ls").splitlines()[1:]]

    def drop(self, snapshotter):
        """Removes all snapshots, children first; seconds."""
        start = time.monotonic()
        left = self.snapshots(snapshotter)
        while left:
            for key in left:
                self.try_ctr("snapshot", "--snapshotter", snapshotter, "rm", key)
            left = self.snapshots(snapshotter)
        return time.monotonic() - start

    def size(self, snapshotter):
        if snapshotter in OURS:
            return disk_bytes(os.path.join(self.place, snapshotter))
        return disk_bytes(f"{self.place}/root/io.containerd.snapshotter.v1.{snapshotter}")

    def close(self):
        for child in (self.containerd, *self.servers):
            child.send_signal(signal.SIGTERM)
            child.wait()
        for repository in os.scandir(f"{self.place}/views"):
            for view in os.scandir(repository.path):
                subprocess.run(["umount", "-l", view.path], capture_output=True)


def until(holds):
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.01)
    raise RuntimeError("containerd does not answer")


def latency(program, socket, snapshotter, parent, clients, rounds):
    """Median and 99th percentile of prepare and remove, milliseconds."""
    command = [program, socket, snapshotter, str(clients), str(rounds), parent]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    done = done.stdout
    return {line.split()[0]: [float(number) for number in line.split()[1:]] for line in done.splitlines()}


def measure(node, snapshotter, manifests):
    times = [node.unpack(snapshotter, manifest) for manifest in manifests]
    figures = {"first": times[0], "next": statistics.mean(times[1:] or [0])}
    kept = len(node.snapshots(snapshotter))
    if not kept:
        raise RuntimeError(f"{snapshotter} has unpacked nothing")
    figures["disk"] = node.size(snapshotter) / MEGABYTE
    figures["rm"] = node.drop(snapshotter)
    figures["again"] = sum(node.unpack(snapshotter, manifest) for manifest in manifests)
    figures["rm"] += node.drop(snapshotter)
    return figures


def measure_differ(node, snapshotter, manifests, client):
    times = [node.apply(snapshotter, manifest, client) for manifest in manifests]
    figures = {"first": times[0], "next": statistics.mean(times[1:] or [0]), "disk": node.size(snapshotter) / MEGABYTE}
    return {**figures, "again": sum(node.apply(snapshotter, manifest, client) for manifest in manifests), "rm": 0}


def containerd(program, archives, rounds, scratch, client):
    """Prints the table; `client` is the program that measures calls, if it is built, beside that which asks our differ."""
    rows = {name: [] for name in [*SNAPSHOTTERS, *(DIFFERS if client else [])]}
    for _ in range(rounds):
        place = tempfile.mkdtemp(dir=scratch)
        node = Node(program, place)
        try:
            for archive in archives:
                node.ctr("image", "import", "--no-unpack", archive)
            manifests = node.manifests()
            for snapshotter in SNAPSHOTTERS:
                rows[snapshotter].append(measure(node, snapshotter, manifests))
            if client:
                unpack = os.path.join(os.path.dirname(client), "unpack")
                for name in DIFFERS:
                    rows[name].append(measure_differ(node, name, manifests, unpack))
                calls(node, client)
        finally:
            node.close()
            shutil.rmtree(place)
    print(f"\n{len(archives)} images, medians of {rounds} rounds, seconds and MB")
    columns = ["first", "next", "again", "rm", "disk"]
    print(f"{'':12}" + "".join(f"{column:>12}" for column in columns))
    for snapshotter, all_figures in rows.items():
        medians = [statistics.median(figures[column] for figures in all_figures) for column in columns]
        print(f"{snapshotter:12}" + "".join(f"{median:12.2f}" for median in medians))


def calls(node, client):
    print(f"\n{'ms':24}{'prepare':>10}{'p99':>8}{'remove':>10}{'p99':>8}")
    # A containerd removes what its snapshotters have and it does not know: our own sockets are asked where it has none.
    sockets = {name: f"{node.place}/containerd.sock" for name in SNAPSHOTTERS}
    sockets.update({name: node.socket(name) for name in DIFFERS})
    for name, socket in sockets.items():
        for clients in (1, 8):
            times = latency(client, socket, name, "", clients, 100)
            numbers = times["prepare"] + times["remove"]
            label = f"{name}{' itself' if name in DIFFERS else ''} x{clients}"
            print(label.ljust(24) + "".join(f"{n:{w}.2f}" for n, w in zip(numbers, (10, 8, 10, 8))))
