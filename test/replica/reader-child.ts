/** Opens a reader on the folder it is told and says, on each line it is sent, how it is: to be stopped and resumed from outside. */

import { openTunedReader } from "../../src/store/open-event-store-reader.ts";

const [url = "", tuning = "{}"] = process.argv.slice(2);
const reader = await openTunedReader({ url, pollIntervalMs: 100 }, JSON.parse(tuning));
process.stdout.write("open\n");
for await (const _ of console) {
  process.stdout.write(`${JSON.stringify({ ...reader.health(), ...reader.stats().storage })}\n`);
}
process.exit(0);
