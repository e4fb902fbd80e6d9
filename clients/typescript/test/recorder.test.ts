import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import fs, { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { syncBuiltinESMExports } from "node:module";
import os from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { promisify } from "node:util";

import { BenchLedger, BenchLedgerError, BenchmarkLogger, type NodeOptions, spoolDir, UnreachableError } from "../src/node.js";
import { apiKey, between, eventually, freePort, newDir, serve, start } from "./server.js";

let url: string;
let client: BenchLedger;
before(async () => {
  url = await serve();
  client = new BenchLedger({ url, apiKey });
});

function recorder(url: string, spool: string, options: NodeOptions = {}): BenchmarkLogger {
  return new BenchmarkLogger({ url, apiKey, spool, retryForMs: 60_000, warn: () => {}, ...options });
}

/** Records a batch of ten runs, all at once, and returns its ID and what became of the runs. */
async function recordBatch(logger: BenchmarkLogger): Promise<{ batchId: string; deliveries: string[] }> {
  const batchId = logger.startBatch();
  const deliveries = await Promise.all(
    Array.from({ length: 10 }, async (_, i) => {
      logger.startRun("suite", `scenario-${i}`, "L1", "agent", "model", batchId);
      await new Promise((resolve) => setImmediate(resolve));
      logger.logEvaluation("tests", 1, 2, "half of them");
      await new Promise((resolve) => setImmediate(resolve));
      logger.logEvaluation("judge", i, 10);
      logger.logTelemetry(i, 100, 10, 0.25, 1234.5, "/tmp/work", "prompt");
      return logger.completeRun(i / 4, i, { i }, true, 0.9);
    }),
  );
  await logger.completeBatch(batchId, { metadata: { commit: "abc" } });
  return { batchId, deliveries };
}

/** Checks that the ten runs of a batch are stored, each once and whole. */
async function wantBatch(batchId: string): Promise<void> {
  const batch = await client.getBatch(batchId);
  assert.deepEqual([batch.totalRuns, batch.successfulRuns, batch.avgScore, batch.runs.length], [10, 10, 1.125, 10]);
  assert.ok(batch.completedAt);
  for (const { runId } of batch.runs) {
    const { run, evaluations, telemetry } = await client.getRun(runId);
    const i = Number(run.scenario.replace("scenario-", ""));
    assert.deepEqual(
      [run.status, run.totalScore, run.weightedScore, run.metadata, run.isSuccessful, run.successMetric, run.model],
      ["completed", i / 4, i, { i }, true, 0.9, "model"],
    );
    assert.deepEqual(evaluations.map(({ evaluatorName, score, details }) => [evaluatorName, score, details]), [
      ["tests", 1, "half of them"],
      ["judge", i, null],
    ]);
    assert.deepEqual([telemetry?.toolCalls, telemetry?.durationMs, telemetry?.promptSent], [i, 1235, "prompt"]);
  }
}

const entries = (dir: string): string[] => {
  try {
    return readdirSync(dir).filter((name) => name.endsWith(".json"));
  } catch {
    return [];
  }
};

type Handle = (n: number, incoming: IncomingMessage, outgoing: ServerResponse, forward: () => Promise<void>) => unknown;
const faults: Record<string, Handle> = {
  "a server that is well": (_n, _incoming, _outgoing, forward) => forward(),
  "a server that asks to wait": (n, incoming, outgoing, forward) => {
    if (n > 15) return forward();
    incoming.resume();
    outgoing.writeHead(503, { "Retry-After": "1" }).end();
  },
  "a server that hangs": (n, incoming, _outgoing, forward) => (n % 3 ? forward() : incoming.resume()),
  "connections that break before the request is there": (n, incoming, _outgoing, forward) => (n % 2 ? forward() : incoming.destroy()),
  "connections that break after the run is stored": (n, _incoming, outgoing, forward) => {
    if (n % 2) return forward();
    outgoing.writeHead = () => outgoing.destroy();
    return forward();
  },
};

describe("ten runs at once are stored, each once and whole", { concurrency: true }, () => {
  for (const [name, handle] of Object.entries(faults)) {
    test(name, async () => {
      let n = 0;
      const way = await between(url, (...args) => handle(++n, ...args));
      const spool = newDir();
      const logger = recorder(way, spool, { timeoutMs: 1000 });
      const { batchId, deliveries } = await recordBatch(logger);
      assert.deepEqual(deliveries, Array(10).fill("delivered"));
      await logger.close();
      await wantBatch(batchId);
      assert.deepEqual(entries(spool), []);
    });
  }

  test("a server that is down and starts again", async () => {
    const free = await freePort();
    const spool = newDir();
    const logger = recorder(`http://127.0.0.1:${free}`, spool);
    const recorded = recordBatch(logger);
    await eventually("runs wait in the spool", () => entries(spool).length === 10);
    await between(url, (_incoming, _outgoing, forward) => forward(), free);
    const { batchId } = await recorded;
    await logger.close();
    await wantBatch(batchId);
    assert.deepEqual(entries(spool), []);
  });
});

test("the next recorder sends undelivered submissions", async () => {
  let away = true;
  const way = await between(url, (incoming, _outgoing, forward) => (away ? incoming.destroy() : forward()));
  const spool = newDir();
  const first = recorder(way, spool, { retryForMs: 0 });
  const { batchId, deliveries } = await recordBatch(first);
  await first.close();
  assert.deepEqual(deliveries, Array(10).fill("spooled"));
  assert.equal(entries(spool).length, 11);
  away = false;
  const next = recorder(way, spool);
  await eventually("the spool is empty", () => entries(spool).length === 0);
  await next.close();
  await wantBatch(batchId);
});

test("benchledger flush sends undelivered submissions", async () => {
  const way = await between(url, (incoming) => incoming.destroy());
  const spool = newDir();
  const logger = recorder(way, spool, { retryForMs: 0 });
  const { batchId } = await recordBatch(logger);
  await logger.close();
  for (const name of entries(spool)) {
    writeFileSync(join(spool, name), readFileSync(join(spool, name), "utf8").replace(way, url));
  }
  const output = execFileSync("go", ["run", "-buildvcs=false", "../../cmd/benchledger", "flush", `--url=${url}`, `--api-key=${apiKey}`, `--spool=${spool}`]);
  assert.match(String(output), /^11 delivered, 0 refused, 0 left/);
  assert.deepEqual(entries(spool), []);
  await wantBatch(batchId);
});

test("the runs of a killed program are in the spool", async () => {
  const way = await between(url, (incoming) => incoming.resume());
  const spool = newDir();
  const program = `
    import { BenchmarkLogger } from ${JSON.stringify(new URL("../src/node.ts", import.meta.url).href)};
    const logger = new BenchmarkLogger(${JSON.stringify({ url: way, apiKey, spool })});
    logger.startRun("suite", "killed", "L1", "agent");
    logger.completeRun(1);
    process.kill(process.pid, "SIGKILL");`;
  assert.throws(() => execFileSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], { stdio: "pipe" }), { signal: "SIGKILL" });
  const [name] = entries(spool);
  const entry = JSON.parse(readFileSync(join(spool, name ?? ""), "utf8"));
  assert.deepEqual([entry.url, entry.operation, entry.body.scenario, entry.body.status], [way, "submit-run", "killed", "completed"]);
});

