// The recorder for harnesses without a disk: in browsers, and wherever Node's modules are
// not available. In Node, use ./node.js, which loses nothing.
import {
  BenchLedger,
  BenchLedgerError,
  type BatchSubmission,
  type ClientOptions,
  type Problem,
  type Receipt,
  type RunSubmission,
  serverAddress,
  UnreachableError,
} from "./client.js";

export * from "./client.js";

export interface RecorderOptions extends ClientOptions {
  /** How long the recorder retries while the server does not respond, in milliseconds: 0 does
   *  not retry, 300,000 is the default. Afterwards it tries each submission once, until the
   *  server responds. */
  retryForMs?: number | undefined;
  /** Receives warnings about undelivered submissions; console.warn by default. */
  warn?: ((message: string) => void) | undefined;
}

/** What happened to the end of a run or batch: the server has stored it, or it is on disk
 *  until the next recorder or `benchledger flush` sends it. */
export type Delivery = "delivered" | "spooled";

/** The part of a run that failed. Statistics count "agent" and "unknown" as failed attempts of the
 *  agent. All others are errors of the infrastructure, which they leave out. */
export type ErrorType = "workspace" | "prompt" | "agent" | "evaluation" | "unknown";

/** The result of a batch. The server computes absent fields from the runs. */
export type BatchSummary = Omit<BatchSubmission, "batchId" | "createdAt" | "completedAt">;

export const consoleWarn = (message: string): void => console.warn(`benchledger: ${message}`);

/** Returns a text with an escape sequence of JSON for each control character, and for each character
 *  that changes the direction of text. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

type Metadata = Record<string, unknown>;

/** A submission, and the server that it is for. */
export interface Entry {
  url: string;
  operation: "submit-run" | "submit-batch";
  spooledAt: string;
  /** JSON in one line, with all digits of numbers. */
  body: string;
  /** Why the server refused the submission. */
  status?: number;
  problem?: Problem;
}

/** Keeps submissions until they are delivered. */
export interface Spool {
  readonly where: string;
  /** Stores an entry and returns its name. */
  put(entry: Entry): string;
  remove(name: string): void;
  /** Keeps an entry with the reason of its refusal, and returns where. */
  refuse(name: string, entry: Entry, why: BenchLedgerError): string;
  /** Returns the names of the files that may be entries. Opens none of them: there may be very
   *  many. Describes those that must not be opened, such as a pipe. */
  list(): { names: string[]; unreadable: string[] };
  /** Reads an entry without its body. Returns undefined if there is none, and throws if the file
   *  is not an entry, or cannot be read. */
  head(name: string): Promise<Head | undefined>;
  /** Reads an entry, like head. */
  read(name: string): Promise<Entry | undefined>;
}

/** An entry without its body, and its file. */
export interface Head extends Omit<Entry, "body"> {
  name: string;
  /** The size of the file in bytes. */
  size: number;
}

/** Tells which run the current code belongs to. */
export interface Context {
  getStore(): string | undefined;
  enterWith(runId: string): void;
}

/** Records runs and batches, any number concurrently. */
export class BenchmarkLogger {
  static #instance: BenchmarkLogger | undefined;

