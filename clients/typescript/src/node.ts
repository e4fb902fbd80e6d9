// The recorder that a harness uses in Node: as ./recorder.js, and what is not
// delivered waits on disk; several runs at once are told apart by asynchronous context.
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import type { BenchLedgerError } from "./client.js";
import { type Entry, BenchmarkLogger as Recorder, type RecorderOptions, type Spool, type Spooled } from "./recorder.js";

export * from "./client.js";
export { type BatchSummary, type Delivery, type ErrorType, RunLogger } from "./recorder.js";

export interface NodeOptions extends Partial<RecorderOptions> {
  /** The directory for what is not delivered yet; by default spoolDir(). */
  spool?: string | undefined;
}

/** Where recorders keep what is not delivered yet: BENCHLEDGER_SPOOL, else
 *  benchledger/spool in XDG_STATE_HOME, else in ~/.local/state. The recorder in Go uses
 *  the same directory, and the same files. */
export function spoolDir(): string {
  return process.env["BENCHLEDGER_SPOOL"] || join(process.env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "benchledger", "spool");
}

/** Records runs and batches, any number at once, and loses none: the end of a run is on
 *  disk before it is sent, and stays there until the server has stored it. What earlier
 *  recorders left there is sent first, in the background. Where options do not say, the
 *  server is that of BENCHLEDGER_URL and BENCHLEDGER_API_KEY, else of
 *  ZE_BENCHMARKS_WORKER_URL and ZE_BENCHMARKS_API_KEY, else http://127.0.0.1:8787. */
export class BenchmarkLogger extends Recorder {
  static #instance: BenchmarkLogger | undefined;

  static override getInstance(options?: NodeOptions): BenchmarkLogger {
    BenchmarkLogger.#instance ??= new BenchmarkLogger(options);
    return BenchmarkLogger.#instance;
  }

  constructor(options: NodeOptions = {}) {
    const { env } = process;
    super(
      {
        ...options,
        url: options.url || env["BENCHLEDGER_URL"] || env["ZE_BENCHMARKS_WORKER_URL"] || "http://127.0.0.1:8787",
        apiKey: options.apiKey || env["BENCHLEDGER_API_KEY"] || env["ZE_BENCHMARKS_API_KEY"],
      },
      new DiskSpool(options.spool ?? spoolDir()),
      new AsyncLocalStorage<string>(),
    );
  }

  override async close(): Promise<void> {
    await super.close();
    if (BenchmarkLogger.#instance === this) BenchmarkLogger.#instance = undefined;
  }
}

/** The files of a spool: one for each submission, and those that the server refused in
 *  the folder refused. */
class DiskSpool implements Spool {
  constructor(readonly where: string) {}

  put(entry: Entry): string {
    const name = `${Date.parse(entry.spooledAt)}-${randomUUID()}.json`;
    write(this.where, name, entry);
    return name;
  }

  remove(name: string): void {
    rmSync(join(this.where, name), { force: true }); // Another process may have been faster.
  }

  refuse(name: string, entry: Entry, why: BenchLedgerError): string {
    const refused = join(this.where, "refused");
    write(refused, name, { ...entry, status: why.status, ...(why.problem ? { problem: why.problem } : {}) });
    this.remove(name);
    return join(refused, name);
  }

  list(): { entries: Spooled[]; unreadable: number } {
    let names: string[];
    try {
      names = readdirSync(this.where);
    } catch (error) {
      if (missing(error)) return { entries: [], unreadable: 0 };
      throw error;
    }
    const entries: Spooled[] = [];
    let unreadable = 0;
    for (const file of names) {
      const name = file.endsWith(".json.tmp") ? this.#rescue(file) : file;
      if (!name?.endsWith(".json")) continue;
      try {
        entries.push({ name, entry: read(join(this.where, name)) });
      } catch (error) {
        if (!missing(error)) unreadable++; // Otherwise another process delivered it.
      }
    }
    entries.sort((a, b) => Date.parse(a.entry.spooledAt) - Date.parse(b.entry.spooledAt));
    return { entries, unreadable };
  }

  /** Looks after a file that a process has left while it wrote it, long ago: it is an entry
   *  where it is whole, and nothing otherwise. Returns the entry's name. */
  #rescue(file: string): string | undefined {
    const path = join(this.where, file);
    const whole = file.replace(/\.tmp$/, "");
    try {
      if (Date.now() - statSync(path).mtimeMs < 60_000) return undefined;
      read(path);
      renameSync(path, join(this.where, whole));
      return whole;
    } catch {
      rmSync(path, { force: true });
      return undefined;
    }
  }
}

const missing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "ENOENT";

/** Reads an entry. Its body is cut out of the text, where it is last: in JavaScript numbers
 *  lose digits. */
function read(path: string): Entry {
  const text = readFileSync(path, "utf8");
  const entry = JSON.parse(text) as Omit<Entry, "body"> & { body?: unknown };
  const { body, operation, spooledAt } = entry ?? {};
  if (typeof body !== "object" || !body || Array.isArray(body) || !["submit-run", "submit-batch"].includes(operation) || !Date.parse(spooledAt)) {
    throw new Error("it is no submission");
  }
  let raw = /"body"\s*:(.*)\}\s*$/s.exec(text)?.[1]?.trim() ?? "";
  try {
    JSON.parse(raw);
  } catch {
    raw = JSON.stringify(body); // Someone has moved it.
  }
  return { ...entry, body: raw.replace(/[\r\n]+/g, " ") };
}

/** Writes a file so that it is there whole, or not, after a crash of the machine. */
function write(dir: string, name: string, entry: Entry): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, name);
  const { body, ...head } = entry;
  const file = openSync(`${path}.tmp`, "w", 0o600);
  try {
    writeFileSync(file, `${JSON.stringify(head).slice(0, -1)},"body":${body}}`);
    fsyncSync(file);
  } catch (error) {
    rmSync(`${path}.tmp`, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.tmp`, path);
  if (process.platform === "win32") return; // It has no fsync of directories.
  const folder = openSync(dir, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
