import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { before, test } from "node:test";

import { chromium } from "playwright-core";

import { type BatchSubmission, BenchLedger, BenchLedgerError, type RunSubmission, UnreachableError } from "../src/client.js";
import { apiKey, between, serve } from "./server.js";

let url: string;
let client: BenchLedger;
before(async () => {
  // A page of any origin may read.
  url = await serve({ ALLOWED_ORIGINS: "*" });
  client = new BenchLedger({ url, apiKey });
});

const submission: RunSubmission = {
  runId: "a run/1",
  batchId: "batch",
  suite: "suite",
  scenario: "scenario",
  tier: "L1",
  agent: "agent",
  status: "completed",
  totalScore: 0.5,
  weightedScore: 5,
  metadata: { commit: "abc", nested: { list: [1.5, null] } },
  evaluations: [{ evaluatorName: "judge", score: 1, maxScore: 2, details: "half" }],
  telemetry: { tokensIn: 2 ** 50, costUsd: 0.25 },
};

test("every operation returns what the server sends", async () => {
  const read = async (path: string): Promise<unknown> => (await fetch(url + path)).json();
  const calls: [name: keyof BenchLedger, got: unknown, want: unknown][] = [
    ["submitRun", await client.submitRun(submission), { success: true, runId: "a run/1" }],
    ["submitBatch", await client.submitBatch({ batchId: "batch", metadata: { ci: true } }), { success: true, batchId: "batch" }],
    [
      "submitRuns",
      await client.submitRuns([{ ...submission, runId: "second", telemetry: null }, submission, { ...submission, totalScore: 1 }]),
      [
        { line: 1, runId: "second", outcome: "recorded" },
        { line: 2, runId: "a run/1", outcome: "replayed" },
        { line: 3, runId: "a run/1", outcome: "conflict", errors: [{ location: "body.totalScore", message: "differs from what is stored: 0.5" }] },
      ],
    ],
    ["listRuns", await client.listRuns({ suite: ["suite"], limit: 1 }), await read("/api/runs?suite=suite&limit=1")],
    ["getRun", await client.getRun("a run/1"), await read("/api/runs/a%20run%2F1")],
    ["getRunEvaluations", await client.getRunEvaluations("a run/1"), await read("/api/runs/a%20run%2F1/evaluations")],
    ["getRunTelemetry", await client.getRunTelemetry("a run/1"), await read("/api/runs/a%20run%2F1/telemetry")],
    ["getRunTelemetry", await client.getRunTelemetry("a run/1", { include: "prompt" }), await read("/api/runs/a%20run%2F1/telemetry?include=prompt")],
    ["getRunTelemetry", await client.getRunTelemetry("second"), null],
    ["listBatches", await client.listBatches(), await read("/api/batches")],
    ["getBatch", await client.getBatch("batch"), await read("/api/batches/batch")],
    ["voidRun", (await client.voidRun("second", { reason: "It was wrong." })).voided?.reason, "It was wrong."],
    ["listRuns", await client.listRuns({ voided: true }), await read("/api/runs?voided=true")],
    ["getBatch", await client.getBatch("batch", { voided: true }), await read("/api/batches/batch?voided=true")],
    ["restoreRun", (await client.restoreRun("second")).voided, undefined],
    ["listCorrections", await client.listCorrections({ runId: "second" }), await read("/api/corrections?runId=second")],
    ["listRuns", await client.listRuns({ metadata: { commit: "abc" }, status: ["completed", "running"], limit: 1 }), await read("/api/runs?metadata.commit=abc&status=completed&limit=1")],
    ["setBaseline", (await client.setBaseline("a/b", { batchId: "batch" })).batchId, "batch"],
    ["listBaselines", await client.listBaselines(), await read("/api/baselines")],
    ["getBaseline", await client.getBaseline("a/b"), await read("/api/baselines/a%2Fb")],
    ["deleteBaseline", (await client.deleteBaseline("a/b")).name, "a/b"],
    ["getStats", await client.getStats(), await read("/api/stats")],
    ["listAgentStats", await client.listAgentStats(), await read("/api/stats/agents")],
    ["getLeaderboard", (await client.getLeaderboard({ suite: "suite" })).rows.length, 1],
    ["getComparison", (await client.getComparison({ suite: "suite", baselineAgent: "agent", candidateAgent: "none" })).verdict, "insufficient"],
    ["listComparisonDetails", (await client.listComparisonDetails({ suite: "suite", baselineAgent: "agent", candidateAgent: "none" })).rows.length, 1],
    ["listScenarioStats", (await client.listScenarioStats({ suite: "suite" })).rows.length, 1],
    ["getScenarioMatrix", (await client.getScenarioMatrix({ suite: "suite" })).rows.length, 1],
    ["listPassStats", (await client.listPassStats({ suite: "suite", kMax: 1 })).rows.length, 1],
    ["listEvaluatorStats", (await client.listEvaluatorStats({ suite: "none" })).rows, []],
    ["listDailyStats", (await client.listDailyStats({ suite: "suite" })).rows.length, 1],
    ["getPowerPlan", (await client.getPowerPlan({ difference: 0.1, discordant: 0.2 })).scenarios, 155],
    ["getReadiness", await client.getReadiness(), await read("/readyz")],
    ["getLiveness", (await client.getLiveness()).status, "ok"],
    ["getHealth", (await client.getHealth()).status, "ok"],
  ];
  for (const [name, got, want] of calls) assert.deepEqual(got, want, name);

  const spec = readFileSync(new URL("../../../openapi.yaml", import.meta.url), "utf8");
  const operations = [...spec.matchAll(/operationId: (\S+)/g)].map(([, id]) => id?.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase()));
  assert.deepEqual(operations.filter((name) => !calls.some(([called]) => called === name)), [], "operations that are not called");
});