  /** Returns the recorder that the whole program shares; the first call sets its options. */
  static getInstance(options?: RecorderOptions): BenchmarkLogger {
    if (!BenchmarkLogger.#instance) {
      if (!options) throw new Error("The server address is missing: call BenchmarkLogger.getInstance({ url, apiKey }).");
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
  /** Stop the background work. */
  readonly #stops = new Set<AbortController>();
  readonly #pending = new Set<Promise<unknown>>();
  /** Until when failed submissions are retried; undefined if the server responds. */
  #retryUntil: number | undefined;
  /** When the last attempt of the outage failed; Infinity if there is none. */
  #failedAt = Infinity;
  /** Whether the server took longer than noticeMs to respond to the last end. Announcements do
   *  not count: they are smaller. */
  #isSlow = false;
  /** The warnings that are not repeated: while they are among the last 1,000, until the server
   *  responds, and until it accepts the key. */
  readonly #warned = new Set<string>();
  readonly #warnedOfOutage = new Set<string>();
  readonly #warnedOfSettings = new Set<string>();

  constructor(options: RecorderOptions, spool?: Spool, context?: Context) {
    this.client = new BenchLedger(options);
    this.#retryForMs = options.retryForMs ?? 300_000;
    if (!(this.#retryForMs >= 0)) throw new RangeError(`retryForMs is ${this.#retryForMs}: it must not be negative; 0 does not retry`);
    const { warn = consoleWarn } = options;
    this.#warn = (message) => warn(printable(message)); // Texts of the server or the spool must not control the terminal.
    this.#spool = spool;
    this.#context = context;
    const listed = this.#onDisk("read the submissions", (spool) => spool.list()); // Before this recorder stores any.
    if (!spool || !listed) return;
    if (listed.names.length + listed.unreadable.length === 0) return;
    this.#inBackground(
      (signal) => this.#sendEarlier(spool, listed, signal),
      (error) => this.#warn(`${error.message}; submissions of earlier runs stay in ${spool.where}`),
    );
  }

  /** Starts a run now, and announces it as running in the background. Returns its ID. */
  startRun(suite: string, scenario: string, tier: string, agent: string, model?: string | null, batchId?: string | null): string {
    const run: RunSubmission = {
      runId: newId(),
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

  /** Returns the logger of one run. Use it if several runs are open and the caller's context
   *  does not tell which one is meant. */
  forRun(runId: string): RunLogger {
    const run = this.#runs.get(runId);
    if (!run) throw new Error(`The run ${runId} is not open: startRun opens it, completeRun and failRun close it.`);
    return run;
  }

  /** Returns the run that was started in the caller's context, or else the only open run. */
  #current(): RunLogger {
    const started = this.#context?.getStore();
    const run = this.#runs.get(started ?? "");
    if (run) return run;
    if (started !== undefined) throw ended(started); // No other run is meant.
    const [only, ...others] = this.#runs.values();
    if (!only) throw new Error("No run is open: call startRun first.");
    if (others.length > 0) throw new Error(`${others.length + 1} runs are open: choose one with forRun(runId).`);
    return only;
  }

  /** Adds the score of an evaluator to the run; null or NaN if it could not score. */
  logEvaluation(evaluatorName: string, score: number | null, maxScore: number, details?: string | null): void {
    this.#current().logEvaluation(evaluatorName, score, maxScore, details);
  }

  /** Sets the telemetry of the run. The last call wins. */
  logTelemetry(...telemetry: Parameters<RunLogger["logTelemetry"]>): void {
    this.#current().logTelemetry(...telemetry);
  }

  /** Records the run as completed. Returns when the server has stored the run, or, with a
   *  spool, when the run stays there for later, for example because the API key is wrong.
   *  Throws BenchLedgerError if the server refuses the run. */
  async completeRun(...end: Parameters<RunLogger["completeRun"]>): Promise<Delivery> {
    return this.#current().completeRun(...end);
  }

  /** Records the run as failed. error, a text or what was caught, becomes the text
   *  `metadata.error`. Returns like completeRun. */
  async failRun(error: unknown, errorType?: ErrorType): Promise<Delivery> {
    return this.#current().failRun(error, errorType);
  }

  /** Starts a batch now, and announces it in the background. Returns its ID. */
  startBatch(): string {
    const batchId = newId();
    const createdAt = new Date().toISOString();
    this.#batches.set(batchId, { createdAt, announcement: this.#announce("submit-batch", { batchId, createdAt }) });
    return batchId;
  }

  /** Records a batch as completed. Returns like completeRun. */
  async completeBatch(batchId: string, summary: BatchSummary = {}): Promise<Delivery> {
    const batch = this.#batches.get(batchId); // Undefined if another process started it.
    batch?.announcement.abort();
    this.#batches.delete(batchId);
    return this.#deliver("submit-batch", { ...summary, batchId, createdAt: batch?.createdAt ?? null, completedAt: new Date().toISOString() });
  }

  /** Stops announcements and sending what earlier recorders left. Waits until the ends of
   *  runs are sent or spooled. */
  async close(): Promise<void> {
    for (const stop of this.#stops) stop.abort();
    await Promise.allSettled(this.#pending);
    if (BenchmarkLogger.#instance === this) BenchmarkLogger.#instance = undefined;
  }

  /** Submits a started run or batch until it is stopped. A failure does no harm: the end
   *  repeats everything. */
  #announce(operation: Entry["operation"], submission: Sent): AbortController {
    const { body } = this.#encode(submission);
    return this.#inBackground(
      (signal) => this.#send(operation, body, signal),
      (error) => {
        const warned = this.#warnedOf(error);
        if (warned.size > 0) return; // The end of another run has warned already.
        this.#warnOnce(`${error.message}; the start could not be announced, but the end will still be recorded`, "start", warned);
      },
    );
  }

  #inBackground(work: (signal: AbortSignal) => Promise<unknown>, failed: (error: Error) => void): AbortController {
    const stop = new AbortController();
    this.#stops.add(stop);
    this.#track(
      work(stop.signal)
        .catch((error: Error) => {
          if (!stop.signal.aborted) failed(error);
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

  #deliver(operation: Entry["operation"], submission: Sent): Promise<Delivery> {
    const { body, faults } = this.#encode(submission);
    const entry: Entry = { url: this.client.url, operation, spooledAt: new Date().toISOString(), body };
    // First: the program may end before the response arrives.
    const name = this.#onDisk("store a submission", (spool) => spool.put(entry));
    return this.#track(this.#finish(entry, name, faults));
  }

  async #finish(entry: Entry, name: string | undefined, faults: Fault[]): Promise<Delivery> {
    try {
      if (faults.length > 0) throw refused(422, "It was not sent: it has values that JSON cannot represent. They were left out.", faults);
      await this.#sendEnd(entry, name !== undefined);
    } catch (error) {
      if (name === undefined || !this.#spool) throw error;
      const { where } = this.#spool;
      if (isRefusal(error)) {
        const kept = this.#onDisk("move a refused submission", (spool) => spool.refuse(name, entry, error)) ?? where;
        throw new BenchLedgerError(error.status, error.problem, 0, `${error.message} (kept in ${kept})`);
      }
      const { message, status, retriable } = error as BenchLedgerError | UnreachableError;
      this.#warnOnce(
        `${message}; the ${noun(entry)} stays in ${where}, and so do later ones while this lasts. "benchledger flush" sends them.`,
        retriable ? "spooled" : `spooled ${status}`,
        this.#warnedOf(error),
      );
      return "spooled";
    }
    if (name !== undefined) this.#onDisk("delete a delivered submission", (spool) => spool.remove(name));
    return "delivered";
  }

  /** Sends the end of a run or batch. Warns if the first attempt fails, or within two
   *  seconds if there is no response; of a server that is always slow, once. */
  async #sendEnd(entry: Entry, isSpooled: boolean): Promise<void> {
    const retrying = (why: string, until: number) => {
      const where = isSpooled ? `safe in ${this.#spool?.where}` : "only in memory";
      const more = until > Date.now() ? `; trying again until ${timeOfDay(until)}` : "";
      const later = isSpooled ? `. "benchledger flush" sends it later.` : "";
      this.#warnOnce(`${why}; the ${noun(entry)} is ${where}${more}${later}`, "retrying", this.#warnedOfOutage);
    };
    const start = Date.now();
    const slow = setTimeout(() => {
      if (!this.#isSlow) retrying(`no response from ${this.client.url} (none within ${noticeMs / 1000} s)`, this.#retryUntil ?? start + this.#retryForMs);
    }, noticeMs);
    try {
      await this.#send(entry.operation, entry.body, undefined, (error, until) => retrying(error.message, until));
    } finally {
      clearTimeout(slow);
    }
  }

  /** Submits a body, and retries while the server is unavailable. With a signal it runs in the
   *  background and does not keep the program alive. */
  async #send(operation: Entry["operation"], body: string, signal?: AbortSignal, retrying?: Retrying): Promise<void> {
    const submit = operation === "submit-batch" ? this.client.submitBatch : this.client.submitRun;
    this.#note(await this.#retry<object>(() => submit(body, {}, signal), signal, retrying));
  }

  /** Calls attempt until it succeeds, the server refuses, the retry time is over, or the signal
   *  aborts. Throws the last error. The retry time begins with the first failure of any
   *  submission, and is over for all; after a response of BenchLedger, or as much time without
   *  an attempt, it begins anew. Between attempts, retry waits as long as the server asks, plus a
   *  random part, so that clients do not all return at once. Otherwise the wait grows to 10
   *  seconds at most. */
  async #retry<T>(attempt: () => Promise<T>, signal: AbortSignal | undefined, retrying?: Retrying): Promise<T> {
    const longest = 10_000;
    const start = Date.now();
    if (this.#retryForMs > 0 && start > this.#failedAt + this.#retryForMs) this.#outageIsOver(); // This one is another.
    for (let growing = 400; ; growing = Math.min(growing * 1.5, longest)) {
      const attempted = Date.now();
      try {
        const result = await attempt();
        if (!signal) this.#isSlow = Date.now() - attempted >= noticeMs;
        this.#outageIsOver();
        this.#warnedOfSettings.clear();
        return result;
      } catch (error) {
        if (error instanceof BenchLedgerError && !error.retriable) this.#outageIsOver();
        if (isRefusal(error)) this.#warnedOfSettings.clear();
        if (!(error instanceof BenchLedgerError || error instanceof UnreachableError) || !error.retriable) throw this.#withAdvice(error);
        this.#failedAt = Date.now();
        this.#retryUntil ??= attempted + this.#retryForMs;
        const until = Math.min(this.#retryUntil, start + this.#retryForMs);
        const asked = error.retryAfterMs;
        const pause = asked > 0 ? asked + (Math.random() * Math.min(asked, longest)) / 2 : (growing * (1 + Math.random())) / 2;
        if (Date.now() + pause > until) throw error;
        retrying?.(error, until);
        await wait(pause, signal);
        if (signal?.aborted) throw error;
      }
    }
  }

  #outageIsOver(): void {
    this.#retryUntil = undefined;
    this.#failedAt = Infinity;
    this.#warnedOfOutage.clear();
  }

  /** Returns the warnings of failures that end in the same way: with the outage, or when the
   *  user corrects the key or the address. */
  #warnedOf(error: unknown): Set<string> {
    return (error as { retriable?: boolean }).retriable ? this.#warnedOfOutage : this.#warnedOfSettings;
  }

  /** Adds to an error about the API key what to do. */
  #withAdvice(error: unknown): unknown {
    if (!(error instanceof BenchLedgerError) || !isAboutKey(error)) return error;
    const isLocal = /^(localhost|127\.[\d.]+|\[::1\])$/.test(new URL(this.client.url).hostname);
    const local = isLocal ? "; a local server (`benchledger serve`) accepts the key dev-local-key" : "";
    return new BenchLedgerError(error.status, error.problem, 0, `${error.message}; set BENCHLEDGER_API_KEY (or apiKey) to a key with the scope submit${local}`);
  }

  /** Sends what earlier recorders left in the spool. */
  async #sendEarlier(spool: Spool, { names, unreadable }: ReturnType<Spool["list"]>, signal: AbortSignal): Promise<void> {
    const left: Waiting[] = [];
    const elsewhere: string[] = [];
    for (const name of names) {
      if (signal.aborted) return;
      try {
        const head = await spool.head(name);
        if (!head) continue;
        if (serverAddress(head.url) === this.client.url) left.push(head);
        else elsewhere.push(head.url);
      } catch (error) {
        unreadable.push(`${name} (${(error as Error).message})`);
      }
    }
    if (elsewhere.length > 0) this.#warn(`${elsewhere.length} submissions in ${spool.where} are for ${[...new Set(elsewhere)].join(", ")}: see benchledger flush`);
    this.#warnOfUnreadable(spool, unreadable);
    left.sort((a, b) => Date.parse(a.spooledAt) - Date.parse(b.spooledAt));
    const flush: Flush = { spool, signal, done: 0, failed: new Set(), unreadable: [] };
    try {
      await this.#flush(left, flush);
    } finally {
      this.#warnOfUnreadable(spool, flush.unreadable);
    }
    if (flush.why) throw flush.why;
  }

  #warnOfUnreadable({ where }: Spool, files: string[]): void {
    if (files.length === 0) return;
    const more = files.length > 10 ? ", …" : "";
    this.#warn(`${files.length} files in ${where} are not submissions, or cannot be read: ${files.slice(0, 10).join(", ")}${more}`);
  }

