// The client of a BenchLedger server, in Node 20 and in browsers. The types come from
// openapi.yaml (api.gen.ts); an operation that changes there breaks the type check here.
import createClient, { type Client } from "openapi-fetch";

import type { components, operations, paths } from "./api.gen.js";

export type { components, operations, paths } from "./api.gen.js";

type Schemas = components["schemas"];
export type Run = Schemas["Run"];
export type RunDetails = Schemas["RunDetails"];
export type RunSubmission = Schemas["RunSubmission"];
export type RunReceipt = Schemas["RunReceipt"];
export type Evaluation = Schemas["Evaluation"];
export type EvaluationSubmission = Schemas["EvaluationSubmission"];
export type Telemetry = Schemas["Telemetry"];
export type TelemetrySubmission = NonNullable<Schemas["TelemetrySubmission"]>;
export type Batch = Schemas["Batch"];
export type BatchDetails = Schemas["BatchDetails"];
export type BatchSubmission = Schemas["BatchSubmission"];
export type BatchReceipt = Schemas["BatchReceipt"];
export type Receipt = Schemas["Receipt"];
export type Problem = Schemas["Problem"];

type Query<Operation extends keyof operations> = NonNullable<operations[Operation]["parameters"]["query"]>;
type Answer<Operation extends keyof operations> = operations[Operation]["responses"] extends {
  200: { content: { "application/json": infer Body } };
}
  ? Body
  : never;

export interface ClientOptions {
  /** Where the server is, like `https://benchledger.example`. */
  url: string;
  /** Sent where it is not empty. Writes need one. */
  apiKey?: string | undefined;
  /** How long to wait for an answer, in milliseconds; 30,000 by default. */
  timeoutMs?: number | undefined;
  /** Instead of the global one. */
  fetch?: ((request: Request) => Promise<Response>) | undefined;
}

/** An answer other than a good one. */
export class BenchLedgerError extends Error {
  override readonly name = "BenchLedgerError";
  constructor(
    /** The HTTP status. */
    readonly status: number,
    /** What the server says; undefined where something on the way answered. */
    readonly problem: Problem | undefined,
    /** How long the server asks to wait, in milliseconds; 0 where it does not. */
    readonly retryAfterMs = 0,
    message?: string,
  ) {
    super(message ?? (problem ? explain(problem) : `the server answers ${status}`));
  }

  /** Whether the same request may succeed later: submissions may be repeated safely. */
  get retriable(): boolean {
    return this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

function explain(problem: Problem): string {
  const faults = (problem.errors ?? []).map((fault) => ` ${fault.location}: ${fault.message}.`);
  return `${problem.status} ${problem.title}: ${problem.detail}${faults.join("")} (request ${problem.requestId})`;
}

/** No answer, or only a part of one. The server may have done what it was asked to. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
  constructor(url: string, cause: unknown) {
    const why = [cause, (cause as Error | undefined)?.cause].flatMap((error) => (error instanceof Error && error.message ? [error.message] : []));
    super(`no answer from ${url}: ${why.join(": ") || String(cause)}`, { cause });
  }
}

/** A client has a method for each operation, named as it. All of them throw
 *  BenchLedgerError and UnreachableError; all end early with `signal`. */
export class BenchLedger {
  readonly url: string;
  readonly #api: Client<paths>;

  constructor(options: ClientOptions) {
    if (!/^https?:\/\/[^/]/.test(options.url) || !URL.canParse(options.url)) {
      throw new TypeError(`"${options.url}" is no address of a server: write it like https://benchledger.example`);
    }
    this.url = options.url.replace(/\/+$/, "");
    const send = options.fetch ?? ((request: Request) => fetch(request));
    const timeoutMs = options.timeoutMs ?? 30_000;
    this.#api = createClient<paths>({
      baseUrl: this.url,
      headers: options.apiKey ? { Authorization: `Bearer ${options.apiKey}` } : {},
      fetch: (request) => within(timeoutMs, request, send),
      bodySerializer: (body: unknown) => (typeof body === "string" ? body : JSON.stringify(body)),
    });
    this.#api.use({ onResponse: ({ request, response }) => check(request, response) });
  }

  /** Submits a run; a string is its JSON. */
  submitRun = (body: RunSubmission | string, signal?: AbortSignal): Promise<RunReceipt> =>
    this.#data(this.#api.POST("/api/results", { body: body as RunSubmission, ...given(signal) }));

  /** Submits a batch; a string is its JSON. */
  submitBatch = (body: BatchSubmission | string, signal?: AbortSignal): Promise<BatchReceipt> =>
    this.#data(this.#api.POST("/api/results/batch", { body: body as BatchSubmission, ...given(signal) }));

