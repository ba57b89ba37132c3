/** What follows from a layout, for all who render or plan by it. */
import type { Direction } from '../../../core/vocabulary.ts';
import type { Layout } from './ruleset.ts';

/** A packet's egress is judged ahead of its ingress, and chains are made in the same order. */
export const JUDGING_ORDER = ['egress', 'ingress'] as const satisfies readonly Direction[];

export function sameLayout(a: Layout, b: Layout): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** Marks decide only while something is enforced; audit judges first packets alone and never touches a mark. */
export function stamps(layout: Layout): boolean {
  return layout.mode === 'enforce' && layout.marks !== undefined;
}

/** Without marks a live flow is never judged again. */
export function judgesReplies(layout: Layout): boolean {
  return stamps(layout);
}
