// Opens a page that "cairn stats --html" wrote, and uses it as people do.
//
//   node check.mjs PAGE EXPECTED.json [DIRECTORY FOR SCREENSHOTS]
//
// EXPECTED: {stats, removals: [{images, bytes}], paths: [text]}, as the command says it.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Browser } from "./browser.mjs";

const [file, expectedFile, shots] = process.argv.slice(2);
const expected = JSON.parse(readFileSync(expectedFile, "utf8"));
const browser = await Browser.start(process.env.CHROMIUM ?? "chromium");
const page = await browser.page();

async function open() {
  await page.size(1000, 900);
  await page.send("Page.navigate", { url: pathToFileURL(resolve(file)).href });
  await page.until("document.documentElement.dataset.ready === 'true'", "the page draws itself");
  const spent = await page.run("performance.now() - performance.getEntriesByType('navigation')[0].responseEnd");
  console.log(`ready ${Math.round(spent)} ms after it was read`);
}

async function figuresAreThoseOfTheCommand() {
  assert.deepEqual(await page.run("stats.images"), expected.stats.images);
  assert.deepEqual(await page.run("stats.layers"), expected.stats.layers);
  for (const field of ["logical_bytes", "unique_bytes", "stored_content_bytes", "same_chunks_bytes", "dead_bytes"]) {
    assert.equal(await page.run(`stats.${field}`), expected.stats[field], field);
  }
  assert.equal(await page.run("tree.sums.content[0]"), expected.stats.logical_bytes, "the tree shows all content");
  assert.equal(await page.run("tree.sums.stored[0]"), expected.stats.stored_content_bytes, "and all that is stored");
  assert.equal(await page.run("tree.sums.unique[0]"), expected.stats.unique_bytes);
  assert.equal(await page.run("tree.sums.alone[0]"), expected.stats.stored_content_bytes, "all is freed with the root");
  for (const key of ["types", "packages", "days"]) {
    const sum = `report.${key}.rows.reduce((sum, row) => sum + row.stored_bytes, 0)`;
    assert.equal(await page.run(sum), expected.stats.stored_content_bytes, key);
  }
}

async function removalsAreThoseOfTheCommand() {
  for (const { images, bytes } of expected.removals) {
    const ids = `${JSON.stringify(images)}.map((name) => stats.images.findIndex((image) => image.name === name))`;
    assert.equal(await page.run(`unneeded(new Set(${ids})).bytes`), bytes, images.join(", "));
  }
}

async function tabTo(condition) {
  for (let presses = 0; presses < 400; presses++) {
    await page.press("Tab");
    if (await page.run(`(() => { const at = document.activeElement; return ${condition}; })()`)) return;
  }
  assert.fail(`no key leads to ${condition}`);
}

async function theKeyboardDoesEverything() {
  await page.run("document.activeElement.blur()");
  const { images: [name] } = expected.removals.find(({ images }) => images.length === 1);
  await tabTo(`at.getAttribute("aria-label") === ${JSON.stringify(`Select ${name}`)}`);
  await page.press(" ");
  const { bytes } = expected.removals.find(({ images }) => images.length === 1);
  assert.equal(await page.run("Number(document.getElementById('freed').dataset.bytes)"), bytes);
  // Filter, sort and walk down a directory.
  await tabTo("at.getAttribute('aria-label') === 'Filter files and directories'");
  await page.type(expected.word);
  await page.until(`document.querySelector("#directory tbody").textContent.toLowerCase().includes(${JSON.stringify(expected.word)})`);
  await page.run("document.activeElement.value = ''; document.activeElement.dispatchEvent(new Event('input'))");
  await tabTo("at.closest('#directory thead') && at.textContent === 'Only here'");
  await page.press("Enter");
  assert.equal(await page.run("document.activeElement.closest('th').getAttribute('aria-sort')"), "descending");
  await tabTo("at.closest('#directory tbody') && at.classList.contains('link')");
  const into = await page.run("document.activeElement.textContent");
  await page.press("Enter");
  await page.until("document.querySelectorAll('#crumbs button').length === 1");
  const here = await page.run("document.querySelector('#crumbs b').textContent");
  assert.ok(into.includes(here), `${into} leads to ${here}`);
  await page.press("Enter");
  await page.until("document.querySelectorAll('#crumbs button').length === 0");
  await tabTo("at.id === 'tab-types'");
  await page.press("ArrowRight");
  assert.equal(await page.run("document.querySelector('[aria-selected=true]').textContent"), "Packages");
}

async function textOfImagesIsText() {
  for (const path of expected.paths) {
    const found = `(() => { for (let node = 0; node < tree.count; node++) if (nodePath(node) === ${JSON.stringify(path)}) return true; return false; })()`;
    assert.ok(await page.run(found), `${path} is in the tree`);
  }
  assert.equal(await page.run("document.querySelectorAll('img, iframe, object, svg').length"), 0);
  assert.equal(await page.run("typeof globalThis.pwned"), "undefined");
  const cell = await page.run("csvCell('=1+1')");
  assert.equal(cell, "'=1+1");
}

async function nothingIsWiderThanTheWindow() {
  for (const width of [400, 1000, 1600]) {
    for (const scheme of ["light", "dark"]) {
      await page.size(width, 900, scheme);
      await page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
      const wide = await page.run("document.documentElement.scrollWidth");
      assert.ok(wide <= width, `${wide} pixels in a window of ${width}`);
      if (!shots) continue;
      await page.drawn(width, scheme);
      writeFileSync(join(shots, `page-${width}-${scheme}.png`), await page.shot());
    }
  }
}

let failed = false;
try {
  await open();
  await figuresAreThoseOfTheCommand();
  await removalsAreThoseOfTheCommand();
  await textOfImagesIsText();
  await theKeyboardDoesEverything();
  await nothingIsWiderThanTheWindow();
  assert.deepEqual(page.faults, [], "the console stays empty");
  const foreign = page.requests.filter((address) => !/^(file|blob|data):/.test(address));
  assert.deepEqual(foreign, [], "nothing is fetched");
} catch (error) {
  console.error(error.message, page.faults);
  failed = true;
}
await browser.end();
process.exit(failed ? 1 : 0);
