// Layers, pairs of them, and what images carry in vain.

const HEAT = 24;

function layers() {
  const takes = (id) => stats.layers[id].exclusive_bytes + stats.layers[id].shared_bytes;
  const largest = stats.layers.map((_, id) => id).sort((a, b) => takes(b) - takes(a)).slice(0, HEAT).sort((a, b) => a - b);
  const place = new Map(largest.map((id, at) => [id, at]));
  const common = report.pairs.filter((pair) => place.has(pair.a) && place.has(pair.b));
  const cells = common.flatMap(({ a, b, bytes }) => [[place.get(a), place.get(b), bytes], [place.get(b), place.get(a), bytes]]);
  largest.forEach((id, at) => cells.push([at, at, takes(id)]));
  const top = Math.max(...common.map((pair) => pair.bytes), 1);
  const names = largest.map((id) => shortLayer(id));
  const about = "Bytes that each two of the largest layers have in common; the table beside has the same figures";
  chart(byId("heat"), about, () => {
    const label = { color: colour("--dim"), fontSize: 11, hideOverlap: true };
    const axis = { type: "category", data: names, axisLine: { show: false }, axisTick: { show: false }, splitArea: { show: false } };
    return {
      grid: { left: 4, right: 4, top: 8, bottom: 4, containLabel: true },
      xAxis: { ...axis, axisLabel: { ...label, rotate: 60 } },
      yAxis: { ...axis, inverse: true, axisLabel: label },
      visualMap: { show: false, min: 0, max: top, inRange: { color: [colour("--soft"), colour("--accent")] } },
      tooltip: { formatter: ({ value: [a, b, bytes] }) => (a === b ? `${names[a]}\ntakes ${size(bytes)}` : `${names[a]}\n${names[b]}\n${size(bytes)} in common`) },
      series: [{ type: "heatmap", data: cells, itemStyle: { borderColor: colour("--paper"), borderWidth: 1 } }],
    };
  });
  table(byId("layer-table"), {
    name: "layers",
    caption: "layers",
    sort: "exclusive_bytes",
    rows: stats.layers.map((share, id) => ({ id, layer: shortLayer(id), ...share, ...report.layers[id] })),
    columns: [
      { key: "layer", title: "Layer", kind: "text", show: (row) => element("span", { className: "whole", title: row.name }, row.layer) },
      { key: "made_by", title: "Made by", kind: "text", wide: true, show: (row) => (row.made_by ?? "–").slice(0, 80) },
      { key: "content_bytes", title: "Content", kind: "bytes" },
      { key: "exclusive_bytes", title: "Only its own", kind: "bytes" },
      { key: "shared_bytes", title: "Shared", kind: "bytes", wide: true },
    ],
  });
  table(byId("pair-table"), {
    name: "sharing",
    caption: "pairs of layers",
    sort: "bytes",
    rows: report.pairs.map(({ a, b, bytes }) => ({ a: shortLayer(a), b: shortLayer(b), bytes })),
    columns: [
      { key: "a", title: "Layer", kind: "text" },
      { key: "b", title: "and layer", kind: "text" },
      { key: "bytes", title: "In common", kind: "bytes" },
    ],
  });
  const wasted = new Map();
  report.images.forEach((image, id) => image.waste.paths.forEach(({ path, layers, bytes }) => {
    const row = wasted.get(path) ?? { path, images: 0, names: [], layers: 0, bytes: 0 };
    row.names.push(stats.images[id].name);
    row.images += 1;
    row.layers = Math.max(row.layers, layers);
    row.bytes = Math.max(row.bytes, bytes);
    wasted.set(path, row);
  }));
  table(byId("waste"), {
    name: "waste",
    caption: "paths that are never seen",
    sort: "bytes",
    rows: [...wasted.values()].map((row) => ({ ...row, names: row.names.join(", ") })),
    columns: [
      { key: "path", title: "Path", kind: "text" },
      { key: "names", title: "In images", kind: "text", wide: true, show: (row) => (row.names.length > 60 ? `${row.names.slice(0, 60)}…` : row.names) },
      { key: "images", title: "Images", kind: "number" },
      { key: "layers", title: "Layers", kind: "number", wide: true },
      { key: "bytes", title: "Bytes in each", kind: "bytes" },
    ],
  });
}
