// Writes the API reference from openapi.yaml: a Markdown page per operation, with samples
// in curl, Go and TypeScript. The search reads Markdown files, so `node operations.js pages`
// writes them to reference/. `node operations.js go` (or typescript) prints all samples of a
// language as one program, which `make site` compiles.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { parse } from "yaml";

const spec = parse(readFileSync(new URL("../openapi.yaml", import.meta.url), "utf8"));

const pascal = (id) => id.split("-").map((word) => word[0].toUpperCase() + word.slice(1)).join("");
const camel = (id) => pascal(id)[0].toLowerCase() + pascal(id).slice(1);
const resolve = (schema) => (schema?.$ref ? spec.components.schemas[schema.$ref.split("/").at(-1)] : schema);
const exampleOf = (parameter) => parameter.example ?? parameter.schema.examples?.[0] ?? parameter.schema.default ?? parameter.name;

/** { id, tag, method, path, summary, … } of each operation, in the order of the tags. */
export const operations = spec.tags.flatMap(({ name: tag }) =>
  Object.entries(spec.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { tags }]) => tags[0] === tag)
      .map(([method, operation]) => ({
        id: operation.operationId,
        tag,
        path,
        method: method.toUpperCase(),
        summary: operation.summary,
        description: operation.description ?? "",
        key: keyOf(operation.security),
        parameters: operation.parameters ?? [],
        body: operation.requestBody?.content["application/json"],
        responses: operation.responses,
      })),
  ),
);

/** Which key an operation needs. `{}` among the security requirements is "no key". */
function keyOf(security) {
  const scope = security.find(({ bearer }) => bearer)?.bearer.join(", ");
  if (!scope) return { required: false, short: "none", text: "needs no API key" };
  if (security.some((scheme) => Object.keys(scheme).length === 0)) {
    return { required: false, short: "none \\*", text: `needs no API key; with \`PUBLIC_READS=false\`, a key with the scope \`${scope}\`` };
  }
  return { required: true, short: `\`${scope}\``, text: `needs an API key with the scope \`${scope}\`` };
}

/** The query of a sample: the suite, and the sides of a comparison. */
const queryOf = (parameters) => parameters.filter((p) => p.in === "query" && ["suite", "baselineModel", "candidateModel"].includes(p.name));

/** The sample of an operation. */
export const samples = {
  curl({ method, path, parameters, body, key }) {
    const query = queryOf(parameters).map((p, i) => `${i ? "&" : "?"}${p.name}=${exampleOf(p)}`);
    const url = "http://127.0.0.1:8787" + path.replace(/\{(\w+)\}/g, (_, name) => exampleOf(parameters.find((p) => p.name === name))) + query.join("");
    return [
      `curl ${method === "GET" ? "" : `-X ${method} `}'${url}'`,
      ...(key.required ? [`  -H "Authorization: Bearer $BENCHLEDGER_API_KEY"`] : []),
      ...(body ? [`  -H 'Content-Type: application/json'`, `  -d '${JSON.stringify(body.example, null, 2)}'`] : []),
    ].join(" \\\n");
  },
  go({ id, parameters, body }) {
    const args = parameters.filter((p) => p.in === "path").map((p) => JSON.stringify(exampleOf(p)));
    const query = parameters.filter((p) => p.in === "query");
    if (query.length > 0) {
      const fields = queryOf(parameters).map((p) => {
        const value = JSON.stringify(exampleOf(p));
        if (p.schema.type === "array") return `${pascal(p.name)}: []string{${value.slice(1, -1)}}`;
        return `${pascal(p.name)}: ${p.required ? value : `new(${value})`}`;
      });
      args.push(`&benchledger.${pascal(id)}Params{${fields.join(", ")}}`);
    }
    if (body) args.push(`"application/json"`, `strings.NewReader(\`${JSON.stringify(body.example, null, 2)}\`)`);
    return `response, err := client.${pascal(id)}${body ? "WithBody" : ""}WithResponse(${["ctx", ...args].join(", ")})
if err != nil {
	return err
}
if err := benchledger.Check(response.HTTPResponse, response.Body); err != nil {
	return err
}
fmt.Printf("%s\\n", response.Body)`;
  },
  typescript({ id, parameters, body }) {
    const args = parameters.filter((p) => p.in === "path").map((p) => JSON.stringify(exampleOf(p)));
    if (body) args.push(JSON.stringify(body.example, null, 2));
    const query = queryOf(parameters);
    if (query.length > 0) args.push(`{ ${query.map((p) => `${p.name}: ${JSON.stringify(exampleOf(p))}`).join(", ")} }`);
    return `const result = await client.${camel(id)}(${args.join(", ")});
console.log(result);`;
  },
};

/** How the samples create their client. */
const clients = {
  go: `address, key := benchledger.FromEnvironment()
client, err := benchledger.New(address, key)`,
  typescript: `const client = new BenchLedger({ url: "http://127.0.0.1:8787", apiKey: "dev-local-key" });`,
};

/** The first page of the reference. */
function overview() {
  return `# API

Requests and responses are JSON. Send the API key in the header \`Authorization: Bearer KEY\`. The table says which operations need a
key, and its scope. Errors are [problem documents](../guides/errors).

Every server has the reference of its own version at \`/docs\`, and the OpenAPI document at \`/openapi.yaml\`.

| operation | | key (scope) |
|---|---|---|
${operations.map(({ id, method, path, summary, key }) => `| [\`${method} ${path}\`](./${id}) | ${cell(summary)} | ${key.short} |`).join("\n")}

