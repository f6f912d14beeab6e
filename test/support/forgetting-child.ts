/**
 * A process that forgets a subject in the folder of its first argument, and is killed (by itself, with SIGKILL) right before the
 * write whose number is its second argument. It ends with 0 where there were fewer writes.
 */

import { openObjects } from "../../src/kv/objects.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { encryption, nameCards, people } from "./people.ts";
import { steppingKv, steppingObjects } from "./stepping.ts";

const [directory = "", stop = "0"] = process.argv.slice(2);
const location = { kind: "folder", url: `file:${directory}`, directory } as const;
let forgetting = false;
let steps = 0;

function onStep(): void {
  if (!forgetting) return;
  steps += 1;
  if (steps === Number(stop)) process.kill(process.pid, "SIGKILL");
}

const kv = steppingKv(await openSlateKv({ location, s3: {}, clock: systemClock }), onStep);
const options = { events: [people], encryption, projections: [nameCards] };
const store = await openEventStoreOn(kv, options, steppingObjects(await openObjects(location, {}), onStep));
forgetting = true;
await store.forget("person:1", { metadata: { actor: "privacy office" } });
forgetting = false;
await store.close();