  /** Sends first the batches, so that they keep their createdAt, then the runs, many per request.
   *  Goes round those that fail, and tries them again at the end, each alone. Throws the error that
   *  stopped it. */
  async #flush(left: Waiting[], flush: Flush): Promise<void> {
    if (this.#retryForMs > 0) { // First everything once: nothing waits until the retry time of something else is over.
      const once = await this.#round(left, false, flush);
      if (once.error !== undefined && !(once.error as { retriable?: boolean }).retriable) throw once.error;
      left = once.left;
    }
    const { error } = await this.#round(left, true, flush);
    if (error !== undefined) throw error;
  }

  /** Sends entries in groups, and then those of the groups that failed, each alone. Returns what is
   *  left, in order, and the error that stopped it. */
  async #round(entries: Waiting[], patient: boolean, flush: Flush): Promise<{ left: Waiting[]; error?: unknown }> {
    const left: Waiting[] = [];
    flush.failed.clear();
    delete flush.why;
    for (const entry of entries) entry.failed = false;
    for (let groups = grouped(entries); groups.length > 0; ) {
      const whole = await this.#pass(groups, new Set(), patient, flush);
      const tried = whole.failed.flat();
      if (whole.stopped && !whole.inARow) return { left: [...left, ...tried, ...whole.rest.flat()], error: whole.error };
      left.push(...tried.filter((one) => one.failed));
      const before = flush.done;
      const alone = await this.#pass(tried.filter((one) => !one.failed).map((one) => [one]), new Set(flush.failed), patient, flush);
      left.push(...alone.failed.flat());
      if (alone.stopped || (whole.stopped && flush.done === before)) { // Not one of them is stored.
        return { left: [...left, ...alone.rest.flat(), ...whole.rest.flat()], error: alone.error ?? whole.error };
      }
      groups = whole.rest;
    }
    return { left };
  }

  /** Sends groups in their order, and goes round those that fail. behind has the IDs of runs and
   *  batches with an entry that failed, and of batches whose runs have to wait: these entries are
   *  not sent, and are in failed. If patient, it retries each group for the retry time. */
  async #pass(groups: Waiting[][], behind: Set<string>, patient: boolean, flush: Flush): Promise<Passed> {
    const passed: Passed = { failed: [], rest: [], error: undefined, stopped: false, inARow: false };
    let failures = 0;
    for (const [i, group] of groups.entries()) {
      const { ready, late } = await this.#load(group, behind, flush);
      if (late.length > 0) passed.failed.push(late);
      if (ready.length === 0) continue;
      try {
        await this.#submit(ready, patient, flush);
        flush.done += ready.length;
        failures = 0;
        continue;
      } catch (error) {
        if (flush.signal.aborted) throw error;
        passed.error = error;
      }
      const tried = ready.map(({ head }) => head);
      if (isRefusal(passed.error)) { // One of them is at fault, for example too large.
        const inner = await this.#pass(tried.map((one) => [one]), behind, patient, flush);
        passed.failed.push(...inner.failed);
        if (inner.stopped) return { ...inner, failed: passed.failed, rest: [...inner.rest, ...groups.slice(i + 1)] };
        failures = 0;
        continue;
      }
      for (const { id } of ready) behind.add(id).add(`of ${id}`);
      const [only] = ready;
      if (only && ready.length === 1) {
        only.head.failed = true;
        flush.failed.add(only.id);
        if (!patient) flush.failed.add(`of ${only.id}`); // A batch keeps its createdAt if it is stored before its runs.
        flush.why ??= new Error(`${only.head.name} was not delivered: ${(passed.error as Error).message}`);
      }
      passed.failed.push(tried);
      passed.inARow = ++failures === flushFailures;
      passed.stopped = passed.inARow || isHopeless(passed.error);
      if (!passed.stopped) continue;
      passed.rest = groups.slice(i + 1);
      if (passed.inARow) {
        const { message, retriable } = passed.error as UnreachableError;
        passed.error = Object.assign(new Error(`${message}; ${flushFailures} submissions in a row failed, so others were not tried`), { retriable });
      }
      return passed;
    }
    return passed;
  }

  /** Reads the entries of a group. late are those that must wait for an earlier one. */
  async #load(group: Waiting[], behind: Set<string>, { spool, unreadable }: Flush): Promise<{ ready: Loaded[]; late: Waiting[] }> {
    const ready: Loaded[] = [];
    const late: Waiting[] = [];
    for (const head of group) {
      try {
        const entry = await spool.read(head.name);
        if (!entry) continue;
        const { runId, batchId } = JSON.parse(entry.body) as { runId?: unknown; batchId?: unknown };
        const id = entry.operation === "submit-batch" ? `batch ${batchId}` : `run ${runId}`;
        if (behind.has(id) || behind.has(`of batch ${batchId}`)) {
          behind.add(id);
          late.push(head);
        } else {
          ready.push({ head, entry, id });
        }
      } catch (error) {
        unreadable.push(`${head.name} (${(error as Error).message})`);
      }
    }
    return { ready, late };
  }

  /** Sends a group, and notes what happened to each of its entries. Throws the error of a group that
   *  was neither stored nor refused. */
  async #submit(group: Loaded[], patient: boolean, { signal }: Flush): Promise<void> {
    const once = async <T>(attempt: () => Promise<T>): Promise<T> => {
      try {
        return await attempt();
      } catch (error) {
        throw this.#withAdvice(error);
      }
    };
    const send = <T>(attempt: () => Promise<T>): Promise<T> => (patient ? this.#retry(attempt, signal) : once(attempt));
    const note = ({ head: { name }, entry }: Loaded, why?: BenchLedgerError) =>
      why
        ? this.#onDisk("move a refused submission", (spool) => spool.refuse(name, entry, why))
        : this.#onDisk("delete a delivered submission", (spool) => spool.remove(name));
    const [only] = group;
    if (only && group.length === 1) {
      const submit = only.entry.operation === "submit-batch" ? this.client.submitBatch : this.client.submitRun;
      const receipt = await send<object>(() => submit(only.entry.body, {}, signal)).catch(contentError);
      if (receipt instanceof BenchLedgerError) return void note(only, receipt);
      note(only);
      return this.#note(receipt);
    }
    const lines = group.map(({ entry }) => `${entry.body}\n`).join("");
    const receipts = await send(() => this.client.submitRuns(lines, {}, signal));
    group.forEach((one, i) => note(one, refusal(receipts[i] as Receipt)));
    receipts.forEach((receipt) => this.#note(receipt));
  }

  /** Warns of what the server accepted, but did not understand. */
  #note(receipt: object): void {
    const { warnings } = receipt as { warnings?: string[] };
    if (!Array.isArray(warnings)) return; // Most receipts have none.
    for (const warning of warnings) this.#warnOnce(`the server warns: ${warning}`);
  }

  #warnOnce(message: string, key = message, warned = this.#warned): void {
    if (warned.has(key)) return;
    warned.add(key);
    const [oldest] = warned;
    if (warned.size > 1000) warned.delete(oldest ?? ""); // Texts have names that users choose.
    this.#warn(message);
  }

  /** Works on the spool, if there is one. A failure is only a warning: what the spool is for is
   *  to lose nothing, not to stop the harness. */
  #onDisk<T>(task: string, work: (spool: Spool) => T): T | undefined {
    if (!this.#spool) return undefined;
    try {
      return work(this.#spool);
    } catch (error) {
      const { message, code } = error as Error & { code?: string };
      this.#warnOnce(`cannot ${task} in the spool ${this.#spool.where}: ${message}`, `${task} ${code ?? message}`);
      return undefined;
    }
  }

  /** Returns a submission as JSON, and the parts of it that JSON cannot represent. */
  #encode(submission: Sent): { body: string; faults: Fault[] } {
    const { body, faults, replaced } = encode(submission);
    const [first] = replaced;
    if (first !== undefined) {
      const id = "runId" in submission ? `run ${submission.runId}` : `batch ${submission.batchId}`;
      this.#warnOnce(`a text had a NUL or half a character (${id}, ${first}): replaced by U+FFFD`, "replaced");
    }
    return { body, faults };
  }
}

