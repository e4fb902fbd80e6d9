// The recorder for harnesses in Node: like ./recorder.js, but it keeps undelivered
// submissions on disk, and tells concurrent runs apart by their asynchronous context.
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import type { BenchLedgerError } from "./client.js";
import { consoleWarn, type Entry, BenchmarkLogger as Recorder, type RecorderOptions, type Spool, type Spooled } from "./recorder.js";

export * from "./client.js";
export { type BatchSummary, type Delivery, type ErrorType, RunLogger } from "./recorder.js";

export interface NodeOptions extends Partial<RecorderOptions> {
  /** The directory for undelivered submissions; spoolDir() by default. */
  spool?: string | undefined;
}

/** Returns the directory for undelivered submissions: BENCHLEDGER_SPOOL, or else
 *  benchledger/spool in XDG_STATE_HOME, or else in ~/.local/state. The Go recorder uses
 *  the same directory and the same file format. */
export function spoolDir(): string {
  return process.env["BENCHLEDGER_SPOOL"] || join(process.env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "benchledger", "spool");
}

/** Records runs and batches, any number concurrently, and loses none: the end of a run is
 *  written to disk before it is sent, and stays there until the server has stored it. In the
 *  background, the recorder first sends what earlier recorders left. The defaults for the
 *  address and the key are BENCHLEDGER_URL and BENCHLEDGER_API_KEY, or else
 *  ZE_BENCHMARKS_WORKER_URL and ZE_BENCHMARKS_API_KEY, or else http://127.0.0.1:8787. */
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
      openSpool(options),
      new AsyncLocalStorage<string>(),
    );
  }

  override async close(): Promise<void> {
    await super.close();
    if (BenchmarkLogger.#instance === this) BenchmarkLogger.#instance = undefined;
  }
}

/** Returns undefined, and warns, if the user has no home directory. */
function openSpool({ spool, warn = consoleWarn }: NodeOptions): DiskSpool | undefined {
  try {
    return new DiskSpool(spool ?? spoolDir());
  } catch (error) {
    warn(`there is no spool (${(error as Error).message}): set BENCHLEDGER_SPOOL to a directory`);
    return undefined;
  }
}

/** A spool in a directory: one file per submission; refused submissions are in the folder
 *  refused. */
class DiskSpool implements Spool {
  constructor(readonly where: string) {}

  put(entry: Entry): string {
    const name = `${Date.parse(entry.spooledAt)}-${randomUUID()}.json`;
    write(this.where, name, entry);
    return name;
  }

  remove(name: string): void {
    rmSync(join(this.where, name), { force: true }); // Another process may have removed it already.
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
      try {
        const name = file.endsWith(".json.tmp") ? this.#rescue(file) : file;
        if (!name?.endsWith(".json")) continue;
        entries.push({ name, entry: read(join(this.where, name)) });
      } catch (error) {
        if (!missing(error)) unreadable++; // Otherwise another process delivered it.
      }
    }
    entries.sort((a, b) => Date.parse(a.entry.spooledAt) - Date.parse(b.entry.spooledAt));
    return { entries, unreadable };
  }

  /** Handles a temporary file that a process left behind more than a minute ago: it becomes
   *  an entry if it is complete, and is deleted otherwise. Returns the entry's name. */
  #rescue(file: string): string | undefined {
    const path = join(this.where, file);
    const whole = file.replace(/\.tmp$/, "");
    try {
      if (Date.now() - statSync(path).mtimeMs < 60_000) return undefined;
      read(path);
      renameSync(path, join(this.where, whole));
      return whole;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== undefined) throw error; // It may be complete.
      rmSync(path, { force: true });
      return undefined;
    }
  }
}

const missing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "ENOENT";

/** Reads an entry. The body is the last field and is cut out of the text, because numbers
 *  lose digits in JavaScript. */
function read(path: string): Entry {
  const text = readFileSync(path, "utf8");
  const entry = JSON.parse(text) as Omit<Entry, "body"> & { body?: unknown };
  const { url, body, operation, spooledAt } = entry ?? {};
  if (typeof url !== "string" || typeof body !== "object" || !body || Array.isArray(body) || !["submit-run", "submit-batch"].includes(operation) || !Date.parse(spooledAt)) {
    throw new Error("not a submission");
  }
  let raw = /"body"\s*:(.*)\}\s*$/s.exec(text)?.[1]?.trim() ?? "";
  try {
    JSON.parse(raw);
  } catch {
    raw = JSON.stringify(body); // Someone has edited the file, and the body is not last.
  }
  return { ...entry, body: raw.replace(/[\r\n]+/g, " ") };
}

/** Writes a file so that after a crash of the machine it is complete or missing. */
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
  if (process.platform === "win32") return; // Windows cannot fsync directories.
  const folder = openSync(dir, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
