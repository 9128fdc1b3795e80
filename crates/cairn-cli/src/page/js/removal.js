// Any set of images, and what nothing would need without them.

function removal() {
  const selected = new Set();
  const rows = stats.images.map((share, id) => ({
    id,
    ...share,
    layers: report.images[id].layers.length,
    imported: report.images[id].imported.slice(0, 10),
    efficiency: efficiency(report.images[id].waste),
  }));
  const images = table(byId("images"), {
    name: "images",
    caption: "images",
    sort: "exclusive_bytes",
    rows,
    columns: [
      { key: "name", title: "Image", kind: "text" },
      { key: "imported", title: "Came", kind: "text", wide: true },
      { key: "layers", title: "Layers", kind: "number", wide: true },
      { key: "content_bytes", title: "Content", kind: "bytes" },
      { key: "exclusive_bytes", title: "Only its own", kind: "bytes" },
      { key: "shared_bytes", title: "Shared", kind: "bytes", wide: true },
      { key: "efficiency", title: "Seen", kind: "number", wide: true, show: (row) => `${(100 * row.efficiency).toFixed(1)} %` },
    ],
    pick: { selected, refused: (row) => report.images[row.id].refused, changed: answer },
  });

  function answer() {
    const { bytes, blobs } = unneeded(selected);
    const count = selected.size;
    const needed = stats.stored_content_bytes + stats.stored_metadata_bytes;
    byId("freed").textContent = size(bytes);
    byId("freed").dataset.bytes = bytes;
    byId("freed-what").textContent = count
      ? `of ${size(needed)} would be needed by nothing without ${count === 1 ? "this image" : `these ${number(count)} images`}: ${number(blobs)} blobs, ${percent(bytes, needed)}.`
      : "Select images to see what nothing would need any more.";
    byId("freed-bar").style.width = `${needed ? (100 * bytes) / needed : 0}%`;
    const names = [...selected].flatMap((id) => (report.images[id].names.length ? report.images[id].names : [report.images[id].id]));
    byId("command").hidden = !count;
    byId("command").textContent = count ? `cairn rmi ${names.map(quoted).join(" ")} && cairn gc` : "";
  }

  byId("select-all").addEventListener("click", () => {
    for (const row of images.shown()) if (!report.images[row.id].refused) selected.add(row.id);
    images.draw();
    answer();
  });
  byId("select-none").addEventListener("click", () => {
    selected.clear();
    images.draw();
    answer();
  });
  answer();
}

/** A word of a shell. */
const quoted = (word) => (/^[\w.:\/@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

const efficiency = (waste) => (waste.content_bytes ? waste.visible_bytes / waste.content_bytes : 1);
