"use strict";
// The data of the report, and sums over it. Nothing here touches the document.

const report = JSON.parse(document.getElementById("data").textContent);
const stats = report.stats;

/** The columns of the tree's measures, summed over everything below each node. */
const tree = (() => {
  const from = report.files, count = from.depth.length;
  // The columns are written to be small; these are the ones that are meant.
  from.parent = new Int32Array(count);
  const above = [];
  from.depth.forEach((depth, node) => {
    from.parent[node] = depth > 0 ? above[depth - 1] : 0;
    above[depth] = node;
  });
  from.content = from.times.map((times, node) => (times < 0 ? -times : times * from.unique[node]));
  from.alone = from.alone.map((alone, node) => (alone < 0 ? from.stored[node] : alone));
  const sums = {};
  for (const measure of ["content", "unique", "stored", "alone"]) {
    const sum = Float64Array.from(from[measure]);
    // A node comes after its directory, so from the last one up each is whole when it is handed on.
    for (let node = count - 1; node > 0; node--) sum[from.parent[node]] += sum[node];
    sums[measure] = sum;
  }
  const first = new Int32Array(count).fill(-1), next = new Int32Array(count).fill(-1);
  const files = new Int32Array(count), layer = Int32Array.from(from.layer), best = new Float64Array(count);
  for (let node = count - 1; node >= 0; node--) {
    files[node] += from.others[node] || (from.layer[node] >= 0 ? 1 : 0);
    if (from.layer[node] >= 0) best[node] = from.stored[node] + 1;
    if (node === 0) break;
    const parent = from.parent[node];
    next[node] = first[parent];
    first[parent] = node;
    files[parent] += files[node];
    // A directory has the colour of its largest file.
    if (best[node] > best[parent] && layer[node] >= 0) {
      best[parent] = best[node];
      if (from.layer[parent] < 0) layer[parent] = layer[node];
    }
  }
  return { count, sums, first, next, files, layer };
})();

const isDirectory = (node) => tree.first[node] >= 0;
const isRest = (node) => report.files.others[node] > 0;

function nodeName(node) {
  if (node === 0) return "/";
  return isRest(node) ? `(${number(report.files.others[node])} smaller files)` : report.files.name[node];
}

function nodePath(node) {
  const parts = [];
  for (let at = node; at > 0; at = report.files.parent[at]) parts.push(nodeName(at));
  return "/" + parts.reverse().join("/");
}

function children(node) {
  const out = [];
  for (let at = tree.first[node]; at >= 0; at = tree.next[at]) out.push(at);
  return out;
}

/** What nothing needs once these images are gone: bytes as stored, and blobs. */
function unneeded(selected) {
  let bytes = 0, blobs = 0;
  for (const group of report.kept_by) {
    if (group.images.every((image) => selected.has(image))) {
      bytes += group.stored_bytes;
      blobs += group.blobs;
    }
  }
  return { bytes, blobs };
}
