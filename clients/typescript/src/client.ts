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
export type Correction = Schemas["Correction"];
export type VoidRequest = Schemas["VoidRequest"];
export type RestoreRequest = Schemas["RestoreRequest"];
export type Baseline = Schemas["Baseline"];
export type BaselineRequest = Schemas["BaselineRequest"];
export type Receipt = Schemas["Receipt"];
export type Problem = Schemas["Problem"];

type Query<Operation extends keyof operations> = NonNullable<operations[Operation]["parameters"]["query"]>;
type Answer<Operation extends keyof operations> = operations[Operation]["responses"] extends {
  200: { content: { "application/json": infer Body } };
}
  ? Body
  : never;

export interface ClientOptions {
  /** The server address, like `https://benchledger.example`; a trailing `/api` is ignored. */
  url: string;
  /** The API key. Submitting needs one. */
  apiKey?: string | undefined;
  /** Timeout for a response in milliseconds, from 1 to 2,147,483,647; 30,000 by default. */
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
    readonly problem: Problem,
    /** How long the server asks to wait before a retry, in milliseconds; 0 if it does not ask. */
    readonly retryAfterMs = 0,
    message?: string,
  ) {
    super(message ?? explain(problem));
  }

  /** Whether the same request may succeed later. Retrying a submission is always safe. */
  get retriable(): boolean {
    return isTemporary(this.status);
  }
}

/** No response of a BenchLedger server: none, an incomplete one, or one of something else,
 *  like a proxy. The server may still have processed the request. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
  constructor(
    message: string,
    options: ErrorOptions = {},
    /** The HTTP status, if something other than BenchLedger responded; 0 if a browser hides it. */
    readonly status: number | undefined = undefined,
    /** How long the response asks to wait before a retry, in milliseconds; 0 if it does not ask. */
    readonly retryAfterMs = 0,
  ) {
    super(message, options);
  }

  /** Whether the same request may succeed later without a change to the address or the proxy. */
  get retriable(): boolean {
    return this.status === undefined || isTemporary(this.status);
  }
}

