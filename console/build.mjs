// Bundles src/ into dist/: one script, one style sheet and the fonts, with hashes in their names.
import { build } from "esbuild";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
const { metafile } = await build({
  entryPoints: [join(here, "src/main.tsx")],
  outdir: dist,
  bundle: true,
  minify: true,
  metafile: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".woff2": "file" },
  entryNames: "console-[hash]",
  assetNames: "[name]-[hash]",
  publicPath: "/static",
  legalComments: "none",
  absWorkingDir: here,
  logLevel: "warning",
});
const names = Object.keys(metafile.outputs).map((path) => basename(path));
const one = (ending) => names.find((name) => name.startsWith("console-") && name.endsWith(ending));
const fonts = names.filter((name) => name.startsWith("inter-"));
const preloads = fonts.map(
  (name) => `<link rel="preload" as="font" type="font/woff2" href="/static/${name}" crossorigin>`);
const page = (await readFile(join(here, "src/index.html"), "utf8"))
  .replace("%style%", `/static/${one(".css")}`)
  .replace("%script%", `/static/${one(".js")}`)
  .replace("%preload%", preloads.join("\n"));
await writeFile(join(dist, "index.html"), page);
