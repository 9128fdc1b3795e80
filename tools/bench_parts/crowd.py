"""Eight commands at once on one repository, again and again: what each waits for the lock, and holds it."""
import os
import shutil
import subprocess
import sys
import tempfile


def quantile(sorted_values, share):
    """The value below which this share of the values is."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def crowd(program, trees, rounds, scratch):
    """Runs rounds of imports, commits, runs and a collection; prints the distribution of waits. The first tree
    has to be a root file system with /bin/true."""
    place = tempfile.mkdtemp(dir=scratch)
    trace = os.path.join(place, "locks")
    env = {**os.environ, "CAIRN_ROOT": os.path.join(place, "repository"), "CAIRN_LOCK_TRACE": trace}

    def cairn(*words):
        return subprocess.Popen([program, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(children):
        for child in children:
            _, error = child.communicate()
            if child.returncode != 0:
                sys.exit(f"{child.args} failed: {error[-500:]}")

    try:
        for number, tree in enumerate(trees):
            finish([cairn("import", tree, "--name", f"t{number}")])
        open(trace, "w").close()
        for turn in range(rounds):
            key = f"work-{turn}"
            finish([cairn("snapshot", "prepare", key, f"t{turn % len(trees)}")])
            imports = [cairn("import", "--read-all", trees[(turn + i) % len(trees)], "--name", f"n{turn}-{i}") for i in range(3)]
            runs = [cairn("run", "--rm", "t0", "/bin/true") for _ in range(2)]
            commit = cairn("snapshot", "commit", f"done-{turn}", key)
            finish([*imports, *runs, commit, cairn("gc"), cairn("stats")])
            finish([cairn("rmi", f"n{turn}-0")])
        with open(trace) as lines:
            rows = [line.split() for line in lines]
        print(f"\n{rounds} rounds of eight commands at once (3 imports, 2 runs, commit, gc, stats): the lock was had {len(rows)} times")
        print(f"{'ms':10} {'median':>8} {'90 %':>8} {'99 %':>8} {'most':>8}")
        for name, values in (("waited", sorted(int(row[0]) for row in rows)), ("held", sorted(int(row[1]) for row in rows))):
            cells = [quantile(values, share) / 1000 for share in (0.5, 0.9, 0.99, 1.0)]
            print(f"{name:10} " + " ".join(f"{cell:8.1f}" for cell in cells))
        print(f"{'command':18} {'times':>6} {'held, all':>10} {'median':>8} {'most':>8}")
        verbs = {}
        for row in rows:
            verbs.setdefault(" ".join(row[4:]) or "?", []).append(int(row[1]) / 1000)
        for verb, held in sorted(verbs.items(), key=lambda item: -sum(item[1])):
            held.sort()
            print(f"{verb:18} {len(held):6} {sum(held):10.0f} {quantile(held, 0.5):8.1f} {held[-1]:8.1f}")
    finally:
        shutil.rmtree(place)
