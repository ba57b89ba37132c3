/** Problems with objects, as lines of the log: each once when it comes and once when it is solved, and no more than somebody reads. */
import type { Problem } from '../policy/model.ts';
import type { Logger } from './log.ts';

/** Whoever changes an object again and again must not fill the log: so many lines at once, and so many a minute after that. */
const BURST_LINES = 100;
const LINES_PER_MINUTE = 20;
/** Of those solved, in one line. */
const MAX_NAMED = 3;

/** Takes all problems there are at each change of any. `now`: monotonic milliseconds. */
export function createProblemLog(
  log: Pick<Logger, 'warn' | 'info'>,
  now: () => number,
): (problems: readonly Problem[]) => void {
  let printed = new Set<string>();
  let room = BURST_LINES;
  let filledAtMs = now();
  const mayPrint = (): boolean => {
    const nowMs = now();
    room = Math.min(BURST_LINES, room + ((nowMs - filledAtMs) / 60_000) * LINES_PER_MINUTE);
    filledAtMs = nowMs;
    if (room < 1) return false;
    room--;
    return true;
  };
  return (problems) => {
    const lines = new Set(problems.map(problemText));
    const fresh = [...lines].filter((line) => !printed.has(line));
    const said = fresh.filter((line) => {
      const may = mayPrint();
      if (may) log.warn(line);
      return may;
    });
    const solved = [...printed].filter((line) => !lines.has(line));
    printed = new Set([...[...printed].filter((line) => lines.has(line)), ...said]);
    const left = fresh.length - said.length;
    if (left > 0 && mayPrint()) log.warn(`${left} more problems with objects; of many a minute only some are printed`);
    if (solved.length > 0 && mayPrint()) log.info(solvedLine(solved, lines.size));
  };
}

function solvedLine(solved: readonly string[], left: number): string {
  const more = solved.length - MAX_NAMED;
  const names = solved.slice(0, MAX_NAMED).join('; ') + (more > 0 ? `; and ${more} more` : '');
  return `solved: ${names}. ${left === 0 ? 'No problem with an object is left' : `Problems with objects left: ${left}`}`;
}

export function problemText({ object, field, message }: Problem): string {
  const name = object.namespace === undefined ? object.name : `${object.namespace}/${object.name}`;
  return `${object.kind} ${name}: ${field === '' ? '' : `${field}: `}${message}`;
}
