/**
 * Runs two projections of a version, which build their documents anew where the store has those of an earlier one, and appends
 * meanwhile: `bun rebuilding-child.ts URL VERSION`. Says how far each has come, and once each has switched over.
 */

import { openEventStore } from "../../src/index.ts";
import { numbers } from "./numbers.ts";

const [url = "", given = ""] = process.argv.slice(2);
const version = Number(given);
const projections = [numbers("behind", "async", version), numbers("inline", "inline", version)];
const store = await openEventStore({ url, projections, onError: () => {} });

async function count(): Promise<void> {
  for (let n = await store.lastPosition(); ; n += 1)
    await store.append("counter-1", [{ type: "Counted", data: { n } }], { expectedVersion: n });
}

const counting = count();
const said = new Map<string, string>();
for (;;) {
  for (const { name, rebuild } of store.processors()) {
    const line = `${name} ${rebuild === undefined ? "serves" : rebuild.position}\n`;
    if (said.get(name) !== line) process.stdout.write(line);
    said.set(name, line);
  }
  await Promise.race([counting, Bun.sleep(1)]);
}
