/** What an endpoint chain and its parts decide, in order, and whether another one allows less. */
import type { ChainText } from '../rules/chain.ts';
import type { ParsedRule } from '../rules/parse-rule.ts';

import { partOf } from '../rules/names.ts';

/** `text`: what it asks, the same for the same matches. */
interface Decision {
  readonly action: 'allow' | 'deny' | 'pass';
  readonly text: string;
}

/** A `ChainReading`, or chains by name. */
type Texts = { text(name: string): ChainText | undefined } | ReadonlyMap<string, ChainText>;

/** In the order in which they are asked; undefined: there is no such chain, or it only tells what would be denied. */
type Judgement = readonly Decision[] | undefined;

export function judgedBy(endpoint: string, texts: Texts): Judgement {
  const textOf = (name: string): ChainText | undefined => ('text' in texts ? texts.text(name) : texts.get(name));
  const decisions: Decision[] = [];
  const visited = new Set<string>();
  const read = (name: string): boolean => {
    visited.add(name);
    const chain = textOf(name);
    if (!chain) return false;
    const behind = new Set<string>();
    for (const parsed of chain.rules) {
      if (parsed.kind === 'own' && parsed.rule.target.kind === 'goto') {
        const { chain: to } = parsed.rule.target;
        const part = partOf(to);
        if (part !== 'next' && (part !== 'denied' || !isWhole(textOf(to)))) return false;
        if (part === 'next') behind.add(to);
      }
      if (add(decisions, parsed) === 'end') break;
    }
    return [...behind].every((to) => visited.has(to) || read(to));
  };
  return read(endpoint) ? decisions : undefined;
}

/** Nobody put a rule into it that lets packets go. */
function isWhole(denied: ChainText | undefined): boolean {
  const rules = denied?.rules ?? [];
  return rules.some(isLastDrop) && !rules.some(mayAllow);
}

/** `end`: nothing behind it is asked. */
function add(decisions: Decision[], parsed: ParsedRule): 'end' | undefined {
  const action = actionOf(parsed);
  if (!action) return undefined;
  const isUnconditional = parsed.kind === 'own' && parsed.rule.matches.length === 0;
  // What is denied anyway may be counted ahead of that.
  while (isUnconditional && action === 'deny' && decisions.at(-1)?.action === 'deny') decisions.pop();
  const text = parsed.line.replace(/ ?-[jg] \S+$/, '');
  decisions.push({ action, text });
  return isUnconditional ? 'end' : undefined;
}

/** Undefined: it decides nothing. What others wrote may allow anything. */
function actionOf(parsed: ParsedRule): Decision['action'] | undefined {
  if (parsed.kind === 'foreign') return 'allow';
  const { target } = parsed.rule;
  switch (target.kind) {
    case 'return':
      return 'allow';
    case 'drop':
      return 'deny';
    case 'goto':
      return partOf(target.chain) === 'next' ? 'pass' : 'deny';
    case 'jump':
    case 'stamp-epoch':
    case 'set-denied-flag':
    case 'log':
    case 'none':
      return undefined;
  }
}

function mayAllow(parsed: ParsedRule): boolean {
  return parsed.kind === 'foreign' || parsed.rule.target.kind === 'return';
}

function isLastDrop(parsed: ParsedRule): boolean {
  return parsed.kind === 'own' && parsed.rule.target.kind === 'drop' && parsed.rule.matches.length === 0;
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
