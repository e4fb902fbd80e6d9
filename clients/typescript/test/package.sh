#!/bin/sh
# Installs the package, as npm pack makes it, into an empty project that type-checks
# under strict, and so do the samples of the READMEs and of the site.
set -eu
root=$(cd ../.. && pwd)
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
npm pack --loglevel=error --pack-destination "$project" >/dev/null
typescript=$(node -p 'require("typescript/package.json").version')
cd "$project"
printf '{ "private": true, "type": "module" }\n' >package.json
npm install --loglevel=error --no-audit --no-fund ./benchledger-client-*.tgz "typescript@$typescript" >/dev/null
# Each block of TypeScript, in a separate file.
awk '/^```ts$/ { file = sprintf("sample%d.ts", ++n); next } /^```$/ { file = "" } file { print > file }' \
  "$root/README.md" "$root/clients/typescript/README.md" "$root"/site/*.md "$root"/site/guides/*.md
test -s sample1.ts
cat >harness.ts <<'END'
import { BenchLedger, BenchLedgerError, type Run } from "@benchledger/client";
import { BenchmarkLogger } from "@benchledger/client/node";
import { BenchmarkLogger as InBrowser } from "@benchledger/client/recorder";

const logger = BenchmarkLogger.getInstance({ url: "http://127.0.0.1:8787" });
const batchId: string = logger.startBatch();
const runId: string = logger.startRun("suite", "scenario", "L1", "agent", "model", batchId);
logger.logEvaluation("tests", 1, 1, "all of them");
logger.logTelemetry(12, 85000, 2200, 0.0123, 300000);
export const ended: Promise<"delivered" | "spooled"> = logger.completeRun(0.85, 8.5, { runId }, true, 0.9);
export const runs: Promise<Run[]> = new BenchLedger({ url: "http://127.0.0.1:8787" }).listRuns({ suite: ["suite"] });
export { BenchLedgerError, InBrowser };
END
npx tsc --strict --noEmit --module nodenext --target es2022 --lib es2023,dom --types '' harness.ts sample*.ts
node --input-type=module -e 'import { spoolDir } from "@benchledger/client/node"; if (!spoolDir()) process.exit(1)'
echo "the package installs, type-checks and loads in an empty project"