function isTemporary(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

function explain(problem: Problem): string {
  const faults = (problem.errors ?? []).map((fault) => ` ${fault.location}: ${fault.message}.`);
  return `${problem.status} ${problem.title}: ${problem.detail}${faults.join("")} (request ${problem.requestId})`;
}

function noResponse(url: string, cause: unknown): UnreachableError {
  const why = [cause, (cause as Error | undefined)?.cause].flatMap((error) => (error instanceof Error && error.message ? [error.message] : []));
  return new UnreachableError(`no response from ${url} (${why.join(": ") || String(cause)})`, { cause });
}

function foreignResponse(url: string, answer: string, status: number, retryAfterMs = 0): UnreachableError {
  const message = `${url} answered ${answer}, which is not a response of BenchLedger: is the address right, or is a proxy in front of the server?`;
  return new UnreachableError(message, {}, status, retryAfterMs);
}

/** Returns a server address in the form that requests begin with: without trailing slashes,
 *  and without a trailing `/api`, which the path of each operation has. */
export function serverAddress(url: string): string {
  return url.replace(/\/+$/, "").replace(/(?<=[^/:])\/+api$/, "").replace(/\/+$/, "");
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
    this.url = serverAddress(options.url);
    const send = options.fetch ?? ((request: Request) => fetch(request));
    const timeoutMs = options.timeoutMs ?? 30_000;
    // setTimeout fires at once for more, and for what is not a number.
    if (!(timeoutMs >= 1 && timeoutMs < 2 ** 31)) throw new RangeError(`timeoutMs is ${timeoutMs}: it must be from 1 to 2,147,483,647 milliseconds`);
    this.#api = createClient<paths>({
      baseUrl: this.url,
      headers: options.apiKey ? { Authorization: `Bearer ${options.apiKey}` } : {},
      redirect: "manual", // Otherwise a POST becomes a GET.
      fetch: async (request) => {
        const [response, body] = await within(timeoutMs, request, send);
        check(this.url, request.method, response, body);
        return new Response(body, response);
      },
      bodySerializer: (body: unknown) => (typeof body === "string" ? body : JSON.stringify(body)),
    });
  }

  /** Submits a run; a string is sent as its JSON. */
  submitRun = (body: RunSubmission | string, query: Query<"submit-run"> = {}, signal?: AbortSignal): Promise<RunReceipt> =>
    this.#receipt(body, "runId", this.#api.POST("/api/results", { body: body as RunSubmission, params: { query }, ...withSignal(signal) }));

  /** Submits a batch; a string is sent as its JSON. */
  submitBatch = (body: BatchSubmission | string, query: Query<"submit-batch"> = {}, signal?: AbortSignal): Promise<BatchReceipt> =>
    this.#receipt(body, "batchId", this.#api.POST("/api/results/batch", { body: body as BatchSubmission, params: { query }, ...withSignal(signal) }));

  /** Submits up to 10,000 runs, and returns one receipt per run. In a string, each line is
   *  the JSON of a run. */
  submitRuns = async (body: RunSubmission[] | string, query: Query<"submit-runs"> = {}, signal?: AbortSignal): Promise<Receipt[]> => {
    const headers = typeof body === "string" ? { "Content-Type": "application/x-ndjson" } : {};
    const runs = typeof body === "string" ? body.split("\n").filter((line) => line.trim()) : body;
    const answer = this.#api.POST("/api/results/bulk", { body: body as RunSubmission[], params: { query }, parseAs: "text", headers, ...withSignal(signal) });
    return this.#data(
      answer.then(({ data, response }) => {
        const receipts = String(data).split("\n").filter(Boolean).map((line): Receipt => JSON.parse(line));
        const isReceipt = (run: RunSubmission | string, receipt: Receipt | undefined) =>
          receipt?.outcome && (!isStored(receipt) || receipt.runId === decoded(run).runId);
        if (receipts.length !== runs.length || !runs.every((run, i) => isReceipt(run, receipts[i]))) {
          throw foreignResponse(this.url, `${response.status} without a receipt for each of ${runs.length} runs`, response.status);
        }
        return { data: receipts, response };
      }),
    );
  };

  /** Returns a page of runs, newest first unless `sort` says otherwise. eachRun returns all runs. */
  listRuns = (query: Query<"list-runs"> = {}, signal?: AbortSignal): Promise<Run[]> =>
    this.#data(this.#api.GET("/api/runs", { params: { query }, ...withSignal(signal) }));

  getRun = (runId: string, signal?: AbortSignal): Promise<RunDetails> =>
    this.#data(this.#api.GET("/api/runs/{runId}", { params: { path: { runId } }, ...withSignal(signal) }));

  getRunEvaluations = (runId: string, signal?: AbortSignal): Promise<Evaluation[]> =>
    this.#data(this.#api.GET("/api/runs/{runId}/evaluations", { params: { path: { runId } }, ...withSignal(signal) }));

  /** Returns null if the run has no telemetry. promptSent is absent without `include: "prompt"`. */
  getRunTelemetry = (runId: string, query: Query<"get-run-telemetry"> = {}, signal?: AbortSignal): Promise<Telemetry> =>
    this.#data(this.#api.GET("/api/runs/{runId}/telemetry", { params: { path: { runId }, query }, ...withSignal(signal) }));

  /** Returns a page of batches, newest first. eachBatch returns all batches. */
  listBatches = (query: Query<"list-batches"> = {}, signal?: AbortSignal): Promise<Batch[]> =>
    this.#data(this.#api.GET("/api/batches", { params: { query }, ...withSignal(signal) }));

  getBatch = (batchId: string, query: Query<"get-batch"> = {}, signal?: AbortSignal): Promise<BatchDetails> =>
    this.#data(this.#api.GET("/api/batches/{batchId}", { params: { path: { batchId }, query }, ...withSignal(signal) }));

  /** Voids a run: it counts in no list or figure until it is restored. Needs a key with the scope admin. */
  voidRun = (runId: string, body: VoidRequest, signal?: AbortSignal): Promise<Run> =>
    this.#data(this.#api.POST("/api/runs/{runId}/void", { params: { path: { runId } }, body, ...withSignal(signal) }));

  /** Restores a voided run. Needs a key with the scope admin. */
  restoreRun = (runId: string, body: RestoreRequest = {}, signal?: AbortSignal): Promise<Run> =>
    this.#data(this.#api.POST("/api/runs/{runId}/restore", { params: { path: { runId } }, body, ...withSignal(signal) }));

  /** Returns a page of corrections, newest first. eachCorrection returns all corrections. */
  listCorrections = (query: Query<"list-corrections"> = {}, signal?: AbortSignal): Promise<Correction[]> =>
    this.#data(this.#api.GET("/api/corrections", { params: { query }, ...withSignal(signal) }));

  /** Names a batch, or moves the name to it. Needs a key with the scope submit. */
  setBaseline = (name: string, body: BaselineRequest, signal?: AbortSignal): Promise<Baseline> =>
    this.#data(this.#api.PUT("/api/baselines/{name}", { params: { path: { name } }, body, ...withSignal(signal) }));

  /** Returns a page of baselines, by name. */
  listBaselines = (query: Query<"list-baselines"> = {}, signal?: AbortSignal): Promise<Baseline[]> =>
    this.#data(this.#api.GET("/api/baselines", { params: { query }, ...withSignal(signal) }));

  getBaseline = (name: string, signal?: AbortSignal): Promise<Baseline> =>
    this.#data(this.#api.GET("/api/baselines/{name}", { params: { path: { name } }, ...withSignal(signal) }));

  /** Takes the name away from its batch, which stays. Needs a key with the scope submit. */
  deleteBaseline = (name: string, signal?: AbortSignal): Promise<Baseline> =>
    this.#data(this.#api.DELETE("/api/baselines/{name}", { params: { path: { name } }, ...withSignal(signal) }));

  getStats = (signal?: AbortSignal): Promise<Answer<"get-stats">> => this.#data(this.#api.GET("/api/stats", withSignal(signal)));

  listAgentStats = (signal?: AbortSignal): Promise<Answer<"list-agent-stats">> =>
    this.#data(this.#api.GET("/api/stats/agents", withSignal(signal)));

  getLeaderboard = (query: Query<"get-leaderboard">, signal?: AbortSignal): Promise<Answer<"get-leaderboard">> =>
    this.#data(this.#api.GET("/api/leaderboard", { params: { query }, ...withSignal(signal) }));

  getComparison = (query: Query<"get-comparison">, signal?: AbortSignal): Promise<Answer<"get-comparison">> =>
    this.#data(this.#api.GET("/api/comparison", { params: { query }, ...withSignal(signal) }));

  listComparisonDetails = (query: Query<"list-comparison-details">, signal?: AbortSignal): Promise<Answer<"list-comparison-details">> =>
    this.#data(this.#api.GET("/api/comparison/details", { params: { query }, ...withSignal(signal) }));

  listScenarioStats = (query: Query<"list-scenario-stats">, signal?: AbortSignal): Promise<Answer<"list-scenario-stats">> =>
    this.#data(this.#api.GET("/api/stats/scenarios", { params: { query }, ...withSignal(signal) }));

  getScenarioMatrix = (query: Query<"get-scenario-matrix">, signal?: AbortSignal): Promise<Answer<"get-scenario-matrix">> =>
    this.#data(this.#api.GET("/api/stats/matrix", { params: { query }, ...withSignal(signal) }));

  listPassStats = (query: Query<"list-pass-stats">, signal?: AbortSignal): Promise<Answer<"list-pass-stats">> =>
    this.#data(this.#api.GET("/api/stats/pass", { params: { query }, ...withSignal(signal) }));

  listEvaluatorStats = (query: Query<"list-evaluator-stats">, signal?: AbortSignal): Promise<Answer<"list-evaluator-stats">> =>
    this.#data(this.#api.GET("/api/stats/evaluators", { params: { query }, ...withSignal(signal) }));

  listDailyStats = (query: Query<"list-daily-stats">, signal?: AbortSignal): Promise<Answer<"list-daily-stats">> =>
    this.#data(this.#api.GET("/api/stats/days", { params: { query }, ...withSignal(signal) }));

  getPowerPlan = (query: Query<"get-power-plan">, signal?: AbortSignal): Promise<Answer<"get-power-plan">> =>
    this.#data(this.#api.GET("/api/power", { params: { query }, ...withSignal(signal) }));

  getHealth = (signal?: AbortSignal): Promise<Answer<"get-health">> => this.#data(this.#api.GET("/health", withSignal(signal)));

  getLiveness = (signal?: AbortSignal): Promise<Answer<"get-liveness">> => this.#data(this.#api.GET("/livez", withSignal(signal)));

  getReadiness = (signal?: AbortSignal): Promise<Answer<"get-readiness">> => this.#data(this.#api.GET("/readyz", withSignal(signal)));

  /** Returns all runs that match the query, page by page. */
  eachRun = (query: Query<"list-runs"> = {}, signal?: AbortSignal): AsyncGenerator<Run, void> =>
    this.#pages<Run>(query, (query) => this.#api.GET("/api/runs", { params: { query }, ...withSignal(signal) }));

  /** Returns all batches, page by page. */
  eachBatch = (query: Query<"list-batches"> = {}, signal?: AbortSignal): AsyncGenerator<Batch, void> =>
    this.#pages<Batch>(query, (query) => this.#api.GET("/api/batches", { params: { query }, ...withSignal(signal) }));

  /** Returns all runs of a batch, page by page, oldest first. */
  eachRunOfBatch = (batchId: string, query: Query<"get-batch"> = {}, signal?: AbortSignal): AsyncGenerator<Run, void> =>
    this.#pages<Run>(query, (query) =>
      this.#api
        .GET("/api/batches/{batchId}", { params: { path: { batchId }, query }, ...withSignal(signal) })
        .then((answer) => (answer.data ? { ...answer, data: answer.data.runs } : answer)),
    );

  /** Returns all corrections that match the query, page by page. */
  eachCorrection = (query: Query<"list-corrections"> = {}, signal?: AbortSignal): AsyncGenerator<Correction, void> =>
    this.#pages<Correction>(query, (query) => this.#api.GET("/api/corrections", { params: { query }, ...withSignal(signal) }));

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

  /** Returns the receipt if it is for what was sent: only that proves that it is stored. */
  #receipt<Id extends string, Body extends { [id in Id]: string }>(
    sent: { [id in Id]: string } | string,
    id: Id,
    answer: Promise<{ data?: Body; response: Response }>,
  ): Promise<Body> {
    return this.#data(
      answer.then(({ data, response }) => {
        if (data?.[id] === decoded(sent)[id]) return { data: data as Body, response };
        throw foreignResponse(this.url, `${response.status} without a receipt for ${id} "${decoded(sent)[id]}"`, response.status);
      }),
    );
  }

  async #data<Body>(answer: Promise<{ data?: Body; response: Response }>): Promise<Body> {
    try {
      const { data, response } = await answer;
      if (data === undefined) throw foreignResponse(this.url, `${response.status} with an empty body`, response.status);
      return data;
    } catch (error) {
      if (error instanceof BenchLedgerError || error instanceof UnreachableError || (error as Error).name === "AbortError") throw error;
      if (error instanceof SyntaxError) throw foreignResponse(this.url, "with invalid JSON", 200);
      throw noResponse(this.url, error);
    }
  }
}

