/** A replica verifies the store, and tells its head, while another process writes to it. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { kinds, openReader, openWriter, stopServer } from "../replica/places.ts";
import { WriterChild } from "../replica/writer.ts";
import { collect, until } from "../support/collect.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

for (const { name, available, create } of kinds) {
  test.skipIf(!available)(`A replica ${name} verifies beside a writer, again and again`, async () => {
    await using place = await create();
    await using writer = await WriterChild.start(place);
    await using reader = await openReader(place);
    const heads: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      const before = await reader.lastPosition();
      await until(async () => (await reader.lastPosition()) > before + 200, 30_000);
      heads.push(reader.chainHead()?.text ?? "");
      const report = await reader.verify(heads[0] === undefined ? {} : { against: heads[0] });
      expect(report.breaks).toEqual([]);
      expect(report.events).toBe(report.toPosition);
    }
    await writer.kill();
    await using next = await openWriter(place);
    for (const against of heads) expect(await next.verify({ against })).toMatchObject({ holds: true });
    expect((await collect(next.readAll())).length).toBe(await next.lastPosition());
  });
}
