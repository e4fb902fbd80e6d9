// The client for BenchLedger servers, for Node 20 and browsers. The types come from
// openapi.yaml (api.gen.ts): if an operation changes there, the type check fails here.
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
  /** The server address, like `https://benchledger.example`. */
  url: string;
  /** The API key. Submitting needs one. */
  apiKey?: string | undefined;
  /** Timeout for a response in milliseconds; 30,000 by default. */
  timeoutMs?: number | undefined;
  /** Replaces the global fetch. */
  fetch?: ((request: Request) => Promise<Response>) | undefined;
}

/** An error response of the server. */
export class BenchLedgerError extends Error {
  override readonly name = "BenchLedgerError";
  constructor(
    /** The HTTP status. */
    readonly status: number,
    /** The problem document; undefined if a proxy answered instead of the server. */
    readonly problem: Problem | undefined,
    /** How long the server asks to wait before a retry, in milliseconds; 0 if it does not ask. */
    readonly retryAfterMs = 0,
    message?: string,
  ) {
    super(message ?? (problem ? explain(problem) : `the server answered ${status}`));
  }

  /** Whether the same request may succeed later. Retrying a submission is always safe. */
  get retriable(): boolean {
    return this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

function explain(problem: Problem): string {
  const faults = (problem.errors ?? []).map((fault) => ` ${fault.location}: ${fault.message}.`);
  return `${problem.status} ${problem.title}: ${problem.detail}${faults.join("")} (request ${problem.requestId})`;
}

/** No response, or an incomplete one. The server may still have processed the request. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
  constructor(url: string, cause: unknown) {
    const why = [cause, (cause as Error | undefined)?.cause].flatMap((error) => (error instanceof Error && error.message ? [error.message] : []));
    super(`no response from ${url}: ${why.join(": ") || String(cause)}`, { cause });
  }
}

/** A client with one method per operation, of the same name. Every method throws
 *  BenchLedgerError or UnreachableError, and can be aborted with `signal`. */
export class BenchLedger {
  readonly url: string;
  readonly #api: Client<paths>;

  constructor(options: ClientOptions) {
    if (!/^https?:\/\/[^/]/.test(options.url) || !URL.canParse(options.url)) {
      throw new TypeError(`"${options.url}" is not a server address: write it like https://benchledger.example`);
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

  /** Submits a run; a string is sent as its JSON. */
  submitRun = (body: RunSubmission | string, signal?: AbortSignal): Promise<RunReceipt> =>
    this.#data(this.#api.POST("/api/results", { body: body as RunSubmission, ...withSignal(signal) }));

  /** Submits a batch; a string is sent as its JSON. */
  submitBatch = (body: BatchSubmission | string, signal?: AbortSignal): Promise<BatchReceipt> =>
    this.#data(this.#api.POST("/api/results/batch", { body: body as BatchSubmission, ...withSignal(signal) }));

  /** Submits up to 10,000 runs, and returns one receipt per run. In a string, each line is
   *  the JSON of a run. */
  submitRuns = async (body: RunSubmission[] | string, query: Query<"submit-runs"> = {}, signal?: AbortSignal): Promise<Receipt[]> => {
    const headers = typeof body === "string" ? { "Content-Type": "application/x-ndjson" } : {};
    const runs = typeof body === "string" ? body.split("\n").filter((line) => line.trim()) : body;
    const answer = this.#api.POST("/api/results/bulk", { body: body as RunSubmission[], params: { query }, parseAs: "text", headers, ...withSignal(signal) });
    return this.#data(
      answer.then(({ data }) => {
        const receipts = String(data).split("\n").filter(Boolean).map((line): Receipt => JSON.parse(line));
        if (receipts.length !== runs.length || !receipts.every(({ outcome }) => outcome)) {
          throw new Error(`a response without a receipt for each of ${runs.length} runs${isProxy}`);
        }
        return { data: receipts };
      }),
    );
  };

  /** Returns a page of runs, newest first. eachRun returns all runs. */
  listRuns = (query: Query<"list-runs"> = {}, signal?: AbortSignal): Promise<Run[]> =>
    this.#data(this.#api.GET("/api/runs", { params: { query }, ...withSignal(signal) }));

  getRun = (runId: string, signal?: AbortSignal): Promise<RunDetails> =>
    this.#data(this.#api.GET("/api/runs/{runId}", { params: { path: { runId } }, ...withSignal(signal) }));

  getRunEvaluations = (runId: string, signal?: AbortSignal): Promise<Evaluation[]> =>
    this.#data(this.#api.GET("/api/runs/{runId}/evaluations", { params: { path: { runId } }, ...withSignal(signal) }));

  /** Returns null if the run has no telemetry. */
  getRunTelemetry = (runId: string, signal?: AbortSignal): Promise<Telemetry> =>
    this.#data(this.#api.GET("/api/runs/{runId}/telemetry", { params: { path: { runId } }, ...withSignal(signal) }));

  /** Returns a page of batches, newest first. eachBatch returns all batches. */
  listBatches = (query: Query<"list-batches"> = {}, signal?: AbortSignal): Promise<Batch[]> =>
    this.#data(this.#api.GET("/api/batches", { params: { query }, ...withSignal(signal) }));

  getBatch = (batchId: string, signal?: AbortSignal): Promise<BatchDetails> =>
    this.#data(this.#api.GET("/api/batches/{batchId}", { params: { path: { batchId } }, ...withSignal(signal) }));

  getStats = (signal?: AbortSignal): Promise<Answer<"get-stats">> => this.#data(this.#api.GET("/api/stats", withSignal(signal)));

  listAgentStats = (signal?: AbortSignal): Promise<Answer<"list-agent-stats">> =>
    this.#data(this.#api.GET("/api/stats/agents", withSignal(signal)));

  getHealth = (signal?: AbortSignal): Promise<Answer<"get-health">> => this.#data(this.#api.GET("/health", withSignal(signal)));

  getLiveness = (signal?: AbortSignal): Promise<Answer<"get-liveness">> => this.#data(this.#api.GET("/livez", withSignal(signal)));

  getReadiness = (signal?: AbortSignal): Promise<Answer<"get-readiness">> => this.#data(this.#api.GET("/readyz", withSignal(signal)));

  /** Returns all runs that match the query, page by page. */
  eachRun = (query: Query<"list-runs"> = {}, signal?: AbortSignal): AsyncGenerator<Run, void> =>
    this.#pages<Run>(query, (query) => this.#api.GET("/api/runs", { params: { query }, ...withSignal(signal) }));

  /** Returns all batches, page by page. */
  eachBatch = (query: Query<"list-batches"> = {}, signal?: AbortSignal): AsyncGenerator<Batch, void> =>
    this.#pages<Batch>(query, (query) => this.#api.GET("/api/batches", { params: { query }, ...withSignal(signal) }));

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
      if (data === undefined) throw new Error(`an empty response${isProxy}`);
      return data;
    } catch (error) {
      if (error instanceof BenchLedgerError || (error as Error).name === "AbortError") throw error;
      throw new UnreachableError(this.url, error);
    }
  }
}

/** Sends a request and reads the response within a timeout. (AbortSignal.any loses its
 *  timeouts in Node 20: https://github.com/nodejs/node/issues/54614.) */
async function within(timeoutMs: number, request: Request, send: (request: Request) => Promise<Response>): Promise<Response> {
  const stop = new AbortController();
  const abort = () => stop.abort(request.signal.reason);
  request.signal.addEventListener("abort", abort);
  if (request.signal.aborted) abort();
  const timer = setTimeout(() => stop.abort(new Error(`no response within ${timeoutMs} ms`)), timeoutMs);
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

const withSignal = (signal: AbortSignal | undefined) => (signal ? { signal } : {});

const isProxy = ": is a proxy in front of the server?";

/** Throws a BenchLedgerError for an error response, and another error for a response that
 *  does not come from a BenchLedger server, like the page of a proxy. */
async function check({ method }: Request, response: Response): Promise<void> {
  const { status, headers } = response;
  const contentType = headers.get("Content-Type") ?? "";
  if (status === 200 || (status === 201 && method === "POST")) {
    if (contentType.includes("json")) return;
    throw new Error(`a response of type "${contentType}" instead of JSON${isProxy}`);
  }
  if (status < 400) throw new Error(`a response with status ${status}${isProxy}`);
  const text = await response.text();
  let problem: Problem | undefined;
  if (contentType.startsWith("application/problem+json")) problem = JSON.parse(text);
  throw new BenchLedgerError(status, problem, retryAfter(headers.get("Retry-After")));
}

/** Parses a Retry-After header, seconds or a date, and returns milliseconds. */
function retryAfter(header: string | null): number {
  if (!header) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Math.max(0, ms || 0);
}
