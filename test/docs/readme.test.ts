/** The README's programs run as they stand. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { temporaryFolder } from "../support/backends.ts";

setDefaultTimeout(60_000);

const root = resolve(import.meta.dir, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const programs = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
// Inside the package, so that `strata` is found as it would be in a project that has installed it.
const folder = mkdtempSync(join(root, ".readme-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(program: string, index: number): Promise<string> {
  await using working = await temporaryFolder();
  const path = join(folder, `program-${index}.ts`);
  writeFileSync(path, program);
  const child = Bun.spawn([process.execPath, path], { cwd: working.path, stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect({ errors, exitCode: await child.exited }).toEqual({ errors: "", exitCode: 0 });
  return output;
}

describe("The README", () => {
  test("begins with a program of at most 20 lines", () => {
    expect(programs[0]?.trimEnd().split("\n").length).toBeLessThanOrEqual(20);
    expect(readme.indexOf("```ts")).toBeLessThan(300);
  });

  const expected: readonly RegExp[] = [
    /^1 OrderPlaced [\s\S]*customerId: "kim"/,
    /^1 [\s\S]*by: "kim"/,
    /^conflict\n$/,
    /^2 \[ "cup" \] \[\]\nnot-placed \{\n? *sku: "cup",?\n?\s*\}\n$/,
    /^2\n$/,
    /^three tests passed\n$/,
    /^3 [\s\S]*n: 5[\s\S]*2 [\s\S]*n: 3[\s\S]*3\n1 2\n$/,
    /^Bonn Aachen\nundefined\n3 kim \{[\s\S]*path: "\/city"[\s\S]*before: "Cottbus"[\s\S]*after: "Bonn"[\s\S]*\}\n\/city 3\n$/,
    /heard[\s\S]*amount: 5/,
    /orders: 1[\s\S]*BillSent[\s\S]*mailed order-1 true\n$/,
    /^Placed 1\n10\n$/,
    /customer: "kim"[\s\S]*total: 20/,
    /^invalid-event data.quantity\n$/,
    /^1 to 2 are truncated\n3 cart-1 Added\n4 to 6 are archived\n7 \$strata-lifecycle \$retention-set\n/,
    /^null Rome forgotten 1\n$/,
    /^a writes\nb writes\n$/,
    /^\d+ OrderPlaced \[\n?[\s\S]*\]\n$/,
    /^true 0\ntrue\n2 1\n$/,
  ];
  for (const [index, program] of programs.entries()) {
    test(`has a program ${index + 1} that does what it says`, async () => {
      expect(await run(program, index)).toMatch(expected[index] ?? /a program that is not expected/);
    });
  }

  test("has programs that compile", async () => {
    for (const [index, program] of programs.entries()) writeFileSync(join(folder, `program-${index}.ts`), program);
    const config = {
      extends: "../tsconfig.json",
      compilerOptions: { isolatedDeclarations: false, declaration: false },
      include: ["*.ts"],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const compiler = Bun.spawn([process.execPath, "x", "tsc", "-p", folder], {
      cwd: root,
      stdout: "pipe",
      stderr: "pipe",
    });
    expect(await compiler.stdout.text()).toBe("");
    expect(await compiler.exited).toBe(0);
  });

  test("names only files that are there", () => {
    for (const match of readme.matchAll(/(?:`|bun )((?:test|src|bench|examples)\/[a-z0-9/.-]+)/g)) {
      expect({ path: match[1], there: Bun.spawnSync(["test", "-e", join(root, match[1] ?? "")]).exitCode }).toEqual({
        path: match[1],
        there: 0,
      });
    }
  });
});
