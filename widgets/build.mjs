// Bundles every src/<widget>/index.js into saekit_widgets/static/<widget>.js (or into the folder given as argument).
// The bundles are committed, so that nobody needs node to use saekit; a test compares them with a rebuild.
import { build, transform } from "esbuild";
import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const widgets = readdirSync(join(here, "src")).filter((name) => existsSync(join(here, "src", name, "index.js")));
// A style sheet is imported as text; nothing else would make it small.
const styles = {
  name: "styles",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.css$/ }, async ({ path }) => ({
      contents: (
        await transform(await readFile(path, "utf8"), { loader: "css", minify: true, charset: "utf8" })
      ).code.trim(),
      loader: "text",
    })),
};
await build({
  absWorkingDir: here,
  entryPoints: Object.fromEntries(widgets.map((name) => [name, join("src", name, "index.js")])),
  outdir: process.argv[2] ?? join("saekit_widgets", "static"),
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: true,
  legalComments: "none",
  plugins: [styles],
});
