// Tables: what can be searched, sorted and downloaded. Charts only illustrate them.

const PAGE = 25;

/**
 * Makes a table in `place`. `columns`: {key, title, kind: "text"|"bytes"|"number", wide, show}; `rows`: objects with
 * these keys. `pick`: {selected, refused, changed} makes rows selectable. Returns {set(rows), shown()}.
 */
function table(place, { name, caption, columns, rows, sort, total, pick, search }) {
  let order = { key: sort, down: columns.find((c) => c.key === sort)?.kind !== "text" };
  let limit = PAGE, words = "", found = [];

  const input = element("input", { type: "search", placeholder: "Filter…", "aria-label": `Filter ${caption}` });
  const count = element("span", { className: "count", role: "status" });
  const csv = element("button", { type: "button" }, "CSV");
  const json = element("button", { type: "button" }, "JSON");
  csv.setAttribute("aria-label", `Download ${caption} as CSV`);
  json.setAttribute("aria-label", `Download ${caption} as JSON`);
  const head = element("thead"), body = element("tbody"), foot = element("tfoot");
  const grid = element("table", { className: "grid" }, element("caption", { className: "skip" }, caption), head, body, foot);
  const more = element("button", { type: "button", className: "more", hidden: true });
  place.replaceChildren(element("div", { className: "tools" }, input, count, csv, json), grid, more);

  const cellClass = (column) => [column.kind === "text" ? "" : "number", column.wide ? "wide" : ""].join(" ").trim();

  function header() {
    const cells = columns.map((column) => {
      const button = element("button", { type: "button" }, column.title);
      const cell = element("th", { scope: "col", className: cellClass(column) }, button);
      if (column.key === order.key) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      button.addEventListener("click", () => {
        order = { key: column.key, down: order.key === column.key ? !order.down : column.kind !== "text" };
        draw();
        head.querySelectorAll("button")[columns.indexOf(column)].focus();
      });
      return cell;
    });
    if (pick) cells.unshift(element("th", { className: "pick" }, element("span", { className: "skip" }, "Selected")));
    head.replaceChildren(element("tr", {}, ...cells));
  }

  function format(column, row) {
    const value = row[column.key];
    if (column.show) return column.show(row);
    if (value === null || value === undefined) return "–";
    return column.kind === "bytes" ? size(value) : column.kind === "number" ? number(value) : value;
  }

  function line(row) {
    const cells = columns.map((column) => element("td", { className: cellClass(column) }, format(column, row)));
    if (pick) {
      const refused = pick.refused(row);
      const box = element("input", { type: "checkbox", checked: pick.selected.has(row.id), disabled: Boolean(refused) });
      box.setAttribute("aria-label", `Select ${row[columns[0].key]}`);
      box.addEventListener("change", () => {
        if (box.checked) pick.selected.add(row.id);
        else pick.selected.delete(row.id);
        pick.changed();
      });
      if (refused) cells[0].append(element("span", { className: "why" }, `stays: ${refused}`));
      cells.unshift(element("td", { className: "pick" }, box));
    }
    return element("tr", {}, ...cells);
  }

  function compare(a, b) {
    const [x, y] = [a[order.key] ?? "", b[order.key] ?? ""];
    const sign = x < y ? -1 : x > y ? 1 : 0;
    return order.down ? -sign : sign;
  }

  function draw() {
    const all = search ? search(words, rows) : rows;
    const text = columns.filter((column) => column.kind === "text").map((column) => column.key);
    const fits = (row) => text.some((key) => String(row[key] ?? "").toLowerCase().includes(words));
    found = (words && !search ? all.filter(fits) : all.slice()).sort(compare);
    header();
    body.replaceChildren(...found.slice(0, limit).map(line));
    if (!found.length) {
      const span = columns.length + (pick ? 1 : 0);
      body.append(element("tr", {}, element("td", { className: "empty", colSpan: span }, "Nothing here")));
    }
    count.textContent = words ? `${number(found.length)} of ${number(rows.length)}` : number(found.length);
    more.hidden = found.length <= limit;
    more.textContent = `Show ${Math.min(found.length - limit, PAGE * 4)} more of ${number(found.length)}`;
    foot.replaceChildren(...(total && !words ? [totals(total())] : []));
  }

  function totals(sums) {
    const cells = columns.map((column) => {
      const text = column.key in sums ? (column.kind === "text" ? sums[column.key] : format(column, sums)) : "";
      return element("td", { className: cellClass(column) }, text);
    });
    if (pick) cells.unshift(element("td", { className: "pick" }));
    return element("tr", {}, ...cells);
  }

  input.addEventListener("input", () => {
    words = input.value.trim().toLowerCase();
    limit = PAGE;
    draw();
  });
  more.addEventListener("click", () => {
    limit += PAGE * 4;
    draw();
  });
  const plain = () => found.map((row) => Object.fromEntries(columns.map((column) => [column.key, row[column.key] ?? null])));
  csv.addEventListener("click", () => {
    const lines = plain().map((row) => Object.values(row).map(csvCell).join(","));
    download(`cairn-${name}.csv`, "text/csv", [columns.map((c) => c.key).join(","), ...lines, ""].join("\r\n"));
  });
  json.addEventListener("click", () => download(`cairn-${name}.json`, "application/json", JSON.stringify(plain(), null, 2)));
  draw();
  return {
    set(next) {
      rows = next;
      limit = PAGE;
      draw();
    },
    draw,
    shown: () => found,
  };
}
