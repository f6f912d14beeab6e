/** One sample of everything that the hash chain and dropped events put into storage: `test/fixtures/chain-1.json` has the bytes. */

import {
  beginChain,
  ChainLink,
  encodeChainLink,
  eventDigest,
  firstLink,
  withChainEnd,
} from "../../src/format/chain.ts";
import { type DroppedSegment, encodeDroppedSegment } from "../../src/format/dropped.ts";
import { chainLinkKey, droppedDigestsKey, droppedRunsKey } from "../../src/format/key-families.ts";
import { sampleStored } from "./format-samples.ts";

export const sampleDropped: DroppedSegment = {
  segment: 2,
  runs: [
    { fromPosition: 2_049, toPosition: 2_050, reason: "expired" },
    { fromPosition: 2_051, toPosition: 2_051, reason: "archived" },
    { fromPosition: 3_072, toPosition: 3_072, reason: "deleted" },
  ],
  digests: Buffer.from(Array.from({ length: 4 * 32 }, (_, index) => index)),
  extension: new Uint8Array([7, 1, 9]),
};

/** Everything, as hexadecimal text by name. */
export function encodeChainSamples(): Record<string, string> {
  const link = new ChainLink(firstLink(1_000));
  for (const event of sampleStored()) link.add(event);
  const [runs, digests] = encodeDroppedSegment(sampleDropped);
  const bytes: Record<string, Uint8Array> = {
    "key: link": chainLinkKey(2_048),
    "key: dropped runs": droppedRunsKey(2),
    "key: dropped digests": droppedDigestsKey(2),
    digests: Buffer.concat(sampleStored().map(eventDigest)),
    "first link": firstLink(1_000),
    "link behind the samples": link.value(),
    "link row": encodeChainLink(2_048, link.value()).value,
    "end of the chain": withChainEnd(Buffer.of(9, 1, 5), { fromPosition: 1_000, position: 1_004, link: link.value() }),
    "chain that begins": withChainEnd(new Uint8Array(0), beginChain(2 ** 40)),
    "dropped runs": runs.value,
    "dropped digests": digests.value,
  };
  return Object.fromEntries(Object.entries(bytes).map(([name, value]) => [name, Buffer.from(value).toString("hex")]));
}
