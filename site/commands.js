// Writes reference/commands.md from the manual page of the program, which is made from the
// definitions of the commands. guides/command-line.md includes it.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";

const manual = execFileSync("go", ["run", "./cmd/benchledger", "man"], { cwd: new URL("..", import.meta.url), encoding: "utf8" });

/** Turns the roff that cmd/benchledger/man.go writes into Markdown. */
const text = (line) => line.replace(/\\(e|-|&)/g, (_, escaped) => ({ e: "\\", "-": "-", "&": "" })[escaped]);
const code = (line) => `\`${text(line).replace(/\\f[BIR]/g, "")}\``;
const prose = (line) => text(line).replace(/[\\`*_<>[\]|]/g, "\\$&").replace(/https?:\/\/[\w.:-]*\w/g, "`$&`");

const lines = manual.slice(manual.indexOf(".SH COMMANDS")).split("\n").slice(1);
const page = [];
for (let i = 0; i < lines.length; i++) {
  if (lines[i].startsWith(".SS ")) page.push("", `### ${code(`benchledger ${lines[i].slice(4)}`)}`, "");
  else if (lines[i] === ".TP") page.push("", `- ${code(lines[++i])}\\`);
  else if (lines[i] === ".PP") page.push("");
  else if (lines[i] === ".EX") page.push("```sh", text(lines[++i]).trim(), "```");
  else if (lines[i] === ".EE") continue;
  else if (/^Environment: [A-Z_, ]+\.$/.test(lines[i])) page.push(`  Environment: ${code(lines[i].slice("Environment: ".length, -1))}.`);
  else if (page.at(-1)?.startsWith("- ")) page.push(`  ${prose(lines[i])}`);
  else page.push(prose(lines[i]));
}

mkdirSync(new URL("reference", import.meta.url), { recursive: true });
writeFileSync(new URL("reference/commands.md", import.meta.url), page.join("\n"));
