// Types, packages and days; growth; histograms.

const COLUMNS = [
  { key: "name", title: "Name", kind: "text" },
  { key: "content_bytes", title: "Content", kind: "bytes" },
  { key: "unique_bytes", title: "Each once", kind: "bytes", wide: true },
  { key: "stored_bytes", title: "Stored", kind: "bytes" },
  { key: "exclusive_bytes", title: "Only here", kind: "bytes", wide: true },
];

function views() {
  const kinds = [["types", "Types"], ["packages", "Packages"], ["days", "Days"], ["heads", "Writable snapshots"]];
  const tabs = kinds.map(([key, title], at) => {
    const tab = element("button", { type: "button", role: "tab", id: `tab-${key}` }, title);
    tab.setAttribute("aria-controls", "view");
    tab.addEventListener("click", () => open(at));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) open((at + step + kinds.length) % kinds.length).focus();
    });
    return tab;
  });
  function open(at) {
    tabs.forEach((tab, n) => {
      tab.setAttribute("aria-selected", String(n === at));
      tab.tabIndex = n === at ? 0 : -1;
    });
    const key = kinds[at][0];
    byId("view").setAttribute("aria-labelledby", `tab-${key}`);
    if (key === "heads") heads();
    else divided(key);
    return tabs[at];
  }
  function heads() {
    table(byId("view"), {
      name: "heads", caption: "writable snapshots", sort: "bytes", rows: report.heads,
      columns: [{ key: "name", title: "Snapshot", kind: "text" }, { key: "bytes", title: "On disk", kind: "bytes" }],
    });
  }
  function divided(key) {
    const view = report[key];
    const place = element("div"), notes = view.notes.map((note) => element("p", { className: "note" }, note));
    byId("view").replaceChildren(...notes, place);
    table(place, {
      name: key, caption: key, sort: key === "days" ? "name" : "stored_bytes", rows: view.rows, columns: COLUMNS,
      total: () => ({ name: `Total; ${size(view.several_rows_bytes)} of it in several rows`, ...view.total, exclusive_bytes: view.total.exclusive_bytes }),
    });
  }
  byId("view-tabs").replaceChildren(...tabs);
  open(0);
}

function growth() {
  const rows = report.growth;
  if (rows.length < 2) byId("growth-chart").hidden = true;
  const line = (name, key, tone) => ({
    type: "line", name, data: rows.map((row) => row[key]), step: "end", symbol: rows.length > 60 ? "none" : "circle",
    lineStyle: { width: 2, color: tone }, itemStyle: { color: tone }, areaStyle: key === "packs_bytes" ? { color: tone, opacity: 0.12 } : undefined,
  });
  chart(byId("growth-chart"), "Content of layers and bytes of packs over time; the table below has the same figures", () => ({
    ...axes(rows.map((row) => moment(row.time)), size),
    tooltip: {
      trigger: "axis",
      formatter: ([{ dataIndex }]) => {
        const row = rows[dataIndex];
        return `${moment(row.time)}, after ${row.action}\nlayers show ${size(row.content_bytes)}\npacks take ${size(row.packs_bytes)}`;
      },
    },
    series: [line("layers show", "content_bytes", PALETTE[1]), line("packs take", "packs_bytes", PALETTE[0])],
  }));
  table(byId("growth-table"), {
    name: "growth", caption: "growth", sort: "time", rows: rows.slice().reverse(),
    columns: [
      { key: "time", title: "Time", kind: "text", show: (row) => moment(row.time) },
      { key: "action", title: "After", kind: "text" },
      { key: "images", title: "Images", kind: "number" },
      { key: "layers", title: "Layers", kind: "number", wide: true },
      { key: "content_bytes", title: "Layers show", kind: "bytes", wide: true },
      { key: "packs_bytes", title: "Packs take", kind: "bytes" },
    ],
  });
}

function sizes() {
  const kinds = [
    ["chunk-sizes", "Chunks", report.chunk_sizes, size],
    ["file-sizes", "Files", report.file_sizes, size],
    ["references", "Chunks by holders", report.references, number],
  ];
  for (const [id, title, bars, format] of kinds) {
    chart(byId(id), `${title}: how many from each size on; the table below has the same figures`, () => ({
      ...axes(bars.map((bar) => format(bar.from)), (value) => (value >= 1000 ? `${value / 1000}k` : value)),
      tooltip: { trigger: "axis", formatter: ([{ dataIndex }]) => `from ${format(bars[dataIndex].from)}\n${number(bars[dataIndex].count)}, ${size(bars[dataIndex].bytes)}` },
      series: [{ type: "bar", data: bars.map((bar) => bar.count), itemStyle: { color: PALETTE[0], borderRadius: [2, 2, 0, 0] }, barCategoryGap: "12%" }],
    }));
  }
  table(byId("size-table"), {
    name: "sizes", caption: "sizes and references", sort: "kind",
    rows: kinds.flatMap(([, kind, bars, format]) => bars.map((bar) => ({ kind, label: format(bar.from), ...bar }))),
    columns: [
      { key: "kind", title: "What", kind: "text" },
      { key: "from", title: "From", kind: "number", show: (row) => row.label },
      { key: "count", title: "Count", kind: "number" },
      { key: "bytes", title: "Bytes", kind: "bytes" },
    ],
  });
}