\\* With \`PUBLIC_READS=false\`, these operations need a key with the scope \`read\`.

The samples use a client that is created like this in Go:

\`\`\`go
${clients.go}
\`\`\`

and like this in TypeScript:

\`\`\`ts
${clients.typescript}
\`\`\`
`;
}

/** The page of an operation. */
function page(operation) {
  const { id, method, path, summary, description, parameters, body, responses, key } = operation;
  const rows = (head, lines) => (lines.length > 0 ? [`| ${head.join(" | ")} |`, `|${head.map(() => "---").join("|")}|`, ...lines, ""] : []);
  return [
    `# ${summary}`,
    "",
    `\`${method} ${path}\` · operation \`${id}\` · ${key.text}`,
    "",
    description,
    "",
    ...(parameters.length > 0 ? ["## Parameters", ""] : []),
    ...rows(
      ["name", "in", "type", ""],
      parameters.map((p) => `| \`${p.name}\`${p.required ? " (required)" : ""} | ${p.in} | ${typeOf(p.schema)} | ${cell(p.description)} |`),
    ),
    ...(body ? ["## Body", "", ...fields(body.schema)] : []),
    "## Samples",
    "",
    "::: code-group",
    "",
    ...[["sh [curl]", samples.curl], ["go [Go]", samples.go], ["ts [TypeScript]", samples.typescript]].flatMap(([head, sample]) => [`\`\`\`${head}`, sample(operation), "```", ""]),
    ":::",
    "",
    "## Responses",
    "",
    ...rows(
      ["status", "", "content"],
      Object.entries(responses).map(([status, response]) => {
        const content = Object.keys(response.content ?? {}).map((type) => `\`${type}\``).join(", ");
        return `| ${status} | ${cell(response.description)} | ${content} |`;
      }),
    ),
    ...Object.entries(responses).flatMap(([status, response]) => {
      const json = response.content?.["application/json"];
      return json?.schema ? [`### ${status}`, "", ...(json.example === undefined ? [] : ["```json", JSON.stringify(json.example, null, 2), "```", ""]), ...fields(json.schema)] : [];
    }),
  ].join("\n");
}

/** A table of the fields of an object, or of the objects in a list; required fields first. */
function fields(schema) {
  const list = schema.type === "array" || schema.type?.includes?.("array");
  const object = resolve(list ? schema.items : schema);
  if (!object?.properties) return [];
  const isRequired = (name) => object.required?.includes(name) ?? false;
  const properties = Object.entries(object.properties).sort(([a], [b]) => isRequired(b) - isRequired(a)); // The sort is stable.
  return [
    list ? "A list of:" : "",
    "",
    "| field | type | |",
    "|---|---|---|",
    ...properties.map(
      ([name, property]) => `| \`${name}\`${isRequired(name) ? "" : " (optional)"} | ${typeOf(property)} | ${cell(property.description ?? resolve(property).description)} |`,
    ),
    "",
    ...properties.flatMap(([name, property]) => {
      const inner = resolve(property.items ?? property.oneOf?.find((one) => one.$ref) ?? property.anyOf?.find((one) => one.$ref) ?? property);
      return inner?.properties && inner !== object ? [`Fields of \`${name}\`:`, "", ...fields(inner)] : [];
    }),
  ];
}

function typeOf(schema) {
  const named = schema.$ref?.split("/").at(-1);
  const { type, oneOf, anyOf, enum: values, items, format } = resolve(schema);
  if (values) return values.map((value) => `\`${value}\``).join(" or ");
  if (oneOf ?? anyOf) return (oneOf ?? anyOf).map(typeOf).join(" or ");
  const types = [type].flat().filter(Boolean).map((one) => (one === "array" && items ? `list of ${typeOf(items)}` : one === "object" && named ? named : one));
  return types.join(" or ") + (format && !types.includes("null") ? ` (${format})` : "");
}

const cell = (text) => (text ?? "").replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("{{", "&#123;&#123;").replaceAll("\n", " ");

// All samples of a language in one file.
const programs = {
  go: () => `package main

import (
	"context"
	"fmt"
	"strings"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

func main() {
	if client, err := connect(); err == nil {
		_ = getHealth(context.Background(), client)
	}
}

func connect() (*benchledger.ClientWithResponses, error) {
${clients.go}
return client, err
}

var _ = strings.NewReader
${operations.map((operation) => `\nfunc ${camel(operation.id)}(ctx context.Context, client *benchledger.ClientWithResponses) error {\n${samples.go(operation)}\nreturn nil\n}\n`).join("")}`,
  typescript: () => `import { BenchLedger } from "../src/client.js";

${clients.typescript}
void getHealth(client);
${operations.map((operation) => `\nexport async function ${camel(operation.id)}(client: BenchLedger): Promise<void> {\n${samples.typescript(operation)}\n}\n`).join("")}`,
};

function writePages() {
  const file = (name) => new URL(`reference/${name}.md`, import.meta.url);
  rmSync(new URL("reference", import.meta.url), { recursive: true, force: true });
  mkdirSync(new URL("reference", import.meta.url));
  writeFileSync(file("index"), overview());
  for (const operation of operations) writeFileSync(file(operation.id), page(operation));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === "pages") writePages();
  else console.log(programs[process.argv[2]]());
}