  /** Submits up to 10,000 runs, and returns a receipt for each; of a string, each line is
   *  the JSON of a run. */
  submitRuns = async (body: RunSubmission[] | string, query: Query<"submit-runs"> = {}, signal?: AbortSignal): Promise<Receipt[]> => {
    const headers = typeof body === "string" ? { "Content-Type": "application/x-ndjson" } : {};
    const runs = typeof body === "string" ? body.split("\n").filter((line) => line.trim()) : body;
    const answer = this.#api.POST("/api/results/bulk", { body: body as RunSubmission[], params: { query }, parseAs: "text", headers, ...given(signal) });
    return this.#data(
      answer.then(({ data }) => {
        const receipts = String(data).split("\n").filter(Boolean).map((line): Receipt => JSON.parse(line));
        if (receipts.length !== runs.length || !receipts.every(({ outcome }) => outcome)) {
          throw new Error(`an answer without a receipt for each of ${runs.length} runs${between}`);
        }
        return { data: receipts };
      }),
    );
  };

  /** Returns a page of runs, newest first. eachRun returns all of them. */
  listRuns = (query: Query<"list-runs"> = {}, signal?: AbortSignal): Promise<Run[]> =>
    this.#data(this.#api.GET("/api/runs", { params: { query }, ...given(signal) }));

  getRun = (runId: string, signal?: AbortSignal): Promise<RunDetails> =>
    this.#data(this.#api.GET("/api/runs/{runId}", { params: { path: { runId } }, ...given(signal) }));

  getRunEvaluations = (runId: string, signal?: AbortSignal): Promise<Evaluation[]> =>
    this.#data(this.#api.GET("/api/runs/{runId}/evaluations", { params: { path: { runId } }, ...given(signal) }));

  /** Returns null where the run has none. */
  getRunTelemetry = (runId: string, signal?: AbortSignal): Promise<Telemetry> =>
    this.#data(this.#api.GET("/api/runs/{runId}/telemetry", { params: { path: { runId } }, ...given(signal) }));

  /** Returns a page of batches, newest first. eachBatch returns all of them. */
  listBatches = (query: Query<"list-batches"> = {}, signal?: AbortSignal): Promise<Batch[]> =>
    this.#data(this.#api.GET("/api/batches", { params: { query }, ...given(signal) }));

  getBatch = (batchId: string, signal?: AbortSignal): Promise<BatchDetails> =>
    this.#data(this.#api.GET("/api/batches/{batchId}", { params: { path: { batchId } }, ...given(signal) }));

  getStats = (signal?: AbortSignal): Promise<Answer<"get-stats">> => this.#data(this.#api.GET("/api/stats", given(signal)));

  listAgentStats = (signal?: AbortSignal): Promise<Answer<"list-agent-stats">> =>
    this.#data(this.#api.GET("/api/stats/agents", given(signal)));

  getHealth = (signal?: AbortSignal): Promise<Answer<"get-health">> => this.#data(this.#api.GET("/health", given(signal)));

  getLiveness = (signal?: AbortSignal): Promise<Answer<"get-liveness">> => this.#data(this.#api.GET("/livez", given(signal)));

  getReadiness = (signal?: AbortSignal): Promise<Answer<"get-readiness">> => this.#data(this.#api.GET("/readyz", given(signal)));

  /** Returns all runs that the query asks for, page by page. */
  eachRun = (query: Query<"list-runs"> = {}, signal?: AbortSignal): AsyncGenerator<Run, void> =>
    this.#pages<Run>(query, (query) => this.#api.GET("/api/runs", { params: { query }, ...given(signal) }));

  /** Returns all batches, page by page. */
  eachBatch = (query: Query<"list-batches"> = {}, signal?: AbortSignal): AsyncGenerator<Batch, void> =>
    this.#pages<Batch>(query, (query) => this.#api.GET("/api/batches", { params: { query }, ...given(signal) }));

  async *#pages<Item>(
    query: { cursor?: string },
    get: (query: { cursor?: string }) => Promise<{ data?: Item[]; response: Response }>,
  ): AsyncGenerator<Item, void> {
    for (;;) {
      const page = get(query);
      yield* await this.#data(page);
      const next = /<([^>]*)>; *rel="next"/.exec((await page).response.headers.get("Link") ?? "")?.[1];
      const cursor = next && new URL(next, this.url).searchParams.get("cursor");
      if (!cursor) return;
      query = { ...query, cursor };
    }
  }

  async #data<Body>(answer: Promise<{ data?: Body }>): Promise<Body> {
    try {
      const { data } = await answer;
      if (data === undefined) throw new Error(`an empty answer${between}`);
      return data;
    } catch (error) {
      if (error instanceof BenchLedgerError || (error as Error).name === "AbortError") throw error;
      throw new UnreachableError(this.url, error);
    }
  }
}

/** Sends a request and reads its answer, all within a time. (AbortSignal.any forgets
 *  its timeouts in Node 20: https://github.com/nodejs/node/issues/54614.) */
async function within(timeoutMs: number, request: Request, send: (request: Request) => Promise<Response>): Promise<Response> {
  const stop = new AbortController();
  const abort = () => stop.abort(request.signal.reason);
  request.signal.addEventListener("abort", abort);
  if (request.signal.aborted) abort();
  const timer = setTimeout(() => stop.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await new Promise<Response>((resolve, reject) => {
      stop.signal.addEventListener("abort", () => reject(stop.signal.reason));
      send(new Request(request, { signal: stop.signal }))
        .then(async (response) => resolve(new Response(await response.arrayBuffer(), response)))
        .catch(reject);
    });
  } finally {
    clearTimeout(timer);
    request.signal.removeEventListener("abort", abort);
  }
}

const given = (signal: AbortSignal | undefined) => (signal ? { signal } : {});

const between = ": is there something before the server?";

/** Throws a BenchLedgerError where the server says no, and another error for what is no
 *  answer of a BenchLedger server, like the page of a proxy. */
async function check({ method }: Request, response: Response): Promise<void> {
  const { status, headers } = response;
  const contentType = headers.get("Content-Type") ?? "";
  if (status === 200 || (status === 201 && method === "POST")) {
    if (contentType.includes("json")) return;
    throw new Error(`an answer of type "${contentType}" instead of JSON${between}`);
  }
  if (status < 400) throw new Error(`an answer with status ${status}${between}`);
  const text = await response.text();
  let problem: Problem | undefined;
  if (contentType.startsWith("application/problem+json")) problem = JSON.parse(text);
  throw new BenchLedgerError(status, problem, retryAfter(headers.get("Retry-After")));
}

/** Reads the header of that name, seconds or a date, as milliseconds. */
function retryAfter(header: string | null): number {
  if (!header) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Math.max(0, ms || 0);
}
