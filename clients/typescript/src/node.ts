// The recorder for harnesses in Node: like ./recorder.js, but it keeps undelivered
// submissions on disk, and tells concurrent runs apart by their asynchronous context.
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { closeSync, type Dirent, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import type { BenchLedgerError } from "./client.js";
import { consoleWarn, type Entry, type Head, BenchmarkLogger as Recorder, type RecorderOptions, type Spool } from "./recorder.js";

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

  list(): { names: string[]; unreadable: string[] } {
    let files: Dirent[] = [];
    try {
      files = readdirSync(this.where, { withFileTypes: true });
    } catch (error) {
      if (!missing(error)) throw error;
    }
    files = files.filter(({ name }) => /\.json(\.tmp)?$/.test(name));
    return {
      names: files.filter((file) => file.isFile()).map(({ name }) => name),
      unreadable: files.filter((file) => !file.isFile()).map(({ name }) => `${name} (not a regular file)`),
    };
  }

  head(name: string): Promise<Head | undefined> {
    return ifPresent(async () => {
      const whole = name.endsWith(".tmp") ? await this.#rescue(name) : name;
      if (whole === undefined) return undefined;
      const path = join(this.where, whole);
      const file = await open(path);
      try {
        const { size } = await file.stat();
        const { buffer, bytesRead } = await file.read(Buffer.alloc(4096), 0, 4096, 0);
        const [, url, operation, spooledAt = ""] = begin.exec(buffer.toString("utf8", 0, bytesRead)) ?? [];
        if (url !== undefined && Date.parse(spooledAt)) {
          return { name: whole, size, url: JSON.parse(url) as string, operation: operation as Entry["operation"], spooledAt };
        }
        const { body: _, ...head } = parse(await readFile(path, "utf8")); // Someone has edited the file.
        return { ...head, name: whole, size };
      } finally {
        await file.close();
      }
    });
  }

  read(name: string): Promise<Entry | undefined> {
    return ifPresent(async () => parse(await readFile(join(this.where, name), "utf8")));
  }

  /** Handles a temporary file that a process left behind more than a minute ago. If it is a whole
   *  entry, it becomes one; returns its name. If it is empty, or ends in the middle of an entry, it
   *  is deleted: it was never said to be safe. Any other file stays. */
  async #rescue(file: string): Promise<string | undefined> {
    const path = join(this.where, file);
    if (Date.now() - (await stat(path)).mtimeMs < 60_000) return undefined;
    const text = await readFile(path, "utf8");
    try {
      parse(text);
    } catch (error) {
      if (text !== "" && (!text.startsWith('{"url":') || text.trimEnd().endsWith("}"))) throw error;
      await rm(path);
      return undefined;
    }
    const whole = file.replace(/\.tmp$/, "");
    await rename(path, join(this.where, whole));
    return whole;
  }
}

const missing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "ENOENT";

/** Returns undefined if the file is missing: another process delivered it. */
async function ifPresent<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (missing(error)) return undefined;
    throw error;
  }
}

/** How recorders begin an entry. */
const begin = /^\{"url":("(?:[^"\\]|\\.)*"),"operation":"(submit-run|submit-batch)","spooledAt":"([^"\\]*)"/;

/** Parses an entry. The body is the last field and is cut out of the text, because numbers
 *  lose digits in JavaScript. */
function parse(text: string): Entry {
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
