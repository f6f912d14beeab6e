/** `strata backup` and `strata restore`: a store copied to another place while it is in use, and a store made of that again. */

import { type BackupOptions, backupStore, type CopyReport, type RestoreOptions, restoreStore } from "../index.ts";
import { systemClock } from "../runtime/clock.ts";
import type { Arguments, OptionDescription } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { standardOutput } from "./output.ts";
import { Progress } from "./progress.ts";
import { formatBytes, formatCount, formatCounted, formatSeconds, visible } from "./text.ts";

const commonOptions: readonly OptionDescription[] = [
  { name: "endpoint", value: "URL", text: "where s3: places are served (default: $AWS_*)" },
  { name: "region", value: "NAME", text: "the region of s3: places (default: $AWS_REGION)" },
  { name: "to-endpoint", value: "URL", text: "the same of the target alone (default: as --endpoint)" },
  { name: "to-region", value: "NAME", text: "the same of the target alone (default: as --region)" },
  { name: "create-bucket", text: "make the target's bucket where there is none" },
  { name: "json", text: "write JSON, for programs" },
  { name: "help", short: "h", text: "show this text" },
];

const againNote =
  "Broken off or killed, it goes on when it is run again with the same places, with what changed meanwhile. Until it is through, nobody can open what is there. A target that holds anything else is refused.";

export const backupCommand: Command = {
  name: "backup",
  summary: "Copy a store to another place while it is in use",
  positionals: ["SOURCE_URL", "TARGET_URL"],
  options: [
    { name: "without-keys", text: "leave the keys of personal data behind: such fields cannot be read in the backup" },
    ...commonOptions,
  ],
  notes: [
    "Places are file:DIR or s3://bucket/prefix. The backup is as of one moment, whoever writes to the store meanwhile; nobody is fenced. It is a database of the same kind, which can be read and verified like a store, and written to by nobody. It is verified by the hash chain before it is called complete.",
    againNote,
    "The credentials need the right to put objects at the source, too: while it reads, the command leaves a mark there that keeps the garbage collector away. A command that is killed leaves it for five hours.",
  ],
  examples: ["strata backup s3://shop/events file:/backups/shop-2026-11-21"],
  run: (given) => run(given, "backup"),
};

export const restoreCommand: Command = {
  name: "restore",
  summary: "Make a store of a backup, where there is none",
  positionals: ["BACKUP_URL", "TARGET_URL"],
  options: [
    { name: "resume-processors", text: "let reactors, process managers and SQL projections go on by themselves" },
    ...commonOptions,
  ],
  notes: [
    "Nobody is fenced by that: a target that has a store is refused. The store is one of its own. What was appended to the first one after the backup is not in it: who keeps positions of that one must not go on with them. What acts on the world outside is paused in it, so that nothing happens twice by accident, until resumeProcessor or --resume-processors.",
    againNote,
  ],
  examples: ["strata restore file:/backups/shop-2026-11-21 s3://shop/events-again"],
  run: (given) => run(given, "restore"),
};

function optionsOf(given: Arguments, onProgress: BackupOptions["onProgress"]): BackupOptions & RestoreOptions {
  const [from = "", to = ""] = given.positionals;
  const endpoint = given.text("endpoint");
  const region = given.text("region");
  const s3 = (at: string | undefined, where: string | undefined): BackupOptions["fromS3"] & object => ({
    ...(at === undefined ? {} : { endpoint: at }),
    ...(where === undefined ? {} : { region: where }),
  });
  return {
    from,
    to,
    fromS3: s3(endpoint, region),
    toS3: {
      ...s3(given.text("to-endpoint") ?? endpoint, given.text("to-region") ?? region),
      createBucket: given.flag("create-bucket"),
    },
    ...(onProgress === undefined ? {} : { onProgress }),
  };
}

function readable(what: "backup" | "restore", report: CopyReport, elapsedMs: number): string {
  const { position, head, rows, bytes, rowsWritten, objects, objectBytes, resumed, pausedProcessors } = report;
  const lines: readonly (readonly [string, string])[] = [
    [
      what,
      `complete and verified, in ${formatSeconds(elapsedMs)}${resumed ? ", going on with an earlier attempt" : ""}`,
    ],
    ["last position", formatCount(position)],
    ["head", head?.text ?? "none: the store has no chain yet"],
    ["rows", `${formatCount(rows)} of ${formatBytes(bytes)}, ${formatCount(rowsWritten)} of them written`],
    ["objects", `${formatCounted(objects, "object")} of ${formatBytes(objectBytes)}`],
    ...(pausedProcessors.length === 0
      ? []
      : [["paused", pausedProcessors.map((name) => visible(name)).join(", ")] as const]),
  ];
  const width = Math.max(...lines.map(([term]) => term.length));
  return lines.map(([term, text]) => `${term.padEnd(width)}  ${text}\n`).join("");
}

async function run(given: Arguments, what: "backup" | "restore"): Promise<ExitCode> {
  const progress = new Progress(systemClock, process.stderr);
  const options = optionsOf(given, ({ phase, done }) => {
    if (phase !== "objects") progress.show({ events: done, fraction: undefined });
  });
  const report =
    what === "backup"
      ? await backupStore({ ...options, withKeys: !given.flag("without-keys") })
      : await restoreStore({ ...options, resumeProcessors: given.flag("resume-processors") });
  progress.end();
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify(report)}\n` : readable(what, report, progress.elapsedMs));
  await output.close();
  return exitCodes.ok;
}
