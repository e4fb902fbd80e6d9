// The recorder that a harness uses, where there is no disk: in browsers, and wherever
// no module of Node's is to be had. In Node use ./node.js, which loses nothing.
import pRetry from "p-retry";

import {
  BenchLedger,
  BenchLedgerError,
  type BatchSubmission,
  type ClientOptions,
  type Problem,
  type Receipt,
  type RunSubmission,
} from "./client.js";

export * from "./client.js";

export interface RecorderOptions extends ClientOptions {
  /** How long the end of a run or batch is sent again where the server cannot take it,
   *  in milliseconds; 300,000 by default. */
  retryForMs?: number | undefined;
  /** Told what could not be delivered; console.warn by default. */
  warn?: ((message: string) => void) | undefined;
}

/** What became of the end of a run or batch: the server has stored it, or it waits on
 *  disk for the next recorder or `benchledger flush`. */
export type Delivery = "delivered" | "spooled";

export type ErrorType = "workspace" | "prompt" | "agent" | "evaluation" | "unknown";

/** What a batch came to. What it leaves out, the server computes from the runs. */
export type BatchSummary = Omit<BatchSubmission, "batchId" | "createdAt" | "completedAt">;

type Metadata = Record<string, unknown>;

/** A submission, and the server that it is for. */
export interface Entry {
  url: string;
  operation: "submit-run" | "submit-batch";
  spooledAt: string;
  body: RunSubmission | BatchSubmission;
  /** Why the server refused it. */
  status?: number;
  problem?: Problem;
}

/** Keeps submissions until they are delivered. */
export interface Spool {
  readonly where: string;
  /** Stores an entry and returns its name. */
  put(entry: Entry): string;
  remove(name: string): void;
  /** Puts an entry aside, with the reason, and returns where it is. */
  refuse(name: string, entry: Entry, why: BenchLedgerError): string;
  list(): { name: string; entry: Entry }[];
}

/** Says which run is meant where none is named. */
export interface Context {
  getStore(): string | undefined;
  enterWith(runId: string): void;
}

/** Records runs and batches, any number at once. */
export class BenchmarkLogger {
  static #instance: BenchmarkLogger | undefined;

  /** Returns the recorder that all of a program shares; the first call says its options. */
  static getInstance(options?: RecorderOptions): BenchmarkLogger {
    if (!BenchmarkLogger.#instance) {
      if (!options) throw new Error("Say where the server is: BenchmarkLogger.getInstance({ url, apiKey }).");
      BenchmarkLogger.#instance = new BenchmarkLogger(options);
    }
    return BenchmarkLogger.#instance;
  }

  readonly client: BenchLedger;
  readonly #retryForMs: number;
  readonly #warn: (message: string) => void;
  readonly #spool: Spool | undefined;
  readonly #context: Context | undefined;
  readonly #runs = new Map<string, RunLogger>();
  readonly #batches = new Map<string, { createdAt: string; announcement: AbortController }>();
  /** End what is under way in the background. */
  readonly #stops = new Set<AbortController>();
  readonly #pending = new Set<Promise<unknown>>();

  constructor(options: RecorderOptions, spool?: Spool, context?: Context) {
    this.client = new BenchLedger(options);
    this.#retryForMs = options.retryForMs ?? 300_000;
    this.#warn = options.warn ?? ((message) => console.warn(`benchledger: ${message}`));
    this.#spool = spool;
    this.#context = context;
    const left = spool?.list().filter(({ entry }) => entry.url === this.client.url) ?? [];
    if (left.length > 0) {
      this.#inBackground((signal) => this.#flush(left, signal), `what earlier runs left stays in ${spool?.where}`);
    }
  }

