/**
 * The names by which import and export understand each other, beyond those of CloudEvents itself. What an export writes,
 * an import reads back to the same event; to everybody else these are extensions like any other.
 */

export const attribute = {
  data: "data",
  dataBase64: "data_base64",
  tags: "tags",
  /** When the exporting store recorded the event. Import leaves it out: its own store records anew. */
  recordedAt: "recordedat",
  schemaVersion: "strataschemaversion",
  /** Instead of `time`, for years before 0 and after 9999. */
  occurredAtMs: "strataoccurredatms",
  /** Metadata that does not fit extensions of its own, as JSON text. */
  metadata: "stratametadata",
  /** What JSON cannot say of data and metadata: tables of types, as JSON text. */
  types: "stratatypes",
  /** Personal fields that are in the data as plain text: an import would store them so, and refuses. */
  personal: "stratapersonal",
  /** Personal fields that are null. To an import it is metadata like any other. */
  erased: "strataerased",
} as const;

/** The source of exported events whose metadata has none; import leaves it out. */
export const unknownSource = "urn:strata:unknown";

/** Attributes that do not become metadata. */
export const foreignAttributes: ReadonlySet<string> = new Set([
  "specversion",
  "id",
  "type",
  "subject",
  "time",
  "datacontenttype",
  attribute.data,
  attribute.dataBase64,
  attribute.recordedAt,
  attribute.schemaVersion,
  attribute.occurredAtMs,
  attribute.metadata,
  attribute.types,
]);

/** Extensions that stand for metadata of another name; CloudEvents writes all names in lower case. */
export const metadataNames: ReadonlyMap<string, string> = new Map([
  ["correlationid", "correlationId"],
  ["causationid", "causationId"],
  ["actor", "actor"],
]);