/** How long the delivery of an end may take before the user is warned, which has to happen within two
 *  seconds; in milliseconds. */
const noticeMs = 1500;

type Sent = RunSubmission | BatchSubmission;
type Fault = NonNullable<Problem["errors"]>[number];
/** Is called after a failed attempt, with the time until which there are others. */
type Retrying = (error: Error, until: number) => void;

function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer: ReturnType<typeof setTimeout> = setTimeout(done, Math.min(ms, 2 ** 31 - 1)); // More would be no wait at all.
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
    if (signal && typeof timer === "object") timer.unref(); // In browsers it is a number.
  });
}

/** An entry that waits in the spool. */
interface Waiting extends Head {
  /** Whether it was sent alone, and not delivered. */
  failed?: boolean;
}

/** An entry whose body was read. id names the run or the batch. */
interface Loaded {
  head: Waiting;
  entry: Entry;
  id: string;
}

/** The state while what is left in the spool is sent. */
interface Flush {
  spool: Spool;
  signal: AbortSignal;
  /** How many entries were stored or refused. */
  done: number;
  /** The IDs of entries that failed alone: later states of them must not be stored before. */
  failed: Set<string>;
  /** Files that are not entries, or cannot be read. */
  unreadable: string[];
  /** The error of the first entry that failed alone. */
  why?: Error;
}

