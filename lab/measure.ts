/**
 * Compares what packets do with what is predicted, without mistaking a slow machine for a policy that fails, and without letting
 * an answer that comes and goes pass for a good one. Pure but for the clock and the probes it is given.
 */
import type { MatrixProbe, ProbeResult } from './network/types.ts';
import type { MatrixCell } from './matrix.ts';

import { agrees, arrived } from './matrix.ts';

/** What is asked, and whether it should arrive. */
export type AskedCell = Pick<MatrixCell, 'probe' | 'predicted'>;

/** A `Matrix`, or any other list of questions. */
export interface Questions {
  readonly cells: readonly AskedCell[];
}

/** `flaps`: it gave different answers although nothing changed. */
export type CellVerdict = 'agrees' | 'differs' | 'flaps';

export interface MeasuredCell {
  /** The answer that decided: the last one, or the wrong one of a cell that flaps. */
  readonly result: ProbeResult;
  readonly verdict: CellVerdict;
}

export interface Measurement {
  /** Cell i belongs to the matrix's cell i. */
  readonly cells: readonly MeasuredCell[];
  /** From the start until the first round in which all cells were right was sent; undefined if there was none. */
  readonly agreedAfterMs: number | undefined;
}

export interface MeasureOptions {
  readonly probe: (probes: readonly MatrixProbe[]) => Promise<readonly ProbeResult[]>;
  /** How long cells may be wrong before that counts. */
  readonly followMs: number;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** Told of each round that is not the first: why it is needed and for how many cells. */
  readonly onWait?: (why: 'following' | 'slow-answers' | 'again', cells: number) => void;
  readonly signal?: AbortSignal;
}

/** A wrong cell that answers at once would be asked without end otherwise. */
const PAUSE_MS = 30;
/** Silence this long, in answer to so many packets, is no matter of a busy machine. */
const PATIENT = { timeoutMs: 2000, attempts: 8 } as const;
/** Each of these must be answered for a cell that was silent once to count as merely slow: one packet, one second. */
const SUSPECT = { timeoutMs: 1000, attempts: 1 } as const;
const SUSPECT_ROUNDS = 3;

/**
 * Asks all cells until they are right or `followMs` is over, asks those still wrong once more with all patience, and then asks
 * everything again. In that last round a cell that is dropped and should not be is asked several times more, one packet each:
 * answered every time it was the machine, otherwise it flaps. A cell that arrives and should not flaps at once: no machine is too
 * slow to drop a packet.
 */
export async function measureMatrix(matrix: Questions, options: MeasureOptions): Promise<Measurement> {
  const started = options.now();
  const results = new Map<AskedCell, ProbeResult>();
  const ask = async (cells: readonly AskedCell[], patience: Partial<MatrixProbe> = {}): Promise<AskedCell[]> => {
    const answers = await options.probe(cells.map(({ probe }) => ({ ...probe, ...patience })));
    for (const [index, cell] of cells.entries()) results.set(cell, answers[index]!);
    return cells.filter((cell) => !agrees(cell, results.get(cell)!));
  };
  let asked = started;
  let wrong = await ask(matrix.cells);
  while (wrong.length > 0 && options.now() - started < options.followMs && !options.signal?.aborted) {
    options.onWait?.('following', wrong.length);
    await options.sleep(PAUSE_MS);
    asked = options.now();
    wrong = await ask(wrong);
  }
  if (wrong.length > 0) {
    options.onWait?.('slow-answers', wrong.length);
    asked = options.now();
    wrong = await ask(wrong, PATIENT);
  }
  const agreedAfterMs = wrong.length === 0 ? asked - started : undefined;
  options.onWait?.('again', matrix.cells.length);
  const flapping = await findFlapping(matrix, results, ask);
  return { cells: verdicts(matrix, results, new Set(wrong), flapping), agreedAfterMs };
}

type Ask = (cells: readonly AskedCell[], patience?: Partial<MatrixProbe>) => Promise<AskedCell[]>;

/** Cells whose answers change, with the answer they gave when they were wrong. */
async function findFlapping(
  matrix: Questions,
  results: ReadonlyMap<AskedCell, ProbeResult>,
  ask: Ask,
): Promise<ReadonlyMap<AskedCell, ProbeResult>> {
  const before = new Map(results);
  await ask(matrix.cells);
  const changed = matrix.cells.filter((cell) => arrived(results.get(cell)!) !== arrived(before.get(cell)!));
  const isSuspect = (cell: AskedCell): boolean => cell.predicted && agrees(cell, before.get(cell)!);
  const flapping = new Map<AskedCell, ProbeResult>();
  const wrongAnswer = (cell: AskedCell): ProbeResult =>
    [results.get(cell)!, before.get(cell)!].find((result) => !agrees(cell, result))!;
  for (const cell of changed) if (!isSuspect(cell)) flapping.set(cell, wrongAnswer(cell));
  let suspects = changed.filter(isSuspect);
  for (let round = 0; round < SUSPECT_ROUNDS && suspects.length > 0; round++) {
    const silent = new Set(await ask(suspects, SUSPECT));
    for (const cell of silent) flapping.set(cell, results.get(cell)!);
    suspects = suspects.filter((cell) => !silent.has(cell));
  }
  return flapping;
}

function verdicts(
  matrix: Questions,
  results: ReadonlyMap<AskedCell, ProbeResult>,
  wrong: ReadonlySet<AskedCell>,
  flapping: ReadonlyMap<AskedCell, ProbeResult>,
): readonly MeasuredCell[] {
  return matrix.cells.map((cell) => {
    const flapped = flapping.get(cell);
    if (flapped) return { result: flapped, verdict: 'flaps' };
    return { result: results.get(cell)!, verdict: wrong.has(cell) ? 'differs' : 'agrees' };
  });
}