/** Requests without a response yet. Nothing else refers to them, and Node's fetch no longer
 *  sees an abort after a request was garbage-collected:
 *  https://github.com/nodejs/undici/issues/4068. */
const inFlight = new Set<Request>();

/** Sends a request and reads the response within a timeout, even if send ignores the signal.
 *  (AbortSignal.any loses its timeouts in Node 20: https://github.com/nodejs/node/issues/54614.) */
async function within(timeoutMs: number, request: Request, send: (request: Request) => Promise<Response>): Promise<[Response, ArrayBuffer]> {
  const stop = new AbortController();
  const abort = () => stop.abort(request.signal.reason);
  const timer = setTimeout(() => stop.abort(new Error(`none within ${timeoutMs} ms`)), timeoutMs);
  const sent = new Request(request, { signal: stop.signal });
  inFlight.add(sent);
  try {
    return await new Promise((resolve, reject) => {
      stop.signal.addEventListener("abort", () => reject(stop.signal.reason));
      request.signal.addEventListener("abort", abort);
      if (request.signal.aborted) abort();
      send(sent)
        .then(async (response) => resolve([response, await response.arrayBuffer()]))
        .catch(reject);
    });
  } finally {
    clearTimeout(timer);
    inFlight.delete(sent);
    request.signal.removeEventListener("abort", abort);
  }
}

