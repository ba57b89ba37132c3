/** What an endpoint chain and its parts decide, in order. */
import type { ChainText } from '../rules/chain.ts';
import type { Decision, Judgement } from '../../judgement.ts';
import type { ParsedRule } from '../rules/parse-rule.ts';

import { partOf } from '../../chain-names.ts';
import { addDecision } from '../../judgement.ts';

/** A `ChainReading`, or chains by name. */
type Texts = { text(name: string): ChainText | undefined } | ReadonlyMap<string, ChainText>;

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
  addDecision(decisions, { action, text: parsed.line.replace(/ ?-[jg] \S+$/, '') }, isUnconditional);
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
