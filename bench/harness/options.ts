/** The command line of the benches. */

import { parseArgs } from "node:util";
import { minioAvailable } from "../../test/support/minio.ts";
import { generatedData } from "./event-source.ts";
import { urlKindOf } from "./locations.ts";
import { type Scenario, type Size, sizes } from "./scenario.ts";
import { UsageError } from "./usage-error.ts";

export interface BenchOptions {
  readonly help: boolean;
  readonly scenarios: readonly Scenario[];
  readonly size: Size;
  /** Without it, a temporary folder that is removed at the end; `ownMinioUrl` for a server that is ended then. */
  readonly url: string | undefined;
  /** A file for the report as JSON; `-` for standard output. */
  readonly json: string | undefined;
  readonly data: string | undefined;
}

/** What `--url` takes for a bucket on a MinIO of the run's own. */
export const ownMinioUrl = "minio:";

export function usage(scenarios: readonly Scenario[]): string {
  const width = Math.max(...scenarios.map(({ name }) => name.length));
  return `bun run bench [SCENARIO...] [--size smoke|quick|full] [--url URL] [--json FILE] [--data FILE]

Runs the named scenarios, or all of them, and prints a table for each.

  --size SIZE   smoke (all in seconds), quick (minutes; the default) or full (for claims)
  --url URL     memory:, file:DIR or s3://bucket/prefix (reached by AWS_*); each scenario makes stores of its own below it
                and leaves them there. Or "${ownMinioUrl}" for a bucket on a MinIO that is started (its binary is named by
                STRATA_MINIO) and ended. Default: a temporary folder, removed at the end
  --json FILE   writes the report as JSON too; - for standard output, and then the tables go to standard error
  --data FILE   the events to import, CloudEvents as JSON lines (.jsonl, .jsonl.gz), or "${generatedData}" for made-up ones.
                Default: what STRATA_TEST_DATA names, else the usual file where it exists, else made-up ones
  --help        says this

Scenarios:
${scenarios.map(({ name, question }) => `  ${name.padEnd(width)}  ${question}`).join("\n")}

Exit code: 0, or 1 where a scenario failed its own check, or 2 where this command line was wrong.
`;
}

function parse(argv: readonly string[]): {
  values: Record<string, string | boolean | undefined>;
  positionals: string[];
} {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      strict: true,
      options: {
        size: { type: "string" },
        url: { type: "string" },
        json: { type: "string" },
        data: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function text(value: string | boolean | undefined, option: string): string | undefined {
  if (value === "") throw new UsageError(`${option} must not be empty`);
  return typeof value === "string" ? value : undefined;
}

function named(names: readonly string[], scenarios: readonly Scenario[]): readonly Scenario[] {
  const unknown = names.find((name) => !scenarios.some((scenario) => scenario.name === name));
  if (unknown !== undefined) {
    const known = scenarios.map(({ name }) => name).join(", ");
    throw new UsageError(`There is no scenario ${JSON.stringify(unknown)}; there are ${known}`);
  }
  return names.length === 0 ? scenarios : scenarios.filter(({ name }) => names.includes(name));
}

/** Throws `UsageError`. */
export function parseOptions(argv: readonly string[], scenarios: readonly Scenario[]): BenchOptions {
  const { values, positionals } = parse(argv);
  const size = sizes.find((known) => known === (values.size ?? "quick"));
  if (size === undefined)
    throw new UsageError(`--size must be ${sizes.join(", ")}, not ${JSON.stringify(values.size)}`);
  const url = text(values.url, "--url");
  if (url === ownMinioUrl && !minioAvailable)
    throw new UsageError("There is no MinIO: name its binary in STRATA_MINIO");
  if (url !== undefined && url !== ownMinioUrl) urlKindOf(url);
  return {
    help: values.help === true,
    scenarios: named(positionals, scenarios),
    size,
    url,
    json: text(values.json, "--json"),
    data: text(values.data, "--data"),
  };
}