const withSignal = (signal: AbortSignal | undefined) => (signal ? { signal } : {});

/** Returns the members of a submission. */
const decoded = <Submission extends object>(body: Submission | string): Partial<Submission> => (typeof body === "string" ? JSON.parse(body) : body);

const isStored = ({ outcome }: Receipt): boolean => outcome === "recorded" || outcome === "replayed";

/** Throws a BenchLedgerError for an error response of the server, and an UnreachableError for
 *  a response that does not come from a BenchLedger server, like the page of a proxy. */
function check(url: string, method: string, response: Response, body: ArrayBuffer): void {
  const { status, statusText, headers, type } = response;
  const mediaType = (headers.get("Content-Type") ?? "").replace(/ *;.*/s, "").toLowerCase();
  if ((status === 200 || (status === 201 && method === "POST")) && /^application\/(x-nd)?json$/.test(mediaType)) return;
  const location = headers.get("Location");
  if (type === "opaqueredirect" || (location !== null && status >= 300 && status < 400)) {
    const to = location === null ? "" : ` to ${location}`;
    throw new UnreachableError(`${url} redirects${to}: set the server address to where BenchLedger is`, {}, status);
  }
  const retryAfterMs = retryAfter(headers.get("Retry-After"));
  const problem = status >= 400 && mediaType === "application/problem+json" ? parseProblem(status, body) : undefined;
  if (problem) throw new BenchLedgerError(status, problem, retryAfterMs);
  throw foreignResponse(url, `${status} ${statusText}`.trim() + (mediaType && ` (${mediaType})`), status, retryAfterMs);
}

/** Returns undefined if the body is not a problem document of BenchLedger. */
function parseProblem(status: number, body: ArrayBuffer): Problem | undefined {
  try {
    const problem = JSON.parse(new TextDecoder().decode(body)) as Problem;
    const texts = [problem.title, problem.detail, problem.requestId];
    return problem.status === status && texts.every((text) => typeof text === "string") && Array.isArray(problem.errors ?? []) ? problem : undefined;
  } catch {
    return undefined;
  }
}

/** Parses a Retry-After header, seconds or a date, and returns milliseconds. */
function retryAfter(header: string | null): number {
  if (!header) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Math.max(0, ms || 0);
}
