/** A report, as JSON for machines and as aligned tables for people. */

import type { Environment } from "./environment.ts";
import type { UrlKind } from "./locations.ts";
import type { Row, Size } from "./scenario.ts";

export interface ScenarioReport {
  readonly scenario: string;
  readonly question: string;
  readonly settings: object;
  readonly rows: readonly Row[];
  /** The most resident memory that was seen while it ran. */
  readonly rssMaxMb: number;
  readonly tookMs: number;
  /** Why it failed, if it did. */
  readonly failure?: string;
}

export interface Report {
  readonly environment: Environment;
  readonly size: Size;
  readonly urlKind: UrlKind;
  /** Where imported events came from. */
  readonly source: { readonly kind: "file" | "generated"; readonly data: string };
  /** Whether each scenario had a process of its own: if not, memory carries over from one to the next. */
  readonly ownProcesses: boolean;
  readonly scenarios: readonly ScenarioReport[];
}

type Cells = Readonly<Record<string, string>>;

/** Three significant digits, but whole numbers whole; thousands apart. */
function figure(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const digits =
    Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 3;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function cellsOf(scenario: string, row: Row): Cells {
  const parameters = Object.entries(row.parameters).map(([name, value]) => `${name}=${value}`);
  const cells: Record<string, string> = { scenario, parameters: parameters.join(" "), n: figure(row.n) };
  if (row.perSecond !== undefined) cells["per second"] = figure(row.perSecond);
  if (row.latencyMs !== undefined) {
    for (const name of ["p50", "p95", "p99", "max"] as const) cells[`${name} ms`] = figure(row.latencyMs[name]);
  }
  if (row.rssMaxMb !== undefined) cells["RSS MB"] = figure(row.rssMaxMb);
  for (const [name, value] of Object.entries(row.extra ?? {})) {
    cells[name] = typeof value === "number" ? figure(value) : value;
  }
  return cells;
}

const leftAligned = new Set(["scenario", "parameters"]);
const columnsFirst = ["scenario", "parameters", "n", "per second", "p50 ms", "p95 ms", "p99 ms", "max ms", "RSS MB"];

function table(rows: readonly Cells[]): string {
  const present = new Set(rows.flatMap((row) => Object.keys(row)));
  const columns = [...columnsFirst.filter((column) => present.has(column)), ...present].filter(
    (column, index, all) => all.indexOf(column) === index,
  );
  const lines = [Object.fromEntries(columns.map((column) => [column, column])), ...rows];
  const widths = columns.map((column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      columns
        .map((column, index) => {
          const cell = line[column] ?? "";
          const width = widths[index] ?? 0;
          return leftAligned.has(column) ? cell.padEnd(width) : cell.padStart(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function heading(report: Report): string {
  const { environment, source } = report;
  const events = source.kind === "file" ? `events from ${source.data}` : "made-up events";
  return [
    `${environment.date}  commit ${environment.commit ?? "unknown"}  Bun ${environment.bun}`,
    `${environment.cpu} x ${environment.cpuCount}, ${environment.platform}`,
    `size ${report.size}, ${report.urlKind}, ${events}, ${report.ownProcesses ? "a process a scenario" : "one process"}`,
  ].join("\n");
}

export function toTables(report: Report): string {
  const parts = report.scenarios.map(({ scenario, question, rows, rssMaxMb, tookMs, failure }) => {
    const title = `${scenario}: ${question} (${figure(tookMs / 1_000)} s, at most ${figure(rssMaxMb)} MB resident)`;
    const body = rows.length === 0 ? "" : `\n${table(rows.map((row) => cellsOf(scenario, row)))}`;
    return `${title}${body}${failure === undefined ? "" : `\nFAILED: ${failure}`}`;
  });
  return [heading(report), ...parts].join("\n\n");
}

export function toJson(report: Report): string {
  return `${JSON.stringify(report, undefined, 2)}\n`;
}