test("a refused submission is kept with the reason, and not sent again", async () => {
  const spool = newDir();
  const logger = recorder(url, spool);
  logger.startRun("suite", "refused", "L1", "agent");
  logger.logEvaluation("judge", 1, 0);
  await assert.rejects(logger.completeRun(), (error: BenchLedgerError) => {
    assert.match(error.message, /body\.evaluations\[0\]\.maxScore: .*\(kept in .*refused/s);
    return error.status === 422;
  });
  assert.deepEqual(entries(spool), []);
  const [name] = entries(join(spool, "refused"));
  const kept = JSON.parse(readFileSync(join(spool, "refused", name ?? ""), "utf8"));
  assert.deepEqual([kept.status, kept.problem.errors[0].location, kept.body.scenario], [422, "body.evaluations[0].maxScore", "refused"]);
  let requests = 0;
  const way = await between(url, () => requests++);
  await recorder(way, spool).close();
  assert.equal(requests, 0);
  await logger.close();
});

test("a refused run does not block others in the spool", async () => {
  const spool = newDir();
  const logger = recorder("http://127.0.0.1:4", spool, { retryForMs: 0 });
  const good = logger.startRun("suite", "good", "L1", "agent");
  const bad = logger.startRun("suite", "bad", "L1", "agent");
  logger.forRun(bad).logEvaluation("judge", 1, 0);
  await logger.forRun(bad).completeRun();
  await logger.forRun(good).completeRun();
  await logger.close();
  for (const name of entries(spool)) {
    writeFileSync(join(spool, name), readFileSync(join(spool, name), "utf8").replace("http://127.0.0.1:4", url));
  }
  const next = recorder(url, spool);
  await eventually("the spool is empty", () => entries(spool).length === 0);
  await next.close();
  assert.equal((await client.getRun(good)).run.scenario, "good");
  await assert.rejects(client.getRun(bad), { status: 404 });
  assert.equal(entries(join(spool, "refused")).length, 1);
});

test("a run is announced, and a failed run has the reason", async () => {
  const logger = recorder(url, newDir());
  const runId = logger.startRun("suite", "failing", "L1", "agent");
  await eventually("the run is announced", () => client.getRun(runId).then(({ run }) => run.status === "running", () => false));
  await logger.failRun("no such package", "workspace");
  const { run } = await client.getRun(runId);
  assert.deepEqual([run.status, run.isSuccessful, run.metadata], ["failed", false, { error: "no such package", errorType: "workspace" }]);
  await logger.close();
});

test("an announcement does not delay the end", async () => {
  let hung = (): void => {};
  const hanging = new Promise<void>((resolve) => (hung = resolve));
  let requests = 0;
  const way = await between(url, (incoming, _outgoing, forward) => {
    if (++requests > 1) return forward();
    incoming.resume();
    hung();
  });
  const logger = recorder(way, newDir());
  logger.startRun("suite", "overtaken", "L1", "agent");
  await hanging;
  assert.equal(await logger.completeRun(), "delivered");
  await logger.close();
});

test("a method without an open run throws an error that says what to do", async () => {
  const logger = recorder(url, newDir());
  assert.throws(() => logger.logEvaluation("judge", 1, 1), /No run is open: call startRun first/);
  const runs = await Promise.all(
    ["one", "two"].map(async (scenario) => {
      await null;
      return logger.startRun("suite", scenario, "L1", "agent");
    }),
  );
  assert.throws(() => logger.logEvaluation("judge", 1, 1), /2 runs are open: choose one with forRun/);
  for (const run of runs) await logger.forRun(run).completeRun();
  assert.throws(() => logger.forRun(runs[0] ?? ""), /is not open/);
  await logger.close();
});

test("settings come from the same variables as those of the original", async () => {
  const spool = newDir();
  const keep = { ...process.env };
  try {
    Object.assign(process.env, { ZE_BENCHMARKS_WORKER_URL: url, ZE_BENCHMARKS_API_KEY: apiKey, BENCHLEDGER_SPOOL: spool });
    assert.equal(spoolDir(), spool);
    const logger = BenchmarkLogger.getInstance();
    assert.equal(BenchmarkLogger.getInstance(), logger);
    const runId = logger.startRun("suite", "environment", "L1", "agent");
    assert.equal(await logger.completeRun(1), "delivered");
    assert.equal((await client.getRun(runId)).run.scenario, "environment");
    await logger.close();
    assert.notEqual(BenchmarkLogger.getInstance(), logger);
    await BenchmarkLogger.getInstance().close();
  } finally {
    process.env = keep;
  }
});

test("a run that has ended is not confused with another one", async () => {
  const logger = recorder(url, newDir());
  const other = logger.startRun("suite", "other", "L1", "agent");
  await (async () => {
    await null;
    const refused = logger.startRun("suite", "refused", "L1", "agent");
    const handle = logger.forRun(refused);
    logger.logEvaluation("judge", 1, 0);
    await assert.rejects(logger.completeRun(), { status: 422 });
    await assert.rejects(logger.failRun("refused", "evaluation"), /has ended/);
    assert.throws(() => logger.logEvaluation("judge", 1, 1), /has ended/);
    assert.throws(() => handle.logEvaluation("judge", 1, 1), /has ended/);
    await assert.rejects(handle.completeRun(), /has ended/);
  })();
  await logger.forRun(other).completeRun(1);
  const { run } = await client.getRun(other);
  assert.deepEqual([run.status, run.metadata], ["completed", null]);
  await logger.close();
});

test("a response that is not a receipt loses no run", async () => {
  const json = { "Content-Type": "application/json" };
  const answers: ((outgoing: ServerResponse) => void)[] = [
    (outgoing) => outgoing.writeHead(302, { Location: "/sign-in" }).end(),
    (outgoing) => outgoing.writeHead(301, { Location: "https://ledger.example/api/results" }).end(),
    (outgoing) => outgoing.writeHead(404, { "Content-Type": "text/html" }).end("<h1>404 Not Found</h1>"),
    (outgoing) => outgoing.writeHead(403, { "Content-Type": "text/html" }).end("<h1>403 Forbidden</h1>"),
    (outgoing) => outgoing.writeHead(413).end("too large"),
    (outgoing) => outgoing.writeHead(400, json).end('{"error":"no such route"}'),
    (outgoing) => outgoing.writeHead(200, { "Content-Type": "text/html" }).end("<h1>Sign in</h1>"),
    (outgoing) => outgoing.writeHead(204).end(),
    (outgoing) => outgoing.writeHead(200, json).end(),
    (outgoing) => outgoing.writeHead(200, json).end('{"success":true,"runId":"another"}'),
  ];
  for (const answer of answers) {
    let well = false;
    const way = await between(url, (incoming, outgoing, forward) => {
      if (well) return forward();
      incoming.resume();
      answer(outgoing);
    });
    const spool = newDir();
    const logger = recorder(way, spool, { retryForMs: 0 });
    const { batchId, deliveries } = await recordBatch(logger);
    await logger.close();
    assert.deepEqual(deliveries, Array(10).fill("spooled"));
    const said: string[] = [];
    const second = recorder(way, spool, { retryForMs: 0, warn: (message) => said.push(message) });
    await eventually("what is left was tried", () => said.length > 0);
    await second.close();
    assert.match(said.join("\n"), /^\S+ (answered|redirects to) .*; submissions of earlier runs stay in \S+$/);
    assert.equal(entries(spool).length, 11);
    assert.deepEqual(entries(join(spool, "refused")), []);
    well = true;
    const next = recorder(way, spool);
    await eventually("the spool is empty", () => entries(spool).length === 0);
    await next.close();
    await wantBatch(batchId);
  }
});

test("an evaluation without a score does not lose the run", async () => {
  const logger = recorder(url, newDir());
  const runId = logger.startRun("suite", "unscored", "L1", "agent");
  logger.logEvaluation("NaN", NaN, 2);
  logger.logEvaluation("null", null, 2);
  logger.logEvaluation("scored", 0, 2);
  assert.equal(await logger.completeRun(1, 1), "delivered");
  const evaluations = (await (await fetch(`${url}/api/runs/${runId}/evaluations`)).json()) as { score: number | null }[];
  assert.deepEqual(evaluations.map(({ score }) => score), [null, null, 0]);
  await logger.close();
});

test("values that JSON cannot represent are omitted, and the rest is kept", async () => {
  const spool = newDir();
  const logger = recorder(url, spool);
  const runId = logger.startRun("suite", "odd values", "L1", "agent");
  logger.logEvaluation("good", 1, 2);
  logger.logEvaluation("divided by zero", 1 / 0, 2);
  const cycle: Record<string, unknown> = { fine: 1 };
  cycle["self"] = cycle;
  await assert.rejects(logger.completeRun(1 / 0, 1, { commit: "abc", big: 2n ** 60n, cycle, nan: NaN }), (error: BenchLedgerError) => {
    assert.deepEqual(
      error.problem?.errors?.map(({ location }) => location),
      ["body.evaluations[1].score", "body.totalScore", "body.metadata.big", "body.metadata.cycle.self"],
    );
    return error.status === 422 && error.message.includes(join(spool, "refused"));
  });
  const [name] = entries(join(spool, "refused"));
  const path = join(spool, "refused", name ?? "");
  // The score is filled in by hand, and a digit added.
  writeFileSync(path, readFileSync(path, "utf8").replace('"divided by zero"', '"divided by zero",\n"score": 0').replace('"nan":null', '"nan":9007199254740993'));
  const output = execFileSync("go", ["run", "-buildvcs=false", "../../cmd/benchledger", "flush", "--refused", `--url=${url}`, `--api-key=${apiKey}`, `--spool=${spool}`]);
  assert.match(String(output), /^1 delivered, 0 refused, 0 left/);
  const stored = await (await fetch(`${url}/api/runs/${runId}`)).text();
  for (const text of ['"completed"', '"commit":"abc"', '"nan":9007199254740993', '"cycle":{"fine":1}', '"divided by zero"']) assert.ok(stored.includes(text), text);
  await logger.close();
});

test("entries of other recorders are sent with all digits, and other files are not touched", async () => {
  const spool = newDir();
  const run = (runId: string, more = "") => `{"runId":"${runId}","suite":"s","scenario":"c","tier":"L1","agent":"a","status":"completed"${more}}`;
  const entry = (body: string, to = url) => `{"url":"${to}","operation":"submit-run","spooledAt":"2025-11-17T10:00:00.123456789Z","body":${body}}\n`;
  const put = (name: string, text: string) => writeFileSync(join(spool, name), text);
  put("digits.json", entry(run("digits", ',\n  "metadata": {"n": 9007199254740993, "body": "\\"body\\":{}"}\n')));
  put("moved.json", `{"body":${run("moved")},"url":"${url}","operation":"submit-run","spooledAt":"2025-11-17T10:00:00Z"}`);
  put("large.json", entry(run("large", `,"telemetry":{"promptSent":"${"x".repeat(9 << 20)}"}`)));
  put("rescued.json.tmp", entry(run("rescued")));
  put("part.json.tmp", entry(run("part")).slice(0, 120));
  for (const name of ["rescued.json.tmp", "part.json.tmp"]) utimesSync(join(spool, name), 1, 1);
  const strays = { "empty.json": "{}", "null.json": "null", "text.json": "text", "list.json": "[]", "other.json": entry(run("other"), "http://127.0.0.1:4") };
  for (const [name, text] of Object.entries(strays)) put(name, text);
  const said: string[] = [];
  const logger = recorder(url, spool, { warn: (message) => said.push(message) });
  await eventually("only what is none is left", () => entries(spool).length === Object.keys(strays).length);
  await logger.close();
  assert.deepEqual(entries(spool).sort(), Object.keys(strays).sort());
  assert.deepEqual(readdirSync(spool).filter((name) => name.endsWith(".tmp")), []);
  assert.deepEqual(entries(join(spool, "refused")), ["large.json"]);
  assert.match(said.join("\n"), /1 submissions in .* are for http:\/\/127\.0\.0\.1:4: see benchledger flush\n4 files in .* are not submissions, or cannot be read: empty\.json \(not a submission\), list\.json/);
  assert.match(await (await fetch(`${url}/api/runs/digits`)).text(), /"metadata":\{"n":\s*9007199254740993/);
  for (const runId of ["moved", "rescued"]) assert.equal((await client.getRun(runId)).run.status, "completed");
});

test("a server that asks to wait until a date, or for longer than there is time", async () => {
  let first = 0;
  let waited = 0;
  let asked = () => new Date(Date.now() + 4000).toUTCString();
  const way = await between(url, (incoming, outgoing, forward) => {
    if (first) {
      waited = Date.now() - first;
      return forward();
    }
    incoming.resume();
    first = Date.now();
    outgoing.writeHead(429, { "Retry-After": asked() }).end();
  });
  const logger = recorder(way, newDir());
  assert.equal(await logger.completeBatch("patient"), "delivered");
  assert.ok(waited > 2000, `it waits for ${waited} ms`);
  first = 0;
  asked = () => "3600";
  const start = Date.now();
  assert.equal(await logger.completeBatch("impatient"), "spooled");
  assert.ok(Date.now() - start < 5000, "it waits, though that cannot be enough");
  assert.throws(() => recorder(way, newDir(), { retryForMs: -1 }), /must not be negative/);
  await logger.close();
});

test("a batch of ten runs survives a restart of the server", async () => {
  const dir = newDir();
  const spool = newDir();
  const server = await start(dir, `127.0.0.1:${await freePort()}`);
  const logger = recorder(server.url, spool);
  const batchId = logger.startBatch();
  const record = async (i: number) => {
    await null;
    logger.startRun("suite", `scenario-${i}`, "L1", "agent", "model", batchId);
    logger.logEvaluation("tests", 1, 2, "half of them");
    return logger.completeRun(i / 4, i, { i }, true);
  };
  const deliveries = [await record(0), await record(1), await record(2)];
  await server.stop();
  const away = [3, 4, 5, 6].map(record);
  await eventually("four runs wait in the spool", () => entries(spool).length === 4);
  const again = await start(dir, new URL(server.url).host);
  deliveries.push(...(await Promise.all([...away, ...[7, 8, 9].map(record)])));
  deliveries.push(await logger.completeBatch(batchId));
  assert.deepEqual(deliveries, Array(11).fill("delivered"));
  await logger.close();
  const batch = await new BenchLedger({ url: again.url }).getBatch(batchId);
  assert.deepEqual([batch.totalRuns, batch.successfulRuns, batch.avgScore, batch.avgWeightedScore], [10, 10, 1.125, 4.5]);
  assert.deepEqual(batch.runs.map(({ scenario, status }) => `${scenario} ${status}`).sort(), Array.from({ length: 10 }, (_, i) => `scenario-${i} completed`));
  assert.deepEqual(entries(spool), []);
});

test("after an error about the key, a run stays in the spool, and the warning says which key to set", async () => {
  for (const [wrong, status] of [["wrong", 403], [undefined, 401]] as const) {
    const spool = newDir();
    const said: string[] = [];
    const options = { apiKey: wrong, retryForMs: 60_000, warn: (message: string) => said.push(message) };
    const logger = recorder(url, spool, options);
    const runs = [logger.startRun("suite", "key", "L1", "agent"), logger.startRun("suite", "key", "L1", "agent")];
    for (const run of runs) assert.equal(await logger.forRun(run).completeRun(), "spooled");
    await logger.close();
    const lines = said.filter((line) => line.includes("stays in"));
    assert.equal(lines.length, 1, said.join("\n"));
    assert.ok(lines[0]?.startsWith(`${status} `), lines[0]);
    const advice = "; set BENCHLEDGER_API_KEY (or apiKey) to a key with the scope submit; a local server (`benchledger serve`) accepts the key dev-local-key; ";
    assert.ok(lines[0]?.includes(`${advice}the run stays in ${spool}, and so do later ones while this lasts. "benchledger flush" sends them.`), lines[0]);

    said.length = 0;
    const second = recorder(url, spool, options);
    await eventually("what is left was tried", () => said.length > 0);
    await second.close();
    assert.ok(said[0]?.endsWith(`${advice}submissions of earlier runs stay in ${spool}`), said[0]);
    assert.equal(entries(spool).length, 2);
    assert.deepEqual(entries(join(spool, "refused")), []);

    said.length = 0;
    const third = recorder(url, newDir(), options);
    third.startRun("suite", "key", "L1", "agent");
    await eventually("the announcement was tried", () => said.length > 0);
    assert.ok(said[0]?.endsWith(`${advice}the start could not be announced, but the end will still be recorded`), said[0]);
    await third.close();

    const next = recorder(url, spool);
    await eventually("the spool is empty", () => entries(spool).length === 0);
    await next.close();
    for (const run of runs) assert.equal((await client.getRun(run)).run.status, "completed");
  }
});

test("runs that were spooled for an address with /api are sent", async () => {
  const spool = newDir();
  for (const [name, address] of Object.entries({ api: `${url}/api`, slash: `${url}/api/` })) {
    const body = { runId: `spooled-${name}`, suite: "s", scenario: "c", tier: "L1", agent: "a", status: "completed" };
    writeFileSync(join(spool, `${name}.json`), JSON.stringify({ url: address, operation: "submit-run", spooledAt: "2025-11-17T10:00:00Z", body }));
  }
  const logger = recorder(`${url}/api/`, spool);
  await eventually("the spool is empty", () => entries(spool).length === 0);
  assert.equal(await logger.completeBatch("by-api"), "delivered");
  await logger.close();
  for (const name of ["api", "slash"]) assert.equal((await client.getRun(`spooled-${name}`)).run.status, "completed");
});

test("all runs of an outage share the retry time", async () => {
  let well = false;
  let requests = 0;
  const way = await between(url, (incoming, _outgoing, forward) => {
    requests++;
    return well ? forward() : incoming.destroy();
  });
  const spool = newDir();
  const said: string[] = [];
  const logger = recorder(way, spool, { retryForMs: 2000, warn: (message) => said.push(message) });
  const record = async () => {
    await null;
    logger.startRun("suite", "outage", "L1", "agent");
    return logger.completeRun();
  };
  const start = Date.now();
  const deliveries = await Promise.all([record(), record()]);
  for (let i = 0; i < 4; i++) deliveries.push(await record());
  assert.ok(Date.now() - start < 5000, `six runs take ${Date.now() - start} ms`);
  assert.deepEqual(deliveries, Array(6).fill("spooled"));
  requests = 0;
  logger.startBatch();
  await eventually("the start of a batch is tried", () => requests === 1);
  assert.equal(await record(), "spooled");
  const warnings = [
    /^no response from \S+ \(.+\); the run is safe in \S+; trying again until \d\d:\d\d:\d\d\. "benchledger flush" sends it later\.$/,
    /^no response from \S+ \(.+\); the run stays in \S+, and so do later ones while this lasts\. "benchledger flush" sends them\.$/,
  ];
  assert.equal(said.length, 2, said.join("\n"));
  warnings.forEach((want, i) => assert.match(said[i] ?? "", want));

  well = true;
  assert.equal(await record(), "delivered");
  well = false;
  requests = 0;
  assert.equal(await record(), "spooled");
  assert.ok(requests > 2, `after a success, there are ${requests} attempts`);
  await logger.close();
  assert.equal(said.length, 4, said.join("\n"));
  warnings.forEach((want, i) => assert.match(said[i + 2] ?? "", want));
});

test("any response of BenchLedger ends an outage", async () => {
  const changes: [status: number, change: (incoming: IncomingMessage) => void][] = [
    [401, ({ headers }) => delete headers.authorization],
    [403, ({ headers }) => (headers.authorization = "Bearer wrong")],
    [404, (incoming) => (incoming.url = "/api/none")],
    [405, (incoming) => (incoming.method = "PUT")],
  ];
  let change: ((incoming: IncomingMessage) => void) | undefined;
  let requests = 0;
  const way = await between(url, (incoming, _outgoing, forward) => {
    requests++;
    if (!change) return incoming.destroy();
    change(incoming);
    return forward();
  });
  const said: string[] = [];
  const logger = recorder(way, newDir(), { retryForMs: 2000, warn: (message) => said.push(message) });
  const end = async (): Promise<number> => {
    requests = 0;
    assert.equal(await logger.completeBatch("responses"), "spooled");
    return requests;
  };
  while ((await end()) > 1); // Until the retry time is over.
  for (const [status, changed] of changes) {
    change = changed;
    for (let i = 0; i < 2; i++) assert.equal(await end(), 1);
    change = undefined;
    assert.ok((await end()) > 1, `after ${status}, there is one attempt`);
    while ((await end()) > 1);
  }
  await logger.close();
  assert.deepEqual(
    said.map((line) => line.split(" ")[0]),
    ["no", "no", ...changes.flatMap(([status]) => [String(status), "no", "no"])],
  );
});

test("a failure that comes later than the retry time after the last one is another outage", async (t) => {
  const now = Date.now;
  let later = 0;
  t.mock.method(Date, "now", () => now() + later);
  let requests = 0;
  const way = await between(url, (incoming) => {
    requests++;
    incoming.destroy();
  });
  for (const [retryForMs, warnings] of [[2000, 4], [0, 1]] as const) {
    const said: string[] = [];
    const logger = recorder(way, newDir(), { retryForMs, warn: (message) => said.push(message) });
    const end = async (): Promise<number> => {
      requests = 0;
      assert.equal(await logger.completeBatch("later"), "spooled");
      return requests;
    };
    const isRetried = (await end()) > 1;
    assert.equal(isRetried, retryForMs > 0);
    while ((await end()) > 1); // Until the retry time is over.
    later += 3_600_000;
    assert.equal((await end()) > 1, isRetried);
    while ((await end()) > 1);
    await logger.close();
    assert.equal(said.length, warnings, said.join("\n"));
  }
});

test("a first attempt that hangs causes a warning within two seconds", async () => {
  let answer = (): void => {};
  const answered = new Promise<void>((resolve) => (answer = resolve));
  const way = await between(url, async (_incoming, _outgoing, forward) => {
    await answered;
    return forward();
  });
  const spool = newDir();
  const said: string[] = [];
  let isLate = false;
  const logger = recorder(way, spool, { warn: (message) => said.push(isLate ? `late: ${message}` : message) });
  const ended = ["one", "two"].map((batch) => logger.completeBatch(`hanging-${batch}`));
  setTimeout(() => (isLate = true), 1900); // Timers fire in order, however busy the machine is.
  await eventually("there is a warning", () => said.length > 0);
  ended.push(logger.completeBatch("hanging-three"));
  await new Promise((resolve) => setTimeout(resolve, 1600)); // It hangs for as long.
  answer();
  assert.deepEqual(await Promise.all(ended), Array(3).fill("delivered"));
  assert.equal(said.length, 1, said.join("\n"));
  assert.match(said[0] ?? "", /^no response from \S+ \(none within 1\.5 s\); the batch is safe in \S+; trying again until \d\d:\d\d:\d\d\. "benchledger flush" sends it later\.$/);
  await logger.close();
});

test("a slow server causes one warning, and an outage afterwards another one", async () => {
  let isDown = false;
  const way = await between(url, async (incoming, _outgoing, forward) => {
    if (isDown) return incoming.destroy();
    await new Promise((resolve) => setTimeout(resolve, 1700));
    return forward();
  });
  const said: string[] = [];
  const logger = recorder(way, newDir(), { retryForMs: 2000, warn: (message) => said.push(message) });
  for (let i = 0; i < 3; i++) assert.equal(await logger.completeBatch(`slow-${i}`), "delivered");
  assert.equal(said.length, 1, said.join("\n"));
  assert.match(said[0] ?? "", /^no response from \S+ \(none within 1\.5 s\)/);
  isDown = true;
  assert.equal(await logger.completeBatch("slow-down"), "spooled");
  await logger.close();
  assert.equal(said.length, 3, said.join("\n"));
  assert.match(said[1] ?? "", /^no response from \S+ \(fetch failed.*; trying again until/);
  assert.match(said[2] ?? "", /stays in/);
});

describe("a program ends in time, though garbage is collected and the server is silent", { concurrency: true }, () => {
  const silences: Record<string, (outgoing: ServerResponse) => void> = {
    "before the response": () => {},
    "in the response": (outgoing) => outgoing.writeHead(201, { "Content-Type": "application/json" }).write('{"success":'),
  };
  for (const [name, silence] of Object.entries(silences)) {
    test(name, async () => {
      const way = await between(url, (incoming, outgoing) => {
        incoming.resume();
        silence(outgoing);
      });
      const program = `
        import { BenchmarkLogger } from ${JSON.stringify(new URL("../src/node.ts", import.meta.url).href)};
        setInterval(gc, 100).unref();
        const start = Date.now();
        const logger = new BenchmarkLogger(${JSON.stringify({ url: way, apiKey, spool: newDir(), timeoutMs: 2000, retryForMs: 0 })});
        logger.startBatch();
        logger.startRun("suite", "silent", "L1", "agent");
        logger.completeRun(1);
        await logger.close();
        process.on("exit", () => console.log(Date.now() - start));`;
      const run = promisify(execFile)(process.execPath, ["--expose-gc", "--import", "tsx", "--input-type=module", "-e", program], { timeout: 60_000 });
      const ms = Number((await run).stdout);
      assert.ok(ms >= 2000 && ms < 30_000, `the program ends after ${ms} ms`);
    });
  }
});

test("half of a character and NUL are replaced, and the run is delivered", async () => {
  const said: string[] = [];
  const logger = recorder(url, newDir(), { warn: (message) => said.push(message) });
  const half = "result 😀".slice(0, 8);
  const runId = logger.startRun("suite", `of ${half}`, "L1", "agent");
  logger.logEvaluation(half, 1, 1, "\0 and \\u0000 and 😀");
  logger.logTelemetry(1, 1, 1, 1, 1, null, `${half} ${half}`);
  const metadata = { [half]: 1, ["result \ude00"]: 2, list: [{ text: half }], backslash: "\\ud83d" };
  assert.equal(await logger.completeRun(1, 1, metadata), "delivered");
  assert.equal(await logger.completeBatch("half-batch", { metadata: { half } }), "delivered");
  const failed = logger.startRun("suite", "failed", "L1", "agent");
  assert.equal(await logger.failRun(`exit 1: \0`), "delivered");
  await logger.close();
  const { run, evaluations, telemetry } = await client.getRun(runId);
  assert.equal(run.scenario, "of result \ufffd");
  assert.deepEqual(evaluations.map(({ evaluatorName, details }) => [evaluatorName, details]), [["result \ufffd", "\ufffd and \\u0000 and 😀"]]);
  assert.equal(telemetry?.promptSent, "result \ufffd result \ufffd");
  assert.deepEqual(run.metadata, { "result \ufffd": 1, "result \ufffd\ufffd": 2, list: [{ text: "result \ufffd" }], backslash: "\\ud83d" });
  assert.equal((await client.getRun(failed)).run.metadata?.["error"], "exit 1: \ufffd");
  assert.deepEqual(said, [`a text had a NUL or half a character (run ${runId}, body.scenario): replaced by U+FFFD`]);
});

test("a failed run has the caught error as a text", async () => {
  const logger = recorder(url, newDir());
  const cycle = new Error("outer");
  cycle.cause = cycle;
  const caught: [error: unknown, text: string][] = [
    ["a text", "a text"],
    [new Error("x"), "Error: x"],
    [new TypeError("no install", { cause: new Error("exit 1", { cause: "no network" }) }), "TypeError: no install (cause: Error: exit 1 (cause: no network))"],
    [{ code: 7 }, '{"code":7}'],
    [undefined, "no error was given"],
    [Object.create(null), "an error without a text (object)"],
  ];
  for (const [error, text] of caught) {
    const runId = logger.startRun("suite", "failed", "L1", "agent");
    await logger.failRun(error, "agent");
    assert.deepEqual((await client.getRun(runId)).run.metadata, { error: text, errorType: "agent" });
  }
  logger.startRun("suite", "failed", "L1", "agent");
  assert.equal(await logger.failRun(cycle), "delivered");
  await logger.close();
});

test("a spool that cannot be read or written causes a warning", async () => {
  const spool = join(newDir(), "spool");
  execFileSync("mkfifo", [spool]);
  const piped = recorder(url, spool);
  assert.equal(await piped.completeBatch("spool-is-a-pipe"), "delivered");
  await piped.close();
  rmSync(spool);
  writeFileSync(spool, "not a directory");
  const said: string[] = [];
  const logger = recorder(url, spool, { warn: (message) => said.push(message) });
  assert.equal(await logger.completeBatch("without-spool"), "delivered");
  assert.equal(await logger.completeBatch("without-spool-2"), "delivered");
  await logger.close();
  assert.equal(said.length, 2, said.join("\n"));
  assert.match(said[0] ?? "", /^cannot read the submissions in the spool \S+: ENOTDIR/);
  assert.match(said[1] ?? "", /^cannot store a submission in the spool \S+: EEXIST/);
  const away = recorder("http://127.0.0.1:4", spool, { retryForMs: 0 });
  await assert.rejects(away.completeBatch("lost"), UnreachableError);
  await away.close();
});

test("a user without a home directory has a recorder without a spool", async (t) => {
  const { BENCHLEDGER_SPOOL, XDG_STATE_HOME } = process.env;
  delete process.env["BENCHLEDGER_SPOOL"];
  delete process.env["XDG_STATE_HOME"];
  const homedir = t.mock.method(os, "homedir", () => {
    throw new Error("ENOENT: no home directory");
  });
  syncBuiltinESMExports();
  const said: string[] = [];
  try {
    const logger = new BenchmarkLogger({ url, apiKey, warn: (message) => said.push(message) });
    assert.equal(await logger.completeBatch("homeless"), "delivered");
    await logger.close();
    assert.deepEqual(said, ["there is no spool (ENOENT: no home directory): set BENCHLEDGER_SPOOL to a directory"]);
    const away = new BenchmarkLogger({ url: "http://127.0.0.1:4", apiKey, retryForMs: 0, warn: () => {} });
    await assert.rejects(away.completeBatch("lost"), UnreachableError);
    await away.close();
  } finally {
    homedir.mock.restore();
    syncBuiltinESMExports();
    Object.assign(process.env, BENCHLEDGER_SPOOL !== undefined && { BENCHLEDGER_SPOOL }, XDG_STATE_HOME !== undefined && { XDG_STATE_HOME });
  }
});

test("a run is delivered although its file cannot be deleted", async () => {
  const spool = newDir();
  const way = await between(url, (_incoming, _outgoing, forward) => {
    const [name] = entries(spool);
    if (name) {
      rmSync(join(spool, name), { recursive: true });
      mkdirSync(join(spool, name)); // Only a file can be deleted.
    }
    return forward();
  });
  const said: string[] = [];
  const logger = recorder(way, spool, { warn: (message) => said.push(message) });
  assert.equal(await logger.completeBatch("undeletable"), "delivered");
  await logger.close();
  assert.match(said.join("\n"), /^cannot delete a delivered submission in the spool \S+: .*EISDIR/);
});

test("a refused run that cannot be moved stays, and does not block others in the spool", async () => {
  const spool = newDir();
  writeFileSync(join(spool, "refused"), "not a directory");
  mkdirSync(join(spool, "folder.json.tmp"));
  utimesSync(join(spool, "folder.json.tmp"), 1, 1);
  const said: string[] = [];
  const logger = recorder(url, spool, { warn: (message) => said.push(message) });
  logger.startRun("suite", "immovable", "L1", "agent");
  logger.logEvaluation("judge", 1, 0);
  await assert.rejects(logger.completeRun(), (error: BenchLedgerError) => error.status === 422 && error.message.endsWith(`(kept in ${spool})`));
  await logger.close();
  assert.equal(said.length, 2, said.join("\n"));
  assert.match(said.join("\n"), /^1 files in \S+ are not submissions, or cannot be read: folder\.json\.tmp \(not a regular file\)$/m);
  assert.match(said.join("\n"), /^cannot move a refused submission in the spool \S+: EEXIST/m);
  const refused = entries(spool);
  const body = { runId: "after-immovable", suite: "s", scenario: "c", tier: "L1", agent: "a", status: "completed" };
  writeFileSync(join(spool, "good.json"), JSON.stringify({ url, operation: "submit-run", spooledAt: new Date().toISOString(), body }));
  const next = recorder(url, spool);
  await eventually("the other run is sent", () => !entries(spool).includes("good.json"));
  await next.close();
  assert.deepEqual(entries(spool), refused);
  assert.equal((await client.getRun("after-immovable")).run.status, "completed");
});

/** A proxy that answers 503 to what contains one of the texts, while it has them. */
async function failing(texts: Set<string>): Promise<{ way: string; requests: string[] }> {
  const requests: string[] = [];
  const way = await between(url, async (incoming, outgoing) => {
    let body = "";
    for await (const chunk of incoming) body += chunk;
    requests.push(body);
    if ([...texts].some((text) => body.includes(text))) return outgoing.writeHead(503).end();
    const headers = { "Content-Type": String(incoming.headers["content-type"]), Authorization: `Bearer ${apiKey}` };
    const answer = await fetch(url + incoming.url, { method: "POST", headers, body });
    return outgoing.writeHead(answer.status, { "Content-Type": answer.headers.get("Content-Type") ?? "" }).end(await answer.text());
  });
  return { way, requests };
}

let second = 0;
function spoolRun(spool: string, to: string, runId: string, more: object = {}, operation = "submit-run"): string {
  const name = `${runId}-${++second}.json`;
  const spooledAt = new Date(1_763_373_600_000 + second * 1000).toISOString();
  const run = { runId, suite: "s", scenario: "c", tier: "L1", agent: "a", status: "completed", ...more };
  writeFileSync(join(spool, name), JSON.stringify({ url: to, operation, spooledAt, body: operation === "submit-run" ? run : more }));
  return name;
}

test("a run that the server cannot store does not keep others in the spool", async () => {
  const broken = new Set(["broken-once", "broken-batch"]);
  const { way } = await failing(broken);
  const spool = newDir();
  const batch = spoolRun(spool, way, "", { batchId: "broken-batch" }, "submit-batch");
  const first = spoolRun(spool, way, "round", { status: "incomplete", scenario: "broken-once" });
  const others = Array.from({ length: 12 }, (_, i) => spoolRun(spool, way, `round-${i}`, i % 2 ? {} : { batchId: "batch-of-round" }));
  const second = spoolRun(spool, way, "round", { totalScore: 0.5 });
  // The retry time of the one does not delay the others.
  const patient = recorder(way, spool, { retryForMs: 3_600_000 });
  await eventually("only one run and the batch are left", () => others.every((name) => !entries(spool).includes(name)));
  await patient.close();
  assert.deepEqual(entries(spool).sort(), [batch, first, second].sort());
  await assert.rejects(client.getRun("round"), { status: 404 }); // Its later state is not stored before the first.

  const said: string[] = [];
  others.push(spoolRun(spool, way, "round-later"));
  const next = recorder(way, spool, { retryForMs: 0, warn: (message) => said.push(message) });
  await eventually("it gives up", () => said.length > 0);
  await next.close();
  assert.match(said.join("\n"), new RegExp(`^${batch} was not delivered: \\S+ answered 503 .*; submissions of earlier runs stay in ${spool}$`));
  assert.deepEqual(entries(spool).sort(), [batch, first, second].sort());

  broken.clear();
  const last = recorder(way, spool);
  await eventually("the spool is empty", () => entries(spool).length === 0);
  await last.close();
  const { run } = await client.getRun("round");
  assert.deepEqual([run.status, run.totalScore], ["completed", 0.5]);
});

test("a server that stores nothing gets few requests", async () => {
  const { way, requests } = await failing(new Set(["runId", "batchId"]));
  const spool = newDir();
  for (let i = 0; i < 100; i++) spoolRun(spool, way, `few-${i}`);
  const said: string[] = [];
  const logger = recorder(way, spool, { retryForMs: 0, warn: (message) => said.push(message) });
  await eventually("it gives up", () => said.length > 0);
  await logger.close();
  assert.match(said.join("\n"), /answered 503 .*; 5 submissions in a row failed, so others were not tried; submissions of earlier runs stay in \S+$/);
  assert.ok(requests.length <= 6, `${requests.length} requests`);
  assert.equal(entries(spool).length, 100);
});

test("only regular files are opened, and what cannot be read is not deleted", async (t) => {
  const spool = newDir();
  const broken = { "other.json.tmp": '{"a":1}', "edited.json.tmp": '{"url":"x","operation":"none"}', "unread.json.tmp": '{"url":' };
  for (const [name, text] of Object.entries(broken)) writeFileSync(join(spool, name), text);
  execFileSync("mkfifo", ["pipe.json", "pipe.json.tmp"].map((name) => join(spool, name)));
  symlinkSync("pipe.json", join(spool, "link.json"));
  symlinkSync("/dev/zero", join(spool, "device.json"));
  mkdirSync(join(spool, "folder.json"));
  for (const name of ["pipe.json.tmp", ...Object.keys(broken)]) utimesSync(join(spool, name), 1, 1);
  const before = readdirSync(spool);
  const good = spoolRun(spool, url, "beside-pipes");
  const { readFile } = fs.promises; // A disk that fails.
  const mock = t.mock.method(fs.promises, "readFile", (path: string, ...more: []) =>
    path.includes("unread") ? Promise.reject(Object.assign(new Error("EIO: i/o error"), { code: "EIO" })) : readFile(path, ...more),
  );
  syncBuiltinESMExports();
  const said: string[] = [];
  try {
    const logger = recorder(url, spool, { warn: (message) => said.push(message) });
    await eventually("the run is sent", () => !entries(spool).includes(good));
    await logger.close();
  } finally {
    mock.mock.restore();
    syncBuiltinESMExports();
  }
  assert.deepEqual(readdirSync(spool), before);
  const [text = ""] = said;
  assert.match(text, /^8 files in \S+ are not submissions, or cannot be read: /);
  for (const name of ["pipe.json", "pipe.json.tmp", "link.json", "device.json", "folder.json"]) assert.ok(text.includes(`${name} (not a regular file)`), text);
  assert.ok(text.includes("unread.json.tmp (EIO: i/o error)") && text.includes("other.json.tmp (not a submission)"), text);
});

test("a large spool is read in parts", async (t) => {
  const spool = newDir();
  for (let i = 0; i < 64; i++) spoolRun(spool, "http://127.0.0.1:4", `large-${i}`, { telemetry: { promptSent: "x".repeat(2 << 20) } });
  const { readFile } = fs.promises;
  let read = 0;
  const mock = t.mock.method(fs.promises, "readFile", (...args: Parameters<typeof readFile>) => (read++, readFile(...args)));
  syncBuiltinESMExports();
  try {
    const said: string[] = [];
    const logger = recorder("http://127.0.0.1:4", spool, { retryForMs: 0, warn: (message) => said.push(message) });
    await eventually("it gives up", () => said.length > 0);
    await logger.close();
  } finally {
    mock.mock.restore();
    syncBuiltinESMExports();
  }
  assert.ok(read > 0 && read < 10, `${read} files are read for a server that is not there`);
  assert.equal(entries(spool).length, 64);
});

test("warnings do not control the terminal", async () => {
  const spool = newDir();
  writeFileSync(join(spool, "\x1b[31m\u009b\u202e.json"), "{}");
  const said: string[] = [];
  const logger = recorder(url, spool, { warn: (message) => said.push(message) });
  await eventually("there is a warning", () => said.length > 0);
  await logger.close();
  assert.match(said[0] ?? "", /: \\u001b\[31m\\u009b\\u202e\.json \(not a submission\)$/);
});

test("each warning of the server is printed once", async () => {
  const said: string[] = [];
  const warnings = ["body.totalscore is not a known field: do you mean totalScore?"];
  let bulk = 0;
  const way = await between(url, async (incoming, outgoing) => {
    let text = "";
    for await (const chunk of incoming) text += chunk;
    const lines = text.trim().split("\n").map((line) => JSON.parse(line));
    const isBulk = incoming.url?.endsWith("/bulk");
    if (isBulk) bulk++;
    const receipts = lines.map(({ runId, batchId }, i) => (isBulk ? { line: i + 1, runId, outcome: "recorded", warnings: ["of a run that was left"] } : { success: true, runId, batchId, warnings }));
    outgoing.writeHead(isBulk ? 200 : 201, { "Content-Type": isBulk ? "application/x-ndjson" : "application/json" });
    outgoing.end(receipts.map((receipt) => JSON.stringify(receipt)).join("\n"));
  });
  const spool = newDir();
  for (const runId of ["left-1", "left-2"]) spoolRun(spool, way, runId);
  const logger = recorder(way, spool, { warn: (message) => said.push(message) });
  await eventually("what was left is sent", () => entries(spool).length === 0 && said.length > 0);
  for (let i = 0; i < 2; i++) {
    logger.startRun("suite", "warned", "L1", "agent");
    assert.equal(await logger.completeRun(), "delivered");
    assert.equal(await logger.completeBatch(`warned-${i}`), "delivered");
  }
  await logger.close();
  assert.equal(bulk, 1);
  assert.deepEqual(said, ["the server warns: of a run that was left", `the server warns: ${warnings[0]}`]);
});

test("the recorder remembers the last 1,000 warnings of the server", async () => {
  const said: string[] = [];
  let warnings: string[] = [];
  const way = await between(url, async (incoming, outgoing) => {
    let text = "";
    for await (const chunk of incoming) text += chunk;
    outgoing.writeHead(201, { "Content-Type": "application/json" }).end(JSON.stringify({ success: true, batchId: JSON.parse(text).batchId, warnings }));
  });
  const logger = recorder(way, newDir(), { warn: (message) => said.push(message) });
  const all = Array.from({ length: 1001 }, (_, i) => `unknown field ${i}`);
  for (warnings of [all, ["unknown field 1000"], ["unknown field 0"]]) await logger.completeBatch("warnings");
  await logger.close();
  assert.deepEqual(said, [...all, "unknown field 0"].map((text) => `the server warns: ${text}`));
});
