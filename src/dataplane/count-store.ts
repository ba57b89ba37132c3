/** Keeps counts in a text that outlives the agent, for as long as the kernel that counts. What goes wrong costs the counts and nothing else. */
import type { KeptCounts } from './saved-counts.ts';

import { inTurns } from './in-turns.ts';
import { countsText, readCounts } from './saved-counts.ts';
import { messageOf } from '../core/error-text.ts';

/** Where counts outlive the agent. */
export interface CountStore {
  /** Before anything was counted. Never rejects. */
  load(counts: KeptCounts, nowMs: number): Promise<void>;
  /** Never rejects. */
  save(counts: KeptCounts): Promise<void>;
}

export interface KeptText {
  /** Undefined: there is none. */
  read(): Promise<string | undefined>;
  /** All of it or nothing. */
  write(text: string): Promise<void>;
}

export interface CountStoreOptions {
  readonly text: KeptText;
  /** Names the kernel that counts, as long as it runs; undefined: not known, so nothing is kept. */
  readonly scope: () => Promise<string | undefined>;
  readonly onLoad: (found: 'counts' | 'nothing' | 'another boot' | 'unreadable') => void;
  /** Undefined: it works again. Told once each. */
  readonly onProblem: (problem: string | undefined) => void;
}

export function createCountStore({ text, scope, onLoad, onProblem }: CountStoreOptions): CountStore {
  let ofKernel: string | undefined;
  let told: string | undefined;
  let last = '';
  const tell = (problem: string | undefined): void => {
    if (problem !== told) onProblem(problem);
    told = problem;
  };
  const load = async (counts: KeptCounts, nowMs: number): Promise<void> => {
    try {
      ofKernel = await scope();
      const found = await text.read();
      if (found === undefined || ofKernel === undefined) return onLoad('nothing');
      const saved = readCounts(found, ofKernel);
      if (saved === undefined) return onLoad('unreadable');
      if (saved === 'other') return onLoad('another boot');
      counts.restore(saved, nowMs);
      onLoad('counts');
    } catch (error) {
      onLoad('nothing');
      tell(messageOf(error));
    }
  };
  const save = async (counts: KeptCounts): Promise<void> => {
    if (ofKernel === undefined) return;
    try {
      const now = await inTurns(countsText(counts, ofKernel));
      if (now !== last) await text.write(now);
      last = now;
      tell(undefined);
    } catch (error) {
      tell(messageOf(error));
    }
  };
  return { load, save };
}