test("lists follow the pages", async () => {
  const corrections = [];
  for await (const { action } of client.eachCorrection({ runId: "second", limit: 1 })) corrections.push(action);
  assert.deepEqual(corrections, ["restore", "void"]);
  const all = Array.from({ length: 7 }, (_, i) => ({ ...submission, runId: `paged-${i}`, suite: "paged", batchId: `paged-${i}` }));
  await client.submitRuns(all);
  const runs = [];
  for await (const run of client.eachRun({ suite: ["paged"], limit: 3 })) runs.push(run.runId);
  assert.deepEqual(runs.sort(), all.map((run) => run.runId));
  let batches = 0;
  for await (const batch of client.eachBatch({ limit: 2 })) batches += batch.batchId.startsWith("paged-") ? 1 : 0;
  assert.equal(batches, 7);
});

test("errors have the details that the server sends", async () => {
  await assert.rejects(client.getRun("none"), (error: BenchLedgerError) => {
    assert.equal(error.status, 404);
    assert.equal(error.problem?.detail, 'No run has the ID "none".');
    assert.match(error.message, /^404 Not Found: No run has the ID "none"\. \(request .+\)$/);
    return error instanceof BenchLedgerError && !error.retriable;
  });
  await assert.rejects(client.submitRun({ ...submission, evaluations: [{ evaluatorName: "judge", score: 1, maxScore: 0 }] }), {
    status: 422,
    message: /body\.evaluations\[0\]\.maxScore: /,
  });
  await assert.rejects(new BenchLedger({ url }).submitRun(submission), { status: 401 });
  await assert.rejects(new BenchLedger({ url, apiKey: "wrong" }).submitRun(submission), { status: 403 });
});

test("a strict submission with an unknown field is refused", async () => {
  const typo = { totalscore: 1 };
  const message = /body\.totalscore: /;
  await assert.rejects(client.submitRun({ ...submission, runId: "strict", ...typo } as RunSubmission, { strict: true }), { status: 422, message });
  await assert.rejects(client.submitBatch({ batchId: "strict", ...typo } as BatchSubmission, { strict: true }), { status: 422, message });
  await assert.rejects(client.submitRun(submission, { strict: true }, AbortSignal.abort()), { name: "AbortError" });
  await assert.rejects(client.submitBatch({ batchId: "strict" }, { strict: true }, AbortSignal.abort()), { name: "AbortError" });
});

test("an unreachable server, or one that does not respond, is an UnreachableError", async () => {
  await assert.rejects(new BenchLedger({ url: "http://127.0.0.1:4" }).getStats(), (error: UnreachableError) => {
    assert.match(error.message, /^no response from http:\/\/127\.0\.0\.1:4 \(.*ECONNREFUSED.*\)$/);
    return error instanceof UnreachableError;
  });
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  try {
    const address = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    await assert.rejects(new BenchLedger({ url: address, timeoutMs: 50 }).getStats(), UnreachableError);
    const stopped = new AbortController();
    const reading = new BenchLedger({ url: address }).getStats(stopped.signal);
    stopped.abort();
    await assert.rejects(reading, { name: "AbortError" });
  } finally {
    silent.closeAllConnections();
    silent.close();
  }
});

