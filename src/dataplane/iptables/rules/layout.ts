/** What follows from a layout, for all who render or plan by it. */
import type { Layout } from './ruleset.ts';

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
