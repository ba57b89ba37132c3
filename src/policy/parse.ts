import type { Policy, Problem } from './model.ts';

export interface ParsedPolicy {
  /** Absent only when the object has no usable name and namespace. */
  readonly policy?: Policy;
  readonly problems: readonly Problem[];
}

/** Reads a NetworkPolicy as the API server (or a file) gives it. Never throws, whatever `object` is. */
export function parsePolicy(object: unknown): ParsedPolicy {
  return { problems: [{ object: { kind: 'NetworkPolicy', name: String(typeof object) }, field: '', message: 'not yet' }] };
}