test("an invalid address throws at once", () => {
  for (const url of ["localhost:8787", "", "ftp://localhost", "http://", "/api"]) {
    assert.throws(() => new BenchLedger({ url }), /is not a server address/, url);
  }
});

test("a trailing slash, or /api, of an address is ignored", async () => {
  for (const end of ["/", "/api", "/api/", "//api//"]) {
    const client = new BenchLedger({ url: url + end });
    assert.equal(client.url, url);
    await client.getStats();
  }
  assert.equal(new BenchLedger({ url: "http://ledger.example/prefix/api" }).url, "http://ledger.example/prefix");
  assert.equal(new BenchLedger({ url: "http://api/" }).url, "http://api");
});

test("a timeout that setTimeout does not support throws at once", () => {
  for (const timeoutMs of [0, -1, NaN, Infinity, 2 ** 31]) {
    assert.throws(() => new BenchLedger({ url, timeoutMs }), { name: "RangeError", message: `timeoutMs is ${timeoutMs}: it must be from 1 to 2,147,483,647 milliseconds` });
  }
  for (const timeoutMs of [1, 2 ** 31 - 1]) new BenchLedger({ url, timeoutMs });
});

test("a timeout and an abort work although fetch ignores the signal", { timeout: 60_000 }, async () => {
  const fetches = [() => new Promise<Response>(() => {}), async () => new Response(new ReadableStream({ start: (body) => body.enqueue(new Uint8Array(1)) }))];
  for (const fetch of fetches) {
    await assert.rejects(new BenchLedger({ url, fetch, timeoutMs: 50 }).getStats(), /^UnreachableError: no response from .* \(none within 50 ms\)$/);
    await assert.rejects(new BenchLedger({ url, fetch }).getStats(AbortSignal.abort()), { name: "AbortError" });
  }
});

test("only a problem document of BenchLedger counts as an error of the server", async () => {
  const problem = { type: "about:blank", status: 422, title: "Unprocessable Entity", detail: "No.", requestId: "R" };
  const text = (status: number, type: string) => ({ status, type, body: "<h1>No</h1>" });
  const json = (status: number, type: string, body: unknown) => ({ status, type, body: JSON.stringify(body) });
  let answer = text(200, "");
  const way = await between(url, (incoming, outgoing) => {
    incoming.resume();
    outgoing.writeHead(answer.status, { "Content-Type": answer.type, "Retry-After": "7" }).end(answer.body);
  });
  const client = new BenchLedger({ url: way, apiKey });
  const foreign = [
    ...[400, 401, 403, 404, 408, 413, 421, 425, 429, 502].flatMap((status) => [text(status, "text/html; charset=utf-8"), text(status, "text/plain")]),
    text(422, "application/problem+json"),
    json(422, "application/json", problem),
    json(404, "application/json", { message: "Not Found" }),
    json(400, "application/problem+json", problem),
    json(422, "application/problem+json", { ...problem, requestId: undefined }),
    json(422, "application/problem+json", { ...problem, errors: { maxScore: ["too small"] } }),
    json(422, "application/problem+json", [problem]),
    json(200, "application/problem+json", { ...problem, status: 200 }),
    json(201, "application/json", null),
    json(201, "application/json", { success: true, runId: "another" }),
    json(201, "application/json", { line: 1, runId: "another", outcome: "recorded" }),
  ];
  for (answer of foreign) {
    for (const submitted of [client.submitRun(submission), client.submitRuns([submission])]) {
      await assert.rejects(submitted, (error: UnreachableError) => {
        assert.ok(error instanceof UnreachableError, String(error));
        assert.ok(error.message.startsWith(`${way} answered ${answer.status} `), error.message);
        assert.match(error.message, /, which is not a response of BenchLedger: is the address right, or is a proxy in front of the server\?$/);
        assert.deepEqual([error.status, error.retriable], [answer.status, [408, 425, 429, 502].includes(answer.status)]);
        if (error.retriable) assert.equal(error.retryAfterMs, 7000);
        return true;
      });
    }
  }
  answer = text(404, "text/html; charset=utf-8");
  await assert.rejects(client.getStats(), new RegExp(`^UnreachableError: ${way} answered 404 Not Found \\(text/html\\), which`));
  answer = json(422, "application/problem+json", problem);
  await assert.rejects(client.submitRun(submission), { name: "BenchLedgerError", status: 422, retriable: false });
});

