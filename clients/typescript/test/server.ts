// A `benchledger serve` with its own database, and a proxy between it and a client.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

// An after() of a hook or a test would run when that one ends.
const atEnd: (() => unknown)[] = [];
after(async () => {
  for (const end of atEnd.reverse()) await end();
});

/** The key of a local server. */
export const apiKey = "dev-local-key";

/** A new folder, which another user reaches: PostgreSQL does not run as root. */
export function newDir(): string {
  const dir = mkdtempSync("/tmp/benchledger-ts-");
  chmodSync(dir, 0o755);
  atEnd.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The program, built by the first that starts it. */
let program: string | undefined;

function build(): string {
  const path = join(newDir(), "benchledger");
  const root = fileURLToPath(new URL("../../..", import.meta.url));
  execFileSync("go", ["build", "-buildvcs=false", "-o", path, "./cmd/benchledger"], { cwd: root, stdio: "inherit" });
  return path;
}

/**
 * A port on which nothing listens, and which nobody gets by chance: from 32768 on, or higher,
 * the system gives ports to each connection that is opened.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createServer().listen(port, "127.0.0.1");
    const isFree = await once(server, "listening").then(() => true, () => false);
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Starts the program, and returns its address. It ends with the tests of the file. */
export async function serve(env: Record<string, string> = {}): Promise<string> {
  return (await start(newDir(), "127.0.0.1:0", env)).url;
}

/** Starts the program on the data in a folder. stop() ends it, as do the tests of the file. */
export async function start(dir: string, addr: string, env: Record<string, string> = {}): Promise<{ url: string; stop: () => Promise<void> }> {
  const server = spawn((program ??= build()), ["serve", `--addr=${addr}`, `--data-dir=${dir}/data`], {
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  server.stderr.on("data", (text) => (log += text));
  const stop = async () => {
    if (server.exitCode !== null) return;
    server.kill("SIGTERM");
    await once(server, "exit");
  };
  atEnd.push(stop);
  let output = "";
  server.stdout.on("data", (text) => (output += text));
  await eventually("the program serves", () => {
    if (server.exitCode !== null) throw new Error(`the program does not serve: ${output}${log}`);
    return output.includes("\n");
  });
  return { url: /is ready at (http:\/\/\S+)/.exec(output)?.[1] ?? output, stop };
}

/** A proxy of a server: `handle` responds, breaks the connection, or forwards. */
export async function between(
  address: string,
  handle: (incoming: IncomingMessage, outgoing: ServerResponse, forward: () => Promise<void>) => unknown,
  port = 0,
): Promise<string> {
  const proxy = createServer((incoming, outgoing) => {
    const forward = async () => {
      const body: Buffer[] = [];
      for await (const chunk of incoming) body.push(chunk);
      const onward = request(address + incoming.url, { method: incoming.method, headers: incoming.headers });
      onward.end(Buffer.concat(body));
      const [answer] = (await once(onward, "response")) as [IncomingMessage];
      const text: Buffer[] = [];
      for await (const chunk of answer) text.push(chunk);
      if (outgoing.destroyed) return;
      outgoing.writeHead(answer.statusCode ?? 0, answer.headers);
      outgoing.end(Buffer.concat(text));
    };
    incoming.on("error", () => {}); // A connection that breaks, as some are meant to.
    Promise.resolve(handle(incoming, outgoing, forward)).catch(() => outgoing.destroy());
  });
  await once(proxy.listen(port, "127.0.0.1"), "listening");
  atEnd.push(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

/** Waits until a condition is true. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; !(await holds()); await new Promise((resolve) => setTimeout(resolve, 20))) {
    if (Date.now() > end) throw new Error(`it does not come to pass that ${what}`);
  }
}
