/** Events as a shop writes them: the small one that appends are measured with, and a wide one with nested lists. */

import { seededRandom } from "./random.ts";

export interface SampleEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** 229 bytes of JSON as data, and two ids as metadata. */
export function sampleEvent(number: number): SampleEvent {
  const serial = String(10_000_000 + (number % 90_000_000));
  return {
    type: "OrderPlaced",
    data: {
      orderId: `order-${serial}`,
      customerId: `customer-${serial}`,
      placedAt: "2026-03-14T09:26Z",
      totalCents: 12_345,
      items: [
        { sku: "SKU-00012345", quantity: 2, priceCents: 4_995 },
        { sku: "SKU-00067890", quantity: 1, priceCents: 2_355 },
      ],
    },
    metadata: {
      correlationId: `0199e6a1-7c3e-7b4a-9f10-0000${serial}`,
      causationId: `0199e6a1-7c3e-7b4a-9f11-0000${serial}`,
    },
  };
}

const streets = ["Keizersgracht", "Prinsengracht", "Herengracht", "Singel", "Damrak"];
const words = ["blue", "cotton", "large", "organic", "limited", "washed", "slim", "classic", "warm", "light"];

/** The data of a wide event: a dozen fields, a nested address, and a list of one to five lines. */
export function wideEventData(number: number): Readonly<Record<string, unknown>> {
  const random = seededRandom(number + 1);
  const lines = Array.from({ length: 1 + random.below(5) }, (_, index) => ({
    lineNumber: index + 1,
    sku: `SKU-${10_000 + random.below(5_000)}`,
    description: [random.below(10), random.below(10), random.below(10)].map((word) => words[word]).join(" "),
    quantity: 1 + random.below(4),
    unitPriceCents: 100 * (1 + random.below(200)) - 5,
    discountPercent: random.below(4) === 0 ? 10 : 0,
  }));
  const totalCents = lines.reduce((sum, line) => sum + line.quantity * line.unitPriceCents, 0);
  return {
    orderId: `order-${1_000_000 + number}`,
    customerId: `customer-${random.below(100_000)}`,
    placedAt: new Date(Date.UTC(2026, 0, 1) + number * 61_803).toISOString(),
    channel: random.below(3) === 0 ? "app" : "web",
    currency: "EUR",
    status: "placed",
    totalCents,
    taxCents: Math.round(totalCents * 0.21),
    giftWrapped: random.below(10) === 0,
    couponCode: random.below(5) === 0 ? `SAVE${random.below(50)}` : null,
    shippingAddress: {
      name: `Customer ${random.below(100_000)}`,
      street: `${streets[random.below(5)]} ${1 + random.below(400)}`,
      postalCode: `${1_000 + random.below(100)} AB`,
      city: "Amsterdam",
      country: "NL",
    },
    lines,
  };
}
