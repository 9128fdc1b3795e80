// Files: a map, and the same as a table one walks through.

const CELLS = 350;
const BESIDE = 40;
const DEEP = 6;
const FOUND = 1000;

function files() {
  let at = 0, measure = "stored", shade = "layer", words_now = "";
  const size_of = (node) => tree.sums[measure][node];
  const ranked = stats.layers.map((layer, id) => [layer.exclusive_bytes + layer.shared_bytes, id]).sort((a, b) => b[0] - a[0]);
  const colours = new Map(ranked.slice(0, PALETTE.length).map(([, id], rank) => [id, PALETTE[rank]]));
  const times = (node) => tree.sums.content[node] / Math.max(tree.sums.unique[node], 1);
  const step = (node) => Math.min(Math.floor(Math.log2(Math.max(times(node), 1))), RAMP.length - 1);
  const shade_of = (node) => (shade === "sharing" ? RAMP[step(node)] : (colours.get(tree.layer[node]) ?? OTHERS));

  const cell = (node) => {
    // A directory with nothing but one directory in it is one step.
    let name = nodeName(node), last = node;
    while (tree.first[last] >= 0 && tree.next[tree.first[last]] < 0 && isDirectory(tree.first[last])) {
      last = tree.first[last];
      name += `/${nodeName(last)}`;
    }
    return { name: plainText(name), value: size_of(node), node: last, itemStyle: { color: shade_of(node) } };
  };

  function inside(node) {
    const below = children(node).filter((child) => size_of(child) > 0).sort((a, b) => size_of(b) - size_of(a));
    const cells = below.slice(0, BESIDE).map(cell);
    const rest = below.slice(BESIDE).reduce((sum, child) => sum + size_of(child), 0);
    if (rest > 0) cells.push({ name: `${below.length - BESIDE} smaller`, value: rest, node: -1, itemStyle: { color: OTHERS } });
    return cells;
  }

  /** The largest directories are opened until there are cells enough. */
  function cells() {
    const top = inside(at), open = top.map((cell) => ({ cell, depth: 1 }));
    for (let count = top.length; count < CELLS; ) {
      const can = open.filter(({ cell, depth }) => cell.node >= 0 && isDirectory(cell.node) && depth < DEEP);
      if (!can.length) break;
      const next = can.reduce((a, b) => (b.cell.value > a.cell.value ? b : a));
      open.splice(open.indexOf(next), 1);
      next.cell.children = inside(next.cell.node);
      count += next.cell.children.length;
      open.push(...next.cell.children.map((cell) => ({ cell, depth: next.depth + 1 })));
    }
    return top;
  }

  const map = chart(byId("treemap"), "Map of files by size; the table below has the same figures", () => ({
    tooltip: {
      formatter: ({ data }) => (data?.node >= 0 ? [
        plainText(nodePath(data.node)),
        `Content ${size(tree.sums.content[data.node])}, stored ${size(tree.sums.stored[data.node])}`,
        `Only here ${size(tree.sums.alone[data.node])}, shared ${times(data.node).toFixed(1)} times`,
      ].join("\n") : ""),
    },
    series: [{
      type: "treemap",
      data: cells(),
      roam: false,
      nodeClick: false,
      breadcrumb: { show: false },
      left: 0, right: 0, top: 0, bottom: 0,
      squareRatio: 1.2,
      label: { color: "#fff", fontSize: 12, lineHeight: 15, padding: 2, overflow: "truncate", formatter: ({ data }) => `${data.name}\n${size(data.value)}` },
      upperLabel: { show: true, height: 18, padding: [0, 4], color: colour("--ink"), fontSize: 12, formatter: ({ data }) => (data.name ? `${data.name}  ${size(data.value)}` : "") },
      itemStyle: { borderColor: colour("--soft"), borderWidth: 2, gapWidth: 1 },
      levels: [{ upperLabel: { show: false }, itemStyle: { borderWidth: 0, gapWidth: 2, borderColor: colour("--paper") } }],
      visibleMin: 60,
      childrenVisibleMin: 1200,
    }],
  }), ({ data }) => {
    if (data?.node >= 0) go(isDirectory(data.node) ? data.node : report.files.parent[data.node]);
  });

  const sumsOf = (node) => Object.fromEntries(Object.entries(tree.sums).map(([key, sums]) => [key, sums[node]]));
  const row = (node) => ({
    node,
    name: at === 0 || words_now ? nodePath(node) : nodeName(node),
    ...sumsOf(node),
    files: tree.files[node],
    came: report.files.layer[node] >= 0 ? report.layers[report.files.layer[node]].came.slice(0, 10) : null,
  });

  function found(words, rows) {
    words_now = words;
    if (!words) return rows;
    const out = [];
    for (let node = 1; node < tree.count && out.length < FOUND; node++) {
      if (nodePath(node).toLowerCase().includes(words)) out.push(row(node));
    }
    return out;
  }

  const show = (row) => {
    if (!isDirectory(row.node)) return row.name;
    const button = element("button", { type: "button", className: "link" }, `${row.name}/`.replace("//", "/"));
    button.addEventListener("click", () => go(row.node, true));
    return button;
  };
  const list = table(byId("directory"), {
    name: "files",
    caption: "files and directories",
    sort: "stored",
    rows: children(0).map(row),
    search: found,
    columns: [
      { key: "name", title: "Path", kind: "text", show },
      { key: "files", title: "Files", kind: "number", wide: true },
      { key: "came", title: "First came", kind: "text", wide: true },
      { key: "content", title: "Content", kind: "bytes", wide: true },
      { key: "unique", title: "Each once", kind: "bytes", wide: true },
      { key: "stored", title: "Stored", kind: "bytes" },
      { key: "alone", title: "Only here", kind: "bytes" },
    ],
    total: () => ({ name: "Together, with what only several have", ...sumsOf(at), files: tree.files[at] }),
  });
  function crumbs() {
    const nodes = [];
    for (let node = at; node > 0; node = report.files.parent[node]) nodes.unshift(node);
    const parts = [0, ...nodes].map((node) => {
      if (node === at) return element("b", { ariaCurrent: "page" }, node === 0 ? "All files" : nodeName(node));
      const button = element("button", { type: "button", className: "link" }, node === 0 ? "All files" : nodeName(node));
      button.addEventListener("click", () => go(node, true));
      return button;
    });
    const inside = parts.flatMap((part, n) => (n ? [element("span", { ariaHidden: "true" }, "/"), part] : [part]));
    byId("crumbs").replaceChildren(...inside);
  }

  function legend() {
    const item = (tone, text) => {
      const mark = element("i");
      mark.style.background = tone;
      return element("li", {}, mark, text);
    };
    const items = shade === "layer"
      ? [...colours].map(([id, tone]) => item(tone, shortLayer(id))).concat(stats.layers.length > colours.size ? [item(OTHERS, "other layers")] : [])
      : RAMP.map((tone, n) => item(tone, ["not shared", "2 times", "4 times", "8 times", "16 times and more"][n]));
    byId("legend").replaceChildren(...items);
  }

  function go(node, focus = false) {
    at = node;
    crumbs();
    list.set(children(at).map(row));
    map.draw();
    if (focus) byId("crumbs").querySelector("button")?.focus();
  }

  byId("measure").addEventListener("change", (event) => {
    measure = event.target.value;
    map.draw();
  });
  byId("colour").addEventListener("change", (event) => {
    shade = event.target.value;
    legend();
    map.draw();
  });
  crumbs();
  legend();
}
