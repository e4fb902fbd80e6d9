// The recorder that a harness uses in Node: as ./recorder.js, and what is not
// delivered waits on disk; several runs at once are told apart by asynchronous context.
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import type { BenchLedgerError } from "./client.js";
import { type Entry, BenchmarkLogger as Recorder, type RecorderOptions, type Spool } from "./recorder.js";

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

  list(): { name: string; entry: Entry }[] {
    let names: string[];
    try {
      names = readdirSync(this.where);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
    return names
      .filter((name) => name.endsWith(".json"))
      .flatMap((name) => {
        try {
          return [{ name, entry: JSON.parse(readFileSync(join(this.where, name), "utf8")) as Entry }];
        } catch {
          return []; // Delivered by another process, or no submission: benchledger flush counts those.
        }
      })
      .sort((a, b) => a.entry.spooledAt.localeCompare(b.entry.spooledAt));
  }
}

/** Writes a file so that it is there whole, or not, after a crash of the machine. */
function write(dir: string, name: string, entry: Entry): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, name);
  const file = openSync(`${path}.tmp`, "w", 0o600);
  try {
    writeFileSync(file, JSON.stringify(entry));
    fsyncSync(file);
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
