/** Tells the demo's story in lines that are pleasant to read; plain where the output is no terminal. */

const colours = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;

function paint(code: number, text: string): string {
  return colours ? `\u001b[${code}m${text}\u001b[0m` : text;
}

let chapters = 0;

/** Begins a chapter. */
export function chapter(title: string): void {
  chapters += 1;
  process.stdout.write(`\n${paint(1, `${chapters}. ${title}`)}\n`);
}

/** One thing that happened. */
export function say(text: string): void {
  process.stdout.write(`   ${text}\n`);
}

/** A value worth looking at, beside what it is. */
export function show(label: string, value: string): void {
  process.stdout.write(`   ${paint(2, label.padEnd(22))} ${paint(36, value)}\n`);
}

/** Something was refused, as it should be. */
export function refused(code: string, message: string): void {
  process.stdout.write(`   ${paint(33, `refused: ${code}`)} - ${message}\n`);
}

/** A figure with its unit, rounded to what was really measured. */
export function figure(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