/** The groups that failed, those that were not tried, and the last error. stopped: the server is
 *  unreachable, no other submission can succeed, or, with inARow, several have failed in a row. */
interface Passed {
  failed: Waiting[][];
  rest: Waiting[][];
  error: unknown;
  stopped: boolean;
  inARow: boolean;
}

/** How many submissions in a row fail before the spool is left for later. */
const flushFailures = 5;

/** Returns batches, each alone, and then groups of runs: at most 500, at most 4 MiB. */
function grouped(left: Waiting[]): Waiting[][] {
  const groups = left.filter(({ operation }) => operation === "submit-batch").map((batch) => [batch]);
  let group: Waiting[] = [];
  let size = 0;
  for (const run of left.filter(({ operation }) => operation === "submit-run")) {
    if (group.length === 0 || group.length === 500 || size + run.size > 4 << 20) {
      groups.push((group = []));
      size = 0;
    }
    group.push(run);
    size += run.size;
  }
  return groups;
}

/** Whether no other submission can succeed now: the server is unreachable, or the API key or the
 *  address is wrong. */
function isHopeless(error: unknown): boolean {
  if (error instanceof BenchLedgerError) return !error.retriable;
  const { status } = error as UnreachableError;
  if (status !== undefined) return status < 200 || (status >= 300 && status < 400); // A redirect.
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (unconnected.has((cause as { code?: string }).code ?? "")) return true;
  }
  return false;
}