  /** Starts a run, now, and announces it as running in the background. Returns its ID. */
  startRun(suite: string, scenario: string, tier: string, agent: string, model?: string | null, batchId?: string | null): string {
    const run: RunSubmission = {
      runId: crypto.randomUUID(),
      suite,
      scenario,
      tier,
      agent,
      model: model ?? null,
      batchId: batchId ?? null,
      status: "running",
      startedAt: new Date().toISOString(),
    };
    const announcement = this.#announce("submit-run", run);
    this.#runs.set(
      run.runId,
      new RunLogger(run, (end) => {
        announcement.abort();
        this.#runs.delete(run.runId);
        return this.#deliver("submit-run", end);
      }),
    );
    this.#context?.enterWith(run.runId);
    return run.runId;
  }

  /** Returns the methods of one run: where several are open, and which one is meant
   *  does not follow from where a method is called. */
  forRun(runId: string): RunLogger {
    const run = this.#runs.get(runId);
    if (!run) throw new Error(`The run ${runId} is not open: startRun opens it, completeRun and failRun close it.`);
    return run;
  }

  /** The run that was started where this is called, else the only one that is open. */
  #current(): RunLogger {
    const run = this.#runs.get(this.#context?.getStore() ?? "");
    if (run) return run;
    const [only, ...others] = this.#runs.values();
    if (!only) throw new Error("No run is open: call startRun first.");
    if (others.length > 0) throw new Error(`${others.length + 1} runs are open: say which one is meant with forRun(runId).`);
    return only;
  }

  /** Adds the score of an evaluator to the run. */
  logEvaluation(evaluatorName: string, score: number, maxScore: number, details?: string | null): void {
    this.#current().logEvaluation(evaluatorName, score, maxScore, details);
  }

  /** Says what the run used. What is said last stands. */
  logTelemetry(...telemetry: Parameters<RunLogger["logTelemetry"]>): void {
    this.#current().logTelemetry(...telemetry);
  }

  /** Records the run as completed; returns when the server has stored it, or, on a
   *  machine with a disk, when it is to wait there. Throws BenchLedgerError where the
   *  server refuses the run. */
  async completeRun(...end: Parameters<RunLogger["completeRun"]>): Promise<Delivery> {
    return this.#current().completeRun(...end);
  }

  /** Records the run as failed; its metadata say why. Returns as completeRun does. */
  async failRun(error: string, errorType?: ErrorType): Promise<Delivery> {
    return this.#current().failRun(error, errorType);
  }

  /** Starts a batch, now, and announces it in the background. Returns its ID. */
  startBatch(): string {
    const batchId = crypto.randomUUID();
    const createdAt = new Date().toISOString();
    this.#batches.set(batchId, { createdAt, announcement: this.#announce("submit-batch", { batchId, createdAt }) });
    return batchId;
  }

  /** Records a batch as completed. Returns as completeRun does. */
  async completeBatch(batchId: string, summary: BatchSummary = {}): Promise<Delivery> {
    const batch = this.#batches.get(batchId);
    batch?.announcement.abort();
    this.#batches.delete(batchId);
    return this.#deliver("submit-batch", { ...summary, batchId, createdAt: batch?.createdAt ?? null, completedAt: new Date().toISOString() });
  }

  /** Ends announcements and what is sent of earlier runs; waits for the ends of runs
   *  that are under way. */
  async close(): Promise<void> {
    for (const stop of this.#stops) stop.abort();
    await Promise.allSettled(this.#pending);
    if (BenchmarkLogger.#instance === this) BenchmarkLogger.#instance = undefined;
  }

  /** Submits what has started, until it is stopped: the end says all of it again. */
  #announce(operation: Entry["operation"], body: Entry["body"]): AbortController {
    return this.#inBackground((signal) => this.#send(operation, body, signal), "not announced, the end is recorded all the same");
  }

  #inBackground(work: (signal: AbortSignal) => Promise<unknown>, failed: string): AbortController {
    const stop = new AbortController();
    this.#stops.add(stop);
    this.#track(
      work(stop.signal)
        .catch((error: Error) => {
          if (!stop.signal.aborted) this.#warn(`${failed}: ${error.message}`);
        })
        .finally(() => this.#stops.delete(stop)),
    );
    return stop;
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const done = () => this.#pending.delete(work);
    this.#pending.add(work);
    work.then(done, done);
    return work;
  }

  #deliver(operation: Entry["operation"], body: Entry["body"]): Promise<Delivery> {
    const entry: Entry = { url: this.client.url, operation, spooledAt: new Date().toISOString(), body };
    let name: string | undefined;
    try {
      name = this.#spool?.put(entry); // At once: the program may end before the answer is there.
    } catch (error) {
      this.#warn(`no spool: ${(error as Error).message}`);
    }
    return this.#track(this.#finish(entry, name));
  }

  async #finish(entry: Entry, name: string | undefined): Promise<Delivery> {
    try {
      await this.#send(entry.operation, entry.body);
    } catch (error) {
      if (name === undefined || !this.#spool) throw error;
      if (error instanceof BenchLedgerError && !error.retriable) {
        const kept = this.#spool.refuse(name, entry, error);
        throw new BenchLedgerError(error.status, error.problem, 0, `${error.message} (kept in ${kept})`);
      }
      this.#warn(`not delivered yet, it stays in ${this.#spool.where}: ${(error as Error).message}`);
      return "spooled";
    }
    if (name !== undefined) this.#spool?.remove(name);
    return "delivered";
  }

  /** Submits, again where the server cannot take it. With a signal it is in the
   *  background, and does not keep the program from ending. */
  #send(operation: Entry["operation"], body: Entry["body"], signal?: AbortSignal): Promise<unknown> {
    return this.#retry<unknown>(
      () => (operation === "submit-batch" ? this.client.submitBatch(body as BatchSubmission, signal) : this.client.submitRun(body as RunSubmission, signal)),
      signal,
    );
  }

  #retry<T>(request: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return pRetry(request, {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 300,
      maxTimeout: 10_000, // A server that was away is met soon after it is back.
      factor: 1.5,
      randomize: true,
      maxRetryTime: this.#retryForMs,
      unref: signal !== undefined,
      ...(signal ? { signal } : {}),
      shouldRetry: ({ error }) => !(error instanceof BenchLedgerError) || error.retriable,
      onFailedAttempt: async ({ error }) => {
        if (error instanceof BenchLedgerError && error.retriable && error.retryAfterMs > 0) await wait(error.retryAfterMs, signal);
      },
    });
  }

  /** Sends batches, so that they are created when they say, then runs, many in a request. */
  async #flush(left: ReturnType<Spool["list"]>, signal: AbortSignal): Promise<void> {
    const spool = this.#spool;
    if (!spool) return;
    for (const { name, entry } of left.filter(({ entry }) => entry.operation === "submit-batch")) {
      try {
        await this.#send(entry.operation, entry.body, signal);
        spool.remove(name);
      } catch (error) {
        // A key that is wrong is not the batch's fault.
        if (!(error instanceof BenchLedgerError) || error.retriable || error.status === 401 || error.status === 403) throw error;
        spool.refuse(name, entry, error);
      }
    }
    const runs = left.filter(({ entry }) => entry.operation === "submit-run");
    while (runs.length > 0) {
      const group = runs.splice(0, flushRuns(runs.map(({ entry }) => entry)));
      const receipts = await this.#retry(() => this.client.submitRuns(group.map(({ entry }) => entry.body as RunSubmission), {}, signal), signal);
      if (receipts.length !== group.length) throw new Error(`${receipts.length} receipts for ${group.length} runs`);
      group.forEach(({ name, entry }, i) => {
        const why = refusal(receipts[i] as Receipt);
        if (why) spool.refuse(name, entry, why);
        else spool.remove(name);
      });
    }
  }
}

