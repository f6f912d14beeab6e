/** What personal data leaves in storage, from values that never change: the fixture of its format is made of these. */

import { encodeEvent } from "../../src/format/envelope.ts";
import { encodeErasure } from "../../src/format/erasure-record.ts";
import { erasureKey } from "../../src/format/key-families.ts";
import { encodeKeyRecord } from "../../src/format/key-record.ts";
import { encodeKeyShard } from "../../src/format/key-shard.ts";

const subject = "00112233445566778899aabbccddeeff";
const id = "0123456789abcdef";
const recordedAtMs = Date.UTC(2026, 0, 31, 12, 30);
const wrapped: Uint8Array = new Uint8Array(60).fill(7);

function eventBytes(): Buffer {
  const bytes = encodeEvent({
    id: "0198f2a0-1111-7222-8333-444455556666",
    idGiven: false,
    type: "Registered",
    schemaVersion: 1,
    tags: ["person:1", `$subject:${subject}`],
    occurredAtMs: undefined,
    metadata: { actor: "kim" },
    data: { id: "1", name: null },
    sealed: {
      subject: Buffer.from(subject, "hex"),
      keyId: Buffer.from(id, "hex"),
      paths: ["name", "address.street"],
      box: Buffer.alloc(48, 9),
    },
  });
  if ("issues" in bytes) throw new Error("A sample cannot be stored");
  return bytes;
}

/** By name, in hexadecimal. */
export function personalSamples(): Readonly<Record<string, string>> {
  const shard = {
    keys: new Map([[id, { subject, id, masterKeyId: "local:0011223344556677", createdAtMs: recordedAtMs, wrapped }]]),
    forgotten: new Map([["fedcba9876543210", { subject, id: "fedcba9876543210", forgottenAtMs: recordedAtMs + 1 }]]),
  };
  const record = { storeId: "store", createdAtMs: recordedAtMs, masterKeyId: "kms/1", wrappedSecret: wrapped };
  return {
    event: eventBytes().toString("hex"),
    shard: encodeKeyShard("keys/133", shard).toString("hex"),
    record: Buffer.from(encodeKeyRecord(record)).toString("hex"),
    erasure: encodeErasure(erasureKey(subject), { sinceMs: recordedAtMs, box: wrapped }).toString("hex"),
  };
}
