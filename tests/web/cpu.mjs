// CPU seconds of all processes below this one whose program is Chromium.
import { readdirSync, readFileSync } from 'node:fs';

export function browserCpu() {
  const parents = new Map(), ticks = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      parents.set(Number(name), Number(fields[1]));
      // utime, stime, and of children that have ended
      if (/chrom/.test(stat.slice(0, stat.lastIndexOf(')')))) ticks.set(Number(name), [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i]), 0));
    } catch {
      // ended meanwhile
    }
  }
  let sum = 0;
  for (const [id, value] of ticks) {
    let at = id;
    while (at > 1 && at !== process.pid) at = parents.get(at) ?? 0;
    if (at === process.pid) sum += value;
  }
  return sum / 100;
}
