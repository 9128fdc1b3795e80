// From what images show down to what the disk holds.

function fall(place, caption, lines) {
  const largest = Math.max(...lines.map((line) => line.sum ?? 0), 1);
  let level = 0;
  const rows = lines.map(({ title, bytes, sign, sum }) => {
    const bar = element("i");
    const [from, length] = sum !== undefined ? [0, sum] : sign < 0 ? [level - bytes, bytes] : [level, bytes];
    level = sum ?? level + sign * bytes;
    bar.style.left = `${(100 * Math.max(from, 0)) / largest}%`;
    bar.style.width = `${(100 * length) / largest}%`;
    bar.hidden = length === 0;
    const shown = sum !== undefined ? size(sum) : bytes === 0 ? "0" : `${sign < 0 ? "−" : "+"} ${size(bytes)}`;
    return element(
      "tr",
      { className: sum !== undefined ? "sum" : bytes === 0 ? "zero" : sign < 0 ? "minus" : "plus" },
      element("th", { scope: "row" }, title),
      element("td", { ariaHidden: "true" }, element("div", { className: "track" }, bar)),
      element("td", {}, shown),
    );
  });
  place.replaceChildren(element("table", { className: "fall" }, element("caption", { className: "skip" }, caption), element("tbody", {}, ...rows)));
}

function waterfall() {
  const less = (title, bytes) => ({ title, bytes, sign: -1 });
  const more = (title, bytes) => ({ title, bytes, sign: 1 });
  const s = stats;
  fall(byId("saved"), "From content to what is stored", [
    { title: "Content of all images and snapshots", sum: s.logical_bytes },
    less("Holes of sparse files", s.logical_holes_bytes),
    less("Identical files inside an image", s.same_files_in_image_bytes),
    less("Identical files of several images", s.same_files_between_images_bytes),
    less("Identical chunks of different files", s.same_chunks_bytes),
    { title: "Content, each piece once", sum: s.unique_bytes },
    less("Saved by compression", s.compression_saved_bytes),
    ...(s.framing_bytes ? [more("Frames around what is not shorter", s.framing_bytes)] : []),
    ...(s.base_root ? [less("In the base repository", s.base_content_bytes)] : []),
    { title: "Content as stored", sum: s.stored_content_bytes },
  ]);
  fall(byId("disk"), "From what is stored to disk usage", [
    { title: "Content as stored", sum: s.stored_content_bytes },
    more("Manifests, tar framing, documents", s.stored_metadata_bytes),
    more("Dead, not yet collected", s.dead_bytes),
    more("Headers and directories of packs", s.pack_overhead_bytes),
    more("Index", s.index_bytes),
    more("Database and journal", s.database_bytes),
    more("Cache: views and objects", s.cache_bytes),
    more("Changes of writable snapshots", s.heads_bytes),
    more("Volumes", s.volumes_bytes),
    more("Containers, leases, unfinished imports", s.other_bytes),
    more("File system overhead", s.rounding_bytes),
    { title: "Disk usage, as reported by du", sum: s.disk_bytes },
  ]);
}

function headline() {
  const s = stats;
  byId("headline").textContent = `${size(s.logical_bytes)} of images in ${size(s.disk_bytes)} on disk`;
  const stored = s.stored_content_bytes + s.stored_metadata_bytes + s.pack_overhead_bytes + s.index_bytes;
  const times = s.logical_bytes / Math.max(stored, 1);
  byId("lead").textContent =
    `${number(s.images.length)} images in ${number(s.layers.length)} layers take ${times.toFixed(1)} times less than they show. ` +
    (s.dead_bytes > 0 ? `${size(s.dead_bytes)} are needed by nothing and wait for gc.` : "Nothing waits for gc.");
  const facts = [
    ["Content shown", size(s.logical_bytes)],
    ["Each piece once", size(s.unique_bytes)],
    ["Stored", size(s.stored_content_bytes)],
    ["On disk", size(s.disk_bytes)],
    ["Images", number(s.images.length)],
    ["Layers", number(s.layers.length)],
    ["Files", number(tree.files[0])],
    ["Blobs", number(s.blobs)],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  byId("made").textContent = `Written by cairn ${report.version} from figures of ${moment(report.counted)}. This file holds all its data and asks no network for anything.`;
}
