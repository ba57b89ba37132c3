/** What the chains that judge a pod decide, in order, and whether others allow less. */

/** `text`: what it asks, the same for the same matches. */
export interface Decision {
  readonly action: 'allow' | 'deny' | 'pass';
  readonly text: string;
}

/** In the order in which they are asked; undefined: there is no such chain, or it only tells what would be denied. */
export type Judgement = readonly Decision[] | undefined;

/** Adds a decision. `always`: it is one on every packet, so that nothing behind it is asked. */
export function addDecision(decisions: Decision[], decision: Decision, always: boolean): void {
  // What is denied anyway may be counted ahead of that.
  while (always && decision.action === 'deny' && decisions.at(-1)?.action === 'deny') decisions.pop();
  decisions.push(decision);
}

/**
 * Whether something may be denied that was allowed. It is not if what denies and passes is asked as before, but for denials that are gone,
 * and each rule that allows is still there and behind no more of these than it was. Errs towards yes.
 */
export function revokes(from: Judgement, to: Judgement): boolean {
  if (!from || !to) return true;
  const stops = to.filter(({ action }) => action !== 'allow');
  const earliest = new Map<string, number>();
  let at = 0;
  for (const { action, text } of to) {
    if (action !== 'allow') at++;
    else if (!earliest.has(text)) earliest.set(text, at);
  }
  let passed = 0;
  for (const { action, text } of from) {
    if (action === 'allow') {
      if ((earliest.get(text) ?? Number.POSITIVE_INFINITY) > passed) return true;
    } else if (stops[passed]?.action === action && stops[passed]!.text === text) passed++;
    else if (action === 'pass') return true;
  }
  return passed < stops.length;
}
