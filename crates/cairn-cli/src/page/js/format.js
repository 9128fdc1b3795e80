// Figures and elements.

/** Bytes for people, as the command prints them. */
function size(bytes) {
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let value = bytes, unit = "B";
  for (const next of units) {
    if (value < 999.5) break;
    value /= 1000;
    unit = next;
  }
  if (unit === "B") return `${bytes} B`;
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${unit}`;
}

const number = (value) => value.toLocaleString("en");
const percent = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : "–");
const moment = (time) => time.replace("T", " ").replace(/:\d\dZ$/, " UTC");

/** An element with text, never markup. */
function element(name, properties = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside);
  return made;
}

const byId = (id) => document.getElementById(id);

function shortLayer(at) {
  const name = stats.layers[at].name;
  return `${at + 1} · ${name.replace(/^sha256:/, "").slice(0, 8)}`;
}

/** Gives the browser a file to keep. */
function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** A cell of CSV; what a spreadsheet would take for a formula is made text. */
function csvCell(value) {
  let text = String(value ?? "");
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