/** The codes of errors before a connection exists. */
const unconnected = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);

/** Whether the server refuses the content of a submission: not its key, nor the address. */
function isRefusal(error: unknown): error is BenchLedgerError {
  return error instanceof BenchLedgerError && !error.retriable && ![401, 403, 404, 405].includes(error.status);
}

function isAboutKey({ status }: BenchLedgerError): boolean {
  return status === 401 || status === 403;
}

/** Returns an error that is about the submission; throws one about the API key or the state
 *  of the server. */
function contentError(error: unknown): BenchLedgerError {
  if (isRefusal(error)) return error;
  throw error;
}

const noun = ({ operation }: Entry): string => (operation === "submit-batch" ? "batch" : "run");

/** Returns a time like 14:05:59. */
function timeOfDay(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "the server responds" : date.toTimeString().slice(0, 8); // retryForMs may be Infinity.
}

/** Returns the error in a receipt, undefined if the run is stored. */
function refusal({ outcome, errors }: Receipt): BenchLedgerError | undefined {
  if (outcome === "recorded" || outcome === "replayed") return undefined;
  return refused(outcome === "conflict" ? 409 : 422, "The run was not stored.", errors);
}

function refused(status: 409 | 422, detail: string, errors?: Fault[]): BenchLedgerError {
  const title = status === 409 ? "Conflict" : "Unprocessable Entity";
  return new BenchLedgerError(status, { type: "about:blank", status, title, detail, requestId: "", ...(errors ? { errors } : {}) });
}

