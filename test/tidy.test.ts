/** The house rules that a machine can check: who imports whom, who alone imports what, what may appear nowhere. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

setDefaultTimeout(60_000);

const root = resolve(import.meta.dir, "..");
const source = join(root, "src");

interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly { readonly from: string; readonly typeOnly: boolean }[];
}

function read(path: string): SourceFile {
  const text = readFileSync(path, "utf8");
  const imports = [...text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+"([^"]+)"/gms)].map((match) => ({
    typeOnly: match[1] !== undefined,
    from: match[2] ?? "",
  }));
  return { path: relative(source, path), text, imports };
}

const files = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => read(join(source, path)));

/** Each folder of `src`, and what it may import besides itself. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  "errors.ts": ["vocabulary"],
  vocabulary: ["errors.ts"],
  runtime: ["errors.ts", "vocabulary"],
  kv: ["errors.ts", "runtime"],
  format: ["errors.ts", "vocabulary", "runtime"],
  schema: ["errors.ts", "vocabulary", "runtime", "format"],
  log: ["errors.ts", "vocabulary", "runtime", "kv", "format", "schema"],
  subscriptions: ["errors.ts", "vocabulary", "runtime", "kv", "format", "schema", "log"],
  privacy: ["errors.ts", "vocabulary", "runtime", "kv", "format", "schema", "log"],
  decider: ["errors.ts", "vocabulary", "runtime", "format", "schema", "log"],
  processors: ["errors.ts", "vocabulary", "runtime", "kv", "format", "schema", "log", "subscriptions", "decider"],
  reporting: ["errors.ts", "vocabulary", "runtime", "schema", "log", "processors"],
  lifecycle: ["errors.ts", "vocabulary", "runtime", "kv", "format", "schema", "log", "decider", "processors"],
  history: ["errors.ts", "vocabulary", "runtime", "kv", "format", "log"],
  backup: ["errors.ts", "vocabulary", "runtime", "kv", "format", "log", "history"],
  store: [
    ...["errors.ts", "vocabulary", "runtime", "kv", "format", "schema", "log", "subscriptions", "decider"],
    ...["processors", "reporting", "lifecycle", "history", "privacy", "backup"],
  ],
  partitions: [
    ...["errors.ts", "vocabulary", "runtime", "kv", "format", "schema", "log", "decider", "processors", "privacy"],
    "store",
  ],
  "index.ts": [
    ...["errors.ts", "vocabulary", "runtime", "kv", "schema", "log", "subscriptions", "decider", "processors"],
    ...["reporting", "lifecycle", "store", "partitions", "privacy", "backup", "history"],
  ],
  testing: [
    ...["index.ts", "errors.ts", "vocabulary", "runtime", "kv", "format", "schema", "decider", "processors"],
    "store",
  ],
  cli: ["index.ts", "errors.ts", "vocabulary", "runtime", "kv", "format", "schema"],
  demo: ["index.ts"],
};

const withoutComments = (text: string): string => text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, "");

const placeOf = (path: string): string => path.split("/")[0] ?? path;

function importedPlaces(file: SourceFile): readonly string[] {
  return file.imports
    .filter(({ from }) => from.startsWith(".") && !from.endsWith("/package.json"))
    .map(({ from }) => placeOf(relative(source, resolve(source, dirname(file.path), from))));
}

describe("The house", () => {
  test("has no folder that the rules do not know", () => {
    expect(files.map((file) => placeOf(file.path)).filter((place) => mayImport[place] === undefined)).toEqual([]);
  });

  test("is walked one way: no import goes up", () => {
    const wrong = files.flatMap((file) => {
      const place = placeOf(file.path);
      const allowed = [place, ...(mayImport[place] ?? [])];
      return importedPlaces(file).flatMap((target) =>
        allowed.includes(target) ? [] : [`${file.path} imports ${target}`],
      );
    });
    expect(wrong).toEqual([]);
  });

  test("has no cycles between files, but for types", () => {
    const graph = new Map(
      files.map((file) => [
        file.path,
        file.imports
          .filter(({ from, typeOnly }) => from.startsWith(".") && !typeOnly)
          .map(({ from }) => relative(source, resolve(source, dirname(file.path), from))),
      ]),
    );
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): readonly string[] => {
      if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
      if (done.has(path)) return [];
      for (const next of graph.get(path) ?? []) {
        const cycle = visit(next, [...trail, path]);
        if (cycle.length > 0) return cycle;
      }
      done.add(path);
      return [];
    };
    expect([...graph.keys()].map((path) => visit(path, [])).find((cycle) => cycle.length > 0)).toBeUndefined();
  });

  test("has one importer each of the engine's binding, of the S3 client and of the ordered tree", () => {
    const importers = (name: string): string[] =>
      files.filter((file) => file.imports.some(({ from }) => from === name)).map((file) => file.path);
    expect(importers("@slatedb/uniffi")).toEqual(["kv/slatedb-binding.ts"]);
    expect(importers("@aws-sdk/client-s3")).toEqual(["kv/s3-client.ts"]);
    expect(importers("sorted-btree")).toEqual(["kv/memory-kv.ts"]);
    expect(importers("msgpackr")).toEqual(["format/payload.ts"]);
  });

  test("imports only what package.json names", () => {
    const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    const outside = new Set(
      files.flatMap((file) => file.imports.map(({ from }) => from)).filter((from) => !from.startsWith(".")),
    );
    const foreign = [...outside].filter(
      (from) => !from.startsWith("node:") && !from.startsWith("bun:") && from !== "bun",
    );
    expect(foreign.filter((from) => dependencies[from] === undefined)).toEqual([]);
  });

  test("leaves time and chance to runtime", () => {
    const banned = /\bDate\.now\(|\bperformance\.now\(|\bMath\.random\(|\bnew Date\(\)|\brandomUUID/;
    const places = ["runtime", "cli", "demo", "testing"];
    const wrong = files.filter((file) => !places.includes(placeOf(file.path)) && banned.test(file.text));
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  test("writes to the console in the command line and the demo only", () => {
    const wrong = files.filter(
      (file) => !["cli", "demo"].includes(placeOf(file.path)) && /\bconsole\.|\bdebugger\b/.test(file.text),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  test("has no star exports, default exports, enums, namespaces, or casts to any", () => {
    const banned =
      /^export \* |^export default |^(?:export )?(?:const )?enum |^(?:export )?namespace |\bas any\b|: any\b|<any>/m;
    const wrong = files.filter((file) => banned.test(withoutComments(file.text)));
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  test("opens every file with what it is for", () => {
    const wrong = files.filter((file) => !/^(?:#!.*\n)?\/\*\*/.test(file.text));
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  test("names files in kebab-case", () => {
    expect(files.map((file) => file.path).filter((path) => !/^([a-z0-9-]+\/)*[a-z0-9-]+\.ts$/.test(path))).toEqual([]);
  });

  test("tells the contract of every public function, class and interface", () => {
    const { imports } = read(join(source, "index.ts"));
    expect(imports.length).toBeGreaterThan(10);
    const exported = readFileSync(join(source, "index.ts"), "utf8");
    const missing: string[] = [];
    for (const match of exported.matchAll(/^export (?:type )?\{([^}]*)\} from "([^"]+)"/gms)) {
      const file = read(join(source, match[2] ?? ""));
      const names = (match[1] ?? "").split(",").map((name) => name.trim().replace(/^type /, ""));
      for (const name of names.filter((one) => one !== "")) {
        const declared = new RegExp(
          `\\*/\\n(?://[^\\n]*\\n)?export (?:declare )?(?:async )?(?:interface|type|class|function|const) ${name}\\b`,
        );
        if (!declared.test(file.text)) missing.push(`${file.path}: ${name}`);
      }
    }
    expect(missing).toEqual([]);
  });
});
