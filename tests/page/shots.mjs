// Pictures of a page, for people to look at: node shots.mjs PAGE DIRECTORY
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Browser } from "./browser.mjs";

const [file, directory] = process.argv.slice(2);
const browser = await Browser.start(process.env.CHROMIUM ?? "chromium");
for (const width of [400, 1000, 1600]) {
  for (const scheme of ["light", "dark"]) {
    const page = await browser.page();
    await page.size(width, 900, scheme);
    await page.send("Page.navigate", { url: pathToFileURL(resolve(file)).href });
    await page.until("document.documentElement.dataset.ready === 'true'");
    const spent = await page.run("performance.now() - performance.getEntriesByType('navigation')[0].responseEnd");
    await page.drawn(width, scheme);
    writeFileSync(join(directory, `page-${width}-${scheme}.png`), await page.shot());
    console.log(width, scheme, `ready after ${Math.round(spent)} ms`, page.faults.join("; "));
  }
}
await browser.end();