/** Returns how many of the first runs one request takes: 500, and 4 MiB. */
function flushRuns(runs: Entry[]): number {
  let size = 0;
  const tooMany = runs.findIndex((run, i) => (size += JSON.stringify(run.body).length) > 4 << 20 || i === 500);
  return tooMany < 0 ? runs.length : Math.max(1, tooMany);
}

/** The error that a receipt stands for, undefined where the run is stored. */
function refusal({ outcome, errors }: Receipt): BenchLedgerError | undefined {
  if (outcome === "recorded" || outcome === "replayed") return undefined;
  const [status, title] = outcome === "conflict" ? [409, "Conflict"] : [422, "Unprocessable Entity"];
  const problem: Problem = { type: "about:blank", status, title, detail: "The run was not stored.", requestId: "", ...(errors ? { errors } : {}) };
  return new BenchLedgerError(status, problem);
}

function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer: { unref?: () => void } | number = setTimeout(resolve, ms);
    if (signal && typeof timer === "object") timer.unref?.();
    signal?.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Records one run. */
export class RunLogger {
  readonly #run: RunSubmission;
  readonly #end: (run: RunSubmission) => Promise<Delivery>;

  constructor(run: RunSubmission, end: (run: RunSubmission) => Promise<Delivery>) {
    this.#run = { ...run, evaluations: [] };
    this.#end = end;
  }

  get runId(): string {
    return this.#run.runId;
  }

  logEvaluation(evaluatorName: string, score: number, maxScore: number, details?: string | null): void {
    this.#run.evaluations?.push({ evaluatorName, score, maxScore, details: details ?? null });
  }

  logTelemetry(
    toolCalls?: number | null,
    tokensIn?: number | null,
    tokensOut?: number | null,
    costUsd?: number | null,
    durationMs?: number | null,
    workspaceDir?: string | null,
    promptSent?: string | null,
  ): void {
    this.#run.telemetry = {
      toolCalls: toolCalls ?? null,
      tokensIn: tokensIn ?? null,
      tokensOut: tokensOut ?? null,
      costUsd: costUsd ?? null,
      durationMs: durationMs == null ? null : Math.round(durationMs), // performance.now() has fractions.
      workspaceDir: workspaceDir ?? null,
      promptSent: promptSent ?? null,
    };
  }

  async completeRun(
    totalScore?: number | null,
    weightedScore?: number | null,
    metadata?: Metadata | null,
    isSuccessful?: boolean | null,
    successMetric?: number | null,
  ): Promise<Delivery> {
    return this.#end({
      ...this.#run,
      status: "completed",
      completedAt: new Date().toISOString(),
      totalScore: totalScore ?? null,
      weightedScore: weightedScore ?? null,
      metadata: metadata ?? null,
      isSuccessful: isSuccessful ?? null,
      successMetric: successMetric ?? null,
    });
  }

  async failRun(error: string, errorType: ErrorType = "unknown"): Promise<Delivery> {
    return this.#end({
      ...this.#run,
      status: "failed",
      completedAt: new Date().toISOString(),
      isSuccessful: false,
      metadata: { error, errorType },
    });
  }
}
