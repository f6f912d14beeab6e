/** A table of prices from a JSON file. All of it must be there: a price that is missing would silently be another storage's. */

import { readFile } from "node:fs/promises";
import { printable } from "../errors.ts";
import { type ObjectStorePrices, s3StandardPrices } from "../index.ts";
import { CommandFailure, systemCodeOf } from "./failure.ts";

function bad(path: string, problem: string, cause?: unknown): CommandFailure {
  return new CommandFailure("bad-input", `The prices ${problem}: ${path}`, cause);
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT")
      throw new CommandFailure("not-found", `There is no such file: ${path}`, error);
    throw new CommandFailure("input-failed", `The file cannot be read (${systemCodeOf(error) ?? "unknown"}): ${path}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CommandFailure("bad-input", `The file is no JSON: ${path}`, error);
  }
}

/** Reads any JSON object; `not-found`, `input-failed` or `bad-input` where it is none. */
export async function readJsonObject(path: string): Promise<Readonly<Record<string, unknown>>> {
  const value = await readJson(path);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw new CommandFailure("bad-input", `The file holds no JSON object: ${path}`);
}

/** The prices in the file; without one, those of S3 Standard in us-east-1. */
export async function readPrices(path: string | undefined): Promise<ObjectStorePrices> {
  if (path === undefined) return s3StandardPrices;
  const given = await readJsonObject(path);
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(s3StandardPrices, name)) throw bad(path, `have a field that is not known, ${printable(name)}`);
  }
  const text = (name: "name" | "source" | "currency"): string => {
    const value = given[name];
    if (typeof value === "string" && value !== "") return value;
    throw bad(path, `must have a text as ${name}`);
  };
  const price = (name: keyof ObjectStorePrices): number => {
    const value = given[name];
    if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
    throw bad(path, `must have a number from 0 as ${name}`);
  };
  return {
    name: text("name"),
    source: text("source"),
    currency: text("currency"),
    perMillionPuts: price("perMillionPuts"),
    perMillionLists: price("perMillionLists"),
    perMillionGets: price("perMillionGets"),
    perMillionDeletes: price("perMillionDeletes"),
    perGigabyteMonth: price("perGigabyteMonth"),
  };
}
