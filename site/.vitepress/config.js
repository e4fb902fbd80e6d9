import { defineConfig } from "vitepress";

import { operations } from "../operations.js";

const repository = "https://github.com/benchledger/benchledger";

const groups = {};
for (const operation of operations) (groups[operation.tag] ??= []).push(operation);

export default defineConfig({
  title: "BenchLedger",
  description: "Stores the results of AI-agent benchmarks.",
  lang: "en",
  cleanUrls: true,
  lastUpdated: false,
  srcExclude: ["reference/commands.md"], // guides/command-line.md includes it.
  markdown: {
    config(md) {
      // Included files of the repository have links to other files of it.
      const open = md.renderer.rules.link_open ?? ((tokens, i, options, _env, self) => self.renderToken(tokens, i, options));
      md.renderer.rules.link_open = (tokens, i, options, env, self) => {
        const href = tokens[i].attrGet("href") ?? "";
        if (/^(\.\.\/)+(api|audit|cmd|db|docs|internal|sql|test|clients)\b/.test(href) || /^(\.\.\/)*[\w.-]+\.(yaml|go|mod)\b/.test(href)) {
          tokens[i].attrSet("href", `${repository}/blob/main/${href.replace(/^(\.\.\/)+/, "")}`);
        }
        return open(tokens, i, options, env, self);
      };
      // On a phone, theme/phone.css shows the heading of its column before each cell.
      md.core.ruler.push("cell_labels", ({ tokens }) => {
        let labels = [];
        let column = 0;
        tokens.forEach((token, i) => {
          if (token.type === "thead_open") labels = [];
          if (token.type === "th_open") labels.push(tokens[i + 1].content);
          if (token.type === "tr_open") column = 0;
          if (token.type === "td_open" && column++ > 0 && labels[column - 1]) token.attrSet("data-label", labels[column - 1]);
        });
      });
    },
  },
  themeConfig: {
    search: { provider: "local" },
    outline: { level: [2, 3] },
    nav: [
      { text: "Start", link: "/start" },
      { text: "Guides", link: "/guides/typescript" },
      { text: "API", link: "/reference/" },
      { text: "Changelog", link: "/changelog" },
    ],
    sidebar: [
      {
        text: "Start",
        items: [
          { text: "Getting started", link: "/start" },
          { text: "Install", link: "/install" },
          { text: "Concepts", link: "/concepts" },
        ],
      },
      {
        text: "Submit and read",
        items: [
          { text: "Submit from TypeScript", link: "/guides/typescript" },
          { text: "Submit from Go", link: "/guides/go" },
          { text: "Submit from files", link: "/guides/files" },
          { text: "Read and analyse results", link: "/guides/analyse" },
          { text: "Statistics", link: "/guides/statistics" },
          { text: "Fail on a regression", link: "/guides/gate" },
          { text: "Page through lists", link: "/guides/pages" },
          { text: "Correct results", link: "/guides/correct" },
          { text: "Handle errors", link: "/guides/errors" },
          { text: "Limits", link: "/guides/limits" },
          { text: "Troubleshooting", link: "/guides/troubleshoot" },
          { text: "Migrate from the worker", link: "/guides/migrate" },
        ],
      },
      {
        text: "Run a server",
        items: [
          { text: "Deploy", link: "/guides/deploy" },
          { text: "Configuration", link: "/guides/configuration" },
          { text: "Keys", link: "/guides/keys" },
          { text: "Operate", link: "/guides/operate" },
          { text: "Where data is stored", link: "/guides/data" },
          { text: "Back up and restore", link: "/guides/backup" },
        ],
      },
      { text: "Command line", link: "/guides/command-line" },
      {
        text: "API reference",
        items: [
          { text: "Overview", link: "/reference/" },
          ...Object.entries(groups).map(([text, items]) => ({ text, collapsed: true, items: items.map(({ id }) => ({ text: id, link: `/reference/${id}` })) })),
        ],
      },
      { text: "Project", items: [{ text: "Audit", link: "/audit" }, { text: "Changelog", link: "/changelog" }] },
    ],
    socialLinks: [{ icon: "github", link: repository }],
  },
});
