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

/** Opens a tab, and collects errors of its pages. */
async function open(options) {
  const faults = [];
  const tab = await browser.newPage(options);
  tab.on("request", (request) => request.url().startsWith(`${site}/`) || request.url().startsWith("data:") || faults.push(`a request to ${request.url()}`));
  tab.on("response", (response) => response.status() < 400 || faults.push(`${response.status()} for ${response.url()}`));
  tab.on("console", (message) => message.type() === "error" && faults.push(`the console says: ${message.text()}`));
  tab.on("pageerror", (error) => faults.push(String(error)));
  return { tab, faults };
}

test("every page fits on a phone, sends no requests to other servers, and has no errors", async () => {
  const { tab, faults } = await open({ viewport: { width: 390, height: 844 } });
  assert.ok(pages.length > 25, `${pages.length} pages`);
  for (const page of pages) {
    await tab.goto(site + page, { waitUntil: "networkidle" });
    const width = await tab.evaluate("document.documentElement.scrollWidth");
    if (width > 390) faults.push(`${page} is ${width} pixels wide`);
    const tables = await tab.evaluate("[...document.querySelectorAll('.vp-doc table')].filter((table) => table.scrollWidth > table.clientWidth).length");
    if (tables > 0) faults.push(`${tables} tables of ${page} have to be scrolled sideways`);
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
  await tab.locator("main", { hasText: "GET /api/runs/{runId}/telemetry" }).waitFor(); // The address changes before the page.
  assert.deepEqual(faults, []);
  await tab.close();
});

test("the audit is not in the search", async () => {
  const { tab } = await open({ viewport: { width: 1280, height: 800 } });
  await tab.goto(`${site}/audit`);
  const heading = await tab.locator("main h1").innerText();
  await tab.click(".DocSearch-Button");
  await tab.fill(".search-input", heading);
  await tab.locator(".search-keyboard-shortcuts").waitFor();
  await tab.fill(".search-input", "list-runs");
  await tab.locator('.results a[href*="/reference/list-runs"]').first().waitFor();
  assert.equal(await tab.locator('.results a[href*="/audit"]').count(), 0);
  await tab.close();
});

test("the reference says which key an operation needs, and has required fields first", async () => {
  const { tab } = await open();
  for (const [operation, key] of [
    ["submit-run", "needs an API key with the scope submit"],
    ["list-runs", "needs no API key; with PUBLIC_READS=false, a key with the scope read"],
    ["get-health", "needs no API key"],
  ]) {
    await tab.goto(`${site}/reference/${operation}`);
    assert.ok((await tab.locator("main p").first().innerText()).endsWith(` · ${key}`), operation);
  }
  await tab.goto(`${site}/reference/submit-run`);
  const fields = await tab.locator("main table").nth(1).locator("tbody tr td:first-child").allInnerTexts();
  const optional = fields.map((field) => field.endsWith("(optional)"));
  assert.ok(!optional[0] && optional.at(-1), fields.join());
  assert.deepEqual(optional, optional.toSorted(), fields.join());
  await tab.close();
});

test("the page of the command line has every command and flag", async () => {
  const { tab } = await open();
  await tab.goto(`${site}/guides/command-line`);
  const text = await tab.locator("main").innerText();
  for (const part of ["benchledger keys revoke <name>", "--retry-for=DURATION", "Environment: PUBLIC_READS."]) assert.ok(text.includes(part), part);
  await tab.close();
});

test("the dark mode follows the system, and can be switched", async () => {
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
