"""Versions of an image from a registry, one after another: time until it can be run, and bytes on the wire.

The registry is Debian's docker-registry on this machine. Each tool pulls every version in turn into a store of its own,
first without a limit, then through a line of 100 Mbit/s and 30 ms. The line counts the bytes that come.
"""
import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

MEGABYTE = 1_000_000
BLOCK = 16384


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    """docker-registry with its data below a directory."""

    def __init__(self, place):
        self.port = free_port()
        config = os.path.join(place, "registry.yml")
        with open(config, "w") as out:
            out.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/registry}}}}\n"
                      f"http: {{addr: 127.0.0.1:{self.port}}}\n")
        env = {k: v for k, v in os.environ.items() if k != "OTEL_TRACES_EXPORTER"}
        self.child = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, env=env)
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        sys.exit("docker-registry does not start")

    def stop(self):
        self.child.kill()
        self.child.wait()


class Line(threading.Thread):
    """A proxy with a rate for all connections together, half a round trip each way, and a count of what comes."""

    def __init__(self, upstream, mbit=None, ms=0):
        super().__init__(daemon=True)
        self.upstream, self.ms = upstream, ms
        self.rate = mbit * MEGABYTE / 8 if mbit else None
        self.port, self.bytes, self.free_at = free_port(), 0, 0.0
        self.started = threading.Event()
        self.start()
        self.started.wait()

    def run(self):
        asyncio.run(self.serve())

    async def serve(self):
        server = await asyncio.start_server(self.client, "127.0.0.1", self.port)
        self.started.set()
        await server.serve_forever()

    async def client(self, reader, writer):
        await asyncio.sleep(self.ms / 1000)  # the handshake
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        await asyncio.gather(self.carry(reader, up_writer, False), self.carry(up_reader, writer, True),
                             return_exceptions=True)

    async def carry(self, reader, writer, limited):
        """Blocks in the order they came, each after its share of the rate and half a round trip."""
        queue = asyncio.Queue(64)

        async def deliver():
            while (item := await queue.get()) is not None:
                due, block = item
                await asyncio.sleep(max(0, due - time.monotonic()))
                writer.write(block)
                await writer.drain()
            writer.close()

        delivering = asyncio.create_task(deliver())
        try:
            while block := await reader.read(BLOCK):
                now = time.monotonic()
                if limited:
                    self.bytes += len(block)
                    if self.rate:
                        self.free_at = max(self.free_at, now) + len(block) / self.rate
                        now = self.free_at
                        await asyncio.sleep(max(0, now - time.monotonic() - 0.005))
                await queue.put((now + self.ms / 2000, block))
        finally:
            await queue.put(None)
            await delivering


def run(command, env=None):
    done = subprocess.run(command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{command} failed: {done.stderr.decode(errors='replace')[-500:]}")


class Puller:
    """A tool with a store of its own. `ready` is untimed work after which it is as before."""

    repository = "bench"

    def __init__(self, place, program):
        self.place, self.program = place, program

    def at(self, name):
        return os.path.join(self.place, name)

    def done(self, number):
        """Takes down what a pull left mounted."""


class Cairn(Puller):
    name, needs = "cairn pull, mounted", None

    def pull(self, reference, number):
        env = {"CAIRN_ROOT": self.at("repository")}
        run([self.program, "pull", reference], env)
        os.makedirs(self.at(f"m{number}"))
        run([self.program, "mount", reference, self.at(f"m{number}")], env)

    def done(self, number):
        run([self.program, "unmount", self.at(f"m{number}")], {"CAIRN_ROOT": self.at("repository")})


class Chunked(Cairn):
    """The same images, pushed with `--chunks`."""
    name, repository = "cairn pull of chunks, mounted", "chunked"


class Podman(Puller):
    name, needs = "podman pull", "podman"

    def pull(self, reference, number):
        run(["podman", "--root", self.at("root"), "--runroot", self.at("runroot"), "pull", "-q", "--tls-verify=false", reference])



class Skopeo(Puller):
    name, needs = "skopeo copy (not unpacked)", "skopeo"

    def pull(self, reference, number):
        run(["skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", f"docker://{reference}",
             f"oci:{self.at('layout')}:v{number}"])


class Umoci(Skopeo):
    name, needs = "skopeo copy, umoci unpack", "umoci"

    def pull(self, reference, number):
        super().pull(reference, number)
        run(["umoci", "unpack", "--image", f"{self.at('layout')}:v{number}", self.at(f"bundle{number}")])


PULLERS = [Cairn, Chunked, Podman, Skopeo, Umoci]


def measure(tool, program, line, tags, scratch):
    """Seconds and bytes of each version."""
    place = tempfile.mkdtemp(dir=scratch)
    one = tool(place, program)
    figures = []
    try:
        for number, tag in enumerate(tags):
            before, start = line.bytes, time.monotonic()
            one.pull(f"127.0.0.1:{line.port}/{tool.repository}:{tag}", number)
            took = time.monotonic() - start
            figures.append((took, line.bytes - before))
            one.done(number)
        return figures
    finally:
        subprocess.run(["podman", "--root", os.path.join(place, "root"), "--runroot", os.path.join(place, "runroot"), "rmi",
                        "-af"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if tool is Podman else None
        shutil.rmtree(place, ignore_errors=True)


def table(title, tags, results):
    """Medians, with podman's as a multiple of Cairn's."""
    print(f"\n{title}")
    print(f"| | {' | '.join(tags)} | bytes, MB |\n|-|{'-|' * (len(tags) + 1)}")
    median = lambda rounds, n, i: statistics.median(figures[n][i] for figures in rounds)
    own = [median(results[Cairn.name], n, 0) for n in range(len(tags))]
    for name, rounds in results.items():
        took = [median(rounds, n, 0) for n in range(len(tags))]
        cells = [f"{t:.2f} s" + ("" if name == Cairn.name else f" ({t / o:.1f}×)") for t, o in zip(took, own)]
        sizes = " + ".join(f"{median(rounds, n, 1) / MEGABYTE:.1f}" for n in range(len(tags)))
        print(f"| {name} | {' | '.join(cells)} | {sizes} |")


def push_chunks(program, registry, tags, place):
    """Has the registry keep the images with what Cairn attaches to them, too."""
    env = {"CAIRN_ROOT": os.path.join(place, "pusher")}
    for tag in tags:
        reference = f"127.0.0.1:{registry.port}/bench:{tag}"
        run([program, "pull", reference], env)
        run([program, "push", "--chunks", reference, f"127.0.0.1:{registry.port}/chunked:{tag}"], env)


def pull(program, layout, tags, rounds, scratch):
    """The two tables."""
    place = tempfile.mkdtemp(dir=scratch)
    registry = Registry(place)
    try:
        for tag in tags:
            run(["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{layout}:{tag}",
                 f"docker://127.0.0.1:{registry.port}/bench:{tag}"])
        push_chunks(program, registry, tags, place)
        tools = [tool for tool in PULLERS if tool.needs is None or shutil.which(tool.needs)]
        lines = [("the registry on this machine", Line(registry.port)),
                 ("100 Mbit/s, 30 ms", Line(registry.port, 100, 30))]
        for title, line in lines:
            results = {tool.name: [] for tool in tools}
            for _ in range(rounds):
                for tool in tools:
                    results[tool.name].append(measure(tool, program, line, tags, scratch))
            table(f"{title}, median of {rounds}", tags, results)
    finally:
        registry.stop()
        shutil.rmtree(place, ignore_errors=True)
