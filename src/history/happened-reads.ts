/**
 * What is told of streams in a view of what had happened by a time. Such events may lie anywhere in a stream, so the stream
 * itself is read: from its end and from its beginning, to the first event that counts.
 */

import { checkInteger, checkOptions } from "../log/arguments.ts";
import type { EventReader, ListStreamsOptions, StreamInfo } from "../log/event-store.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";

/** `reader`, whose events are those that had happened, with what it tells of streams made to agree with them. */
export function happenedReads(reader: EventReader): EventReader {
  const infoOf = async (info: StreamInfo | undefined): Promise<StreamInfo | undefined> => {
    if (info === undefined) return undefined;
    const newest = await firstOf(reader.readStream(info.streamName, { direction: "backwards", limit: 1 }));
    const oldest = await firstOf(reader.readStream(info.streamName, { limit: 1 }));
    if (newest === undefined || oldest === undefined) return undefined;
    const { version, position: lastPosition, recordedAt: lastRecordedAt } = newest;
    return { ...info, version, lastPosition, lastRecordedAt, created: oldest.recordedAt };
  };
  return {
    ...reader,
    streamInfo: async (streamName) => await infoOf(await reader.streamInfo(checkName(streamName, "streamName"))),
    listStreams: (options) => {
      const given = checkOptions(options, ["category", "prefix", "after", "limit"]);
      const limit = checkInteger(given.limit, "limit", 1) ?? Number.POSITIVE_INFINITY;
      const { limit: _, ...which } = given;
      const all = reader.listStreams(which as ListStreamsOptions);
      return (async function* (): AsyncGenerator<StreamInfo> {
        let left = limit;
        for await (const one of all) {
          const info = await infoOf(one);
          if (info === undefined) continue;
          yield info;
          left -= 1;
          if (left <= 0) return;
        }
      })();
    },
  };
}

async function firstOf(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent | undefined> {
  for await (const event of events) return event;
  return undefined;
}
