// The types that a client generated from openapi.yaml has to have. It type-checks
// or it does not.
import type { components, operations } from "../src/api.gen.js";

import type { BenchLedger } from "../src/client.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <_ extends true>(): void => {};

type Schemas = components["schemas"];
type Run = Schemas["Run"];
type Submission = Schemas["RunSubmission"];

// Every operation has its method, named as it.
type Camel<Name extends string> = Name extends `${infer Head}-${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : Name;
is<Equal<Exclude<Camel<keyof operations>, keyof BenchLedger>, never>>();

// What is read.
is<Equal<Run["id"], number>>();
is<Equal<Run["batchId"], string | null>>();
is<Equal<Run["totalScore"], number | null>>();
is<Equal<Run["isSuccessful"], boolean>>();
is<Equal<Run["metadata"], { [key: string]: unknown } | null>>();
is<Equal<Run["status"], "running" | "completed" | "failed" | "incomplete">>();
is<Equal<Schemas["RunDetails"]["telemetry"], Schemas["Telemetry"]>>();
is<null extends Schemas["Telemetry"] ? true : false>();
is<Equal<operations["list-runs"]["responses"][200]["content"]["application/json"], Run[]>>();
is<Equal<operations["get-run-telemetry"]["responses"][200]["content"]["application/json"], Schemas["Telemetry"]>>();
is<Equal<operations["submit-run"]["responses"][409]["content"]["application/problem+json"], Schemas["Problem"]>>();

// What is submitted.
is<Equal<Submission["startedAt"], string | number | null | undefined>>();
is<Equal<Submission["batchId"], string | null | undefined>>();
is<Equal<Submission["evaluations"], Schemas["EvaluationSubmission"][] | null | undefined>>();
is<null extends Submission["telemetry"] ? true : false>();

const least: Submission = { runId: "r", suite: "s", scenario: "c", tier: "t", agent: "a", status: "completed" };
const full: Submission = {
  ...least,
  startedAt: Date.now(),
  telemetry: null,
  evaluations: [],
  metadata: { packageManager: "pnpm", diff: { added: 3 } },
};
// @ts-expect-error a name that does not exist is a mistake
const typo: Submission = { ...least, totalscore: 1 };
// @ts-expect-error a status that does not exist is a mistake
const wrong: Submission = { ...least, status: "done" };
export { full, typo, wrong };