function ended(runId: string): Error {
  return new Error(`The run ${runId} has ended: call startRun first, or choose a run with forRun(runId).`);
}

/** Returns a new UUID. crypto.randomUUID is missing on pages served over plain HTTP. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Returns a submission as JSON. Values that JSON cannot represent (NaN, a BigInt, a cycle)
 *  are left out and reported as faults, so that the rest is not lost. In texts, what the server
 *  does not accept is replaced. */
function encode(submission: object): { body: string; faults: Fault[]; replaced: string[] } {
  const faults: Fault[] = [];
  const replaced: string[] = [];
  const body = JSON.stringify(encodable(submission, "body", [], faults)) ?? "{}";
  if (!/\\u(0000|d[89a-f])/.test(body)) return { body, faults, replaced };
  return { body: JSON.stringify(storable(JSON.parse(body), "body", replaced)), faults, replaced };
}

/** Returns a value with U+FFFD for each NUL and each half of a surrogate pair, as
 *  `"😀".slice(0, 1)` makes it, and adds to replaced where that was. */
function storable(value: unknown, location: string, replaced: string[]): unknown {
  const replace = (text: string) => text.replace(/[\0\p{Surrogate}]/gu, "\ufffd");
  if (typeof value === "string") {
    const text = replace(value);
    if (text !== value) replaced.push(location);
    return text;
  }
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item, i) => storable(item, `${location}[${i}]`, replaced));
  const members = new Map<string, unknown>();
  for (const [key, item] of Object.entries(value)) {
    let name = replace(key);
    const at = `${location}.${name}`;
    if (name !== key) replaced.push(at);
    while (members.has(name)) name += "\ufffd"; // Two keys may differ only in what is replaced.
    members.set(name, storable(item, at, replaced));
  }
  return Object.fromEntries(members);
}

