/** Keeps counts in a text that outlives the agent, for as long as the kernel that counts. What goes wrong costs the counts and nothing else. */
import type { DataplaneName } from './dataplane-chooser.ts';
import type { SavedCounts } from './saved-counts.ts';

import { inTurns } from './in-turns.ts';
import { countsText, readCounts } from './saved-counts.ts';
import { messageOf } from '../core/error-text.ts';

/** Where counts outlive the agent. */
export interface CountStore {
  /** Before anything was counted; undefined: nothing is to be gone on from. Never rejects. */
  load(): Promise<SavedCounts | undefined>;
  /** `reader`: who counts now. Never rejects. */
  save(counts: SavedCounts, reader: DataplaneName): Promise<void>;
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
  const load = async (): Promise<SavedCounts | undefined> => {
    try {
      ofKernel = await scope();
      const found = await text.read();
      const saved = found === undefined || ofKernel === undefined ? 'nothing' : readCounts(found, ofKernel);
      if (typeof saved === 'object') {
        onLoad('counts');
        return saved;
      }
      onLoad(saved === 'other' ? 'another boot' : (saved ?? 'unreadable'));
    } catch (error) {
      onLoad('nothing');
      tell(messageOf(error));
    }
    return undefined;
  };
  const save = async (counts: SavedCounts, reader: DataplaneName): Promise<void> => {
    if (ofKernel === undefined) return;
    try {
      const now = await inTurns(countsText(counts, ofKernel, reader));
      if (now !== last) await text.write(now);
      last = now;
      tell(undefined);
    } catch (error) {
      tell(messageOf(error));
    }
  };
  return { load, save };
}
