// Opens the site as it was built, in Chromium.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const dist = fileURLToPath(new URL("../.vitepress/dist", import.meta.url));
const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".svg": "image/svg+xml" };
const server = createServer((incoming, outgoing) => {
  const path = dist + decodeURIComponent(new URL(incoming.url, "http://site").pathname);
  const file = [path, `${path}.html`, `${path}/index.html`].find((name) => existsSync(name) && statSync(name).isFile());
  if (!file) return outgoing.writeHead(incoming.url === "/favicon.ico" ? 204 : 404).end();
  return outgoing.writeHead(200, { "Content-Type": types[extname(file)] ?? "application/octet-stream" }).end(readFileSync(file));
});
const pages = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith(".html") && name !== "404.html").map((name) => `/${name.replace(/(index)?\.html$/, "")}`);

let browser;
let site;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  site = `http://127.0.0.1:${server.address().port}`;
});
after(async () => {
  await browser?.close();
  server.close();
});

/** Opens a tab that notes what is wrong with its pages. */
async function open(options) {
  const faults = [];
  const tab = await browser.newPage(options);
  tab.on("request", (request) => request.url().startsWith(`${site}/`) || request.url().startsWith("data:") || faults.push(`a request to ${request.url()}`));
  tab.on("response", (response) => response.status() < 400 || faults.push(`${response.status()} for ${response.url()}`));
  tab.on("console", (message) => message.type() === "error" && faults.push(`the console says: ${message.text()}`));
  tab.on("pageerror", (error) => faults.push(String(error)));
  return { tab, faults };
}

test("every page fits on a phone, asks nobody else, and has no errors", async () => {
  const { tab, faults } = await open({ viewport: { width: 390, height: 844 } });
  assert.ok(pages.length > 25, `${pages.length} pages`);
  for (const page of pages) {
    await tab.goto(site + page, { waitUntil: "networkidle" });
    const width = await tab.evaluate("document.documentElement.scrollWidth");
    if (width > 390) faults.push(`${page} is ${width} pixels wide`);
    assert.ok((await tab.title()).includes("BenchLedger"), page);
  }
  assert.deepEqual(faults, []);
  await tab.close();
});

test("the search finds an operation", async () => {
  const { tab, faults } = await open({ viewport: { width: 1280, height: 800 } });
  await tab.goto(`${site}/start`);
  await tab.click(".DocSearch-Button");
  await tab.fill(".search-input", "get-run-telemetry");
  await tab.click('.results a[href*="/reference/get-run-telemetry"]');
  await tab.waitForURL(/\/reference\/get-run-telemetry/);
  await tab.locator("main", { hasText: "GET /api/runs/{runId}/telemetry" }).waitFor(); // The page comes after its address.
  assert.deepEqual(faults, []);
  await tab.close();
});

test("it is dark where that is wished", async () => {
  const brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)";
  for (const [colorScheme, dark] of [["light", false], ["dark", true]]) {
    const { tab } = await open({ colorScheme, viewport: { width: 1280, height: 800 } });
    await tab.goto(`${site}/start`);
    assert.equal((await tab.evaluate(brightness)) < 200, dark, colorScheme);
    await tab.click(".VPNavBarAppearance .VPSwitchAppearance");
    assert.equal((await tab.evaluate(brightness)) < 200, !dark, `${colorScheme}, switched`);
    await tab.close();
  }
});
