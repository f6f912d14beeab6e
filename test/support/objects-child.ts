/**
 * A process of its own that counts in an object of a folder: reads the number, adds one, and writes it under the tag it read,
 * until it has added as many as it was told. Arguments: the folder, the object's name, how many.
 */

import { openObjects } from "../../src/kv/objects.ts";

const [directory = "", name = "", count = "0"] = process.argv.slice(2);
await using objects = await openObjects({ kind: "folder", url: `file:${directory}`, directory }, {});
for (let added = 0; added < Number(count); ) {
  const found = await objects.get(name);
  const next = Buffer.from(String(Number(Buffer.from(found?.bytes ?? []).toString() || "0") + 1));
  const condition = found === undefined ? { ifAbsent: true as const } : { ifTag: found.tag };
  if ((await objects.put(name, next, condition)) !== "conflict") added += 1;
}
