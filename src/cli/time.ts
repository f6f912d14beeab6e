/** Points in time as people and CloudEvents write them: RFC 3339, to the millisecond. */

const pattern = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;
const daysOfMonth = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const minuteMs = 60_000;
/** The calendar repeats after so many years; `Date.UTC` takes those before 100 for years of the 20th century. */
const cycleYears = 400;
const cycleMs = 146_097 * 24 * 60 * minuteMs;

function daysIn(year: number, month: number): number {
  const isLeapYear = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return month === 2 && isLeapYear ? 29 : (daysOfMonth[month - 1] ?? 0);
}

/** The moment, or `undefined` where the text is no RFC 3339 time. What is finer than a millisecond is cut off. */
export function parseTime(text: string): Date | undefined {
  const parts = pattern.exec(text);
  if (parts === null) return undefined;
  const [year, month, day] = [Number(parts[1]), Number(parts[2]), Number(parts[3])];
  const [hour, minute, second] = [Number(parts[4]), Number(parts[5]), Number(parts[6])];
  const [zoneHour, zoneMinute] = [Number(parts[9] ?? 0), Number(parts[10] ?? 0)];
  if (day === 0 || day > daysIn(year, month)) return undefined;
  // The 60th second is a leap second; here it is the moment after the 59th.
  if (hour > 23 || minute > 59 || second > 60 || zoneHour > 23 || zoneMinute > 59) return undefined;
  const ms = Number((parts[7] ?? "").slice(0, 3).padEnd(3, "0"));
  const zoneMs = (zoneHour * 60 + zoneMinute) * minuteMs * (parts[8] === "-" ? -1 : 1);
  return new Date(Date.UTC(year + cycleYears, month - 1, day, hour, minute, second, ms) - cycleMs - zoneMs);
}