/** Returns what was thrown as a text: an Error with its name and its causes, like
 *  `Error: no install (cause: TypeError: fetch failed)`. */
function errorText(error: unknown, depth = 0): string {
  if (error === undefined || error === null) return "no error was given";
  try {
    const text = String(error);
    const { cause } = error as Error;
    if (text === "[object Object]") return JSON.stringify(error);
    return typeof error !== "object" || cause === undefined || depth === 5 ? text : `${text} (cause: ${errorText(cause, depth + 1)})`;
  } catch {
    return `an error without a text (${typeof error})`;
  }
}

/** Returns a value without the parts that JSON cannot represent. inside holds the enclosing
 *  objects, to find cycles. */
function encodable(value: unknown, location: string, inside: object[], faults: Fault[]): unknown {
  try {
    // In metadata, the rules of JSON.stringify apply: NaN becomes null.
    JSON.stringify(value, location.startsWith("body.metadata") ? undefined : finite);
    return value;
  } catch (error) {
    if (typeof value !== "object" || value === null || "toJSON" in value || inside.includes(value)) {
      faults.push({ location, message: (error as Error).message.split("\n")[0] ?? "" });
      return undefined;
    }
    const part = (item: unknown, name: string) => encodable(item, location + name, [...inside, value], faults);
    if (Array.isArray(value)) return value.map((item, i) => part(item, `[${i}]`));
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, part(item, `.${key}`)]));
  }
}

function finite(_key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`JSON cannot represent ${value}`);
  return value;
}

/** Records one run. */
export class RunLogger {
  readonly #run: RunSubmission;
  readonly #send: (run: RunSubmission) => Promise<Delivery>;
  #ended = false;

  constructor(run: RunSubmission, end: (run: RunSubmission) => Promise<Delivery>) {
    this.#run = { ...run, evaluations: [] };
    this.#send = end;
  }

  get runId(): string {
    return this.#run.runId;
  }

  logEvaluation(evaluatorName: string, score: number | null, maxScore: number, details?: string | null): void {
    if (Number.isNaN(score)) score = null;
    this.#open().evaluations?.push({ evaluatorName, score, maxScore, details: details ?? null });
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
    this.#open().telemetry = {
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
      status: "completed",
      completedAt: new Date().toISOString(),
      totalScore: totalScore ?? null,
      weightedScore: weightedScore ?? null,
      metadata: metadata ?? null,
      isSuccessful: isSuccessful ?? null,
      successMetric: successMetric ?? null,
    });
  }

  async failRun(error: unknown, errorType: ErrorType = "unknown"): Promise<Delivery> {
    return this.#end({
      status: "failed",
      completedAt: new Date().toISOString(),
      isSuccessful: false,
      metadata: { error: errorText(error), errorType },
    });
  }

  #open(): RunSubmission {
    if (this.#ended) throw ended(this.runId);
    return this.#run;
  }

  #end(end: Partial<RunSubmission>): Promise<Delivery> {
    const run = { ...this.#open(), ...end };
    this.#ended = true;
    return this.#send(run);
  }
}