test("a redirect is not followed; the error has its target", async () => {
  let requests = 0;
  let location = "";
  const way = await between(url, (incoming, outgoing) => {
    requests++;
    incoming.resume();
    outgoing.writeHead(301, { Location: location }).end();
  });
  for (location of ["https://ledger.example/api/results", "/sign-in"]) {
    requests = 0;
    await assert.rejects(new BenchLedger({ url: way, apiKey }).submitRun(submission), {
      name: "UnreachableError",
      message: `${way} redirects to ${location}: set the server address to where BenchLedger is`,
      status: 301,
      retriable: false,
    });
    assert.equal(requests, 1);
  }
});

test("a response that does not come from BenchLedger is an UnreachableError", async () => {
  let answer: (outgoing: ServerResponse) => void;
  const way = await between(url, (incoming, outgoing) => {
    incoming.resume();
    answer(outgoing);
  });
  const client = new BenchLedger({ url: way, apiKey });
  const json = { "Content-Type": "application/json" };
  for (answer of [
    (outgoing) => outgoing.writeHead(200, { "Content-Type": "text/html" }).end("<h1>Sign in</h1>"),
    (outgoing) => outgoing.writeHead(204).end(),
    (outgoing) => outgoing.writeHead(200, json).end(),
    (outgoing) => outgoing.writeHead(200, json).end('[{"runId":'),
    (outgoing) => outgoing.writeHead(304).end(),
  ] satisfies ((outgoing: ServerResponse) => void)[]) {
    await assert.rejects(client.getRun("x"), UnreachableError);
    await assert.rejects(client.submitRun(submission), UnreachableError);
    await assert.rejects(client.submitRuns([submission]), UnreachableError);
    await assert.rejects(client.eachRun().next(), UnreachableError);
  }
});

test("a web page reads and submits with the published client", async () => {
  const file = (path: string): Buffer => readFileSync(new URL(`../${path}`, import.meta.url));
  const page = `<script type="importmap">{"imports": {
    "openapi-fetch": "/node_modules/openapi-fetch/dist/index.mjs"
  }}</script>`;
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP ledger.example 127.0.0.1"],
  });
  const site = createServer((incoming, outgoing) => {
    const path = incoming.url ?? "/";
    if (path === "/favicon.ico") return outgoing.writeHead(404).end();
    outgoing.setHeader("Content-Type", path === "/" ? "text/html" : "text/javascript");
    outgoing.end(path === "/" ? page : file(path.slice(1)));
    return undefined;
  }).listen(0, "127.0.0.1");
  await once(site, "listening");
  try {
    const tab = await browser.newPage();
    tab.on("console", (message) => console.log("browser:", message.text()));
    // Plain http, and not this machine's name: the page has no crypto.randomUUID.
    await tab.goto(`http://ledger.example:${(site.address() as AddressInfo).port}/`);
    assert.equal(await tab.evaluate("crypto.randomUUID"), undefined);
    const stats = (await tab.evaluate(`import("/dist/client.js").then(({ BenchLedger }) => new BenchLedger({ url: ${JSON.stringify(url)} }).getStats())`)) as object;
    assert.deepEqual(stats, await client.getStats());
    const answered = await tab.evaluate(`import("/dist/client.js").then(({ BenchLedger }) =>
      new BenchLedger({ url: ${JSON.stringify(url)} }).getRun("none").catch((error) => [error.name, error.status, error.problem.detail]))`);
    assert.deepEqual(answered, ["BenchLedgerError", 404, 'No run has the ID "none".']);
    const moved = await between(url, (_incoming, outgoing) => outgoing.writeHead(301, { Location: url, "Access-Control-Allow-Origin": "*" }).end());
    const redirected = await tab.evaluate(`import("/dist/client.js").then(({ BenchLedger }) =>
      new BenchLedger({ url: ${JSON.stringify(moved)} }).getStats().catch((error) => error.message))`);
    assert.equal(redirected, `${moved} redirects: set the server address to where BenchLedger is`);
    const runId = (await tab.evaluate(`import("/dist/recorder.js").then(async ({ BenchmarkLogger }) => {
      const logger = BenchmarkLogger.getInstance({ url: ${JSON.stringify(url)}, apiKey: ${JSON.stringify(apiKey)} });
      const runId = logger.startRun("suite", "in a browser", "L1", "agent");
      logger.logEvaluation("judge", 1, 2);
      if (await logger.completeRun(0.5) !== "delivered") throw new Error("not delivered");
      await logger.close();
      return runId;
    })`)) as string;
    const { run, evaluations } = await client.getRun(runId);
    assert.deepEqual([run.scenario, run.status, run.totalScore, evaluations.length], ["in a browser", "completed", 0.5, 1]);
  } finally {
    await browser.close();
    site.close();
  }
});
