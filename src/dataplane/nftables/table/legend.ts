/** What rules of endpoint chains decide and count, and for whom, as their comments tell: where nobody knows what was written. */
import type { Direction } from '../../../core/vocabulary.ts';
import type { TracedDecision } from '../../dataplane.ts';
import type { PolicyRef, RuleRef } from '../../../policy/model.ts';
import type { Counted } from './counted.ts';
import type { Rule } from './rule.ts';

import { closedChain, isAlone, partOf, replyChain } from '../../chain-names.ts';
import { readRuleText } from './parse-rule.ts';

/** `line`: tells whether it is counted, which is what decides is. */
export function legendOf(chain: string, line: string, { target, comment }: Rule): readonly TracedDecision[] {
  const letter = /^PCL-([EI])/.exec(chain)?.[1];
  if (letter === undefined || !/(^| )counter /.test(line)) return [];
  const direction = letter === 'E' ? 'egress' : 'ingress';
  const isDenied = target.kind === 'drop' || (target.kind === 'goto' && partOf(target.chain) !== 'next');
  if (comment === undefined) return [{ action: isDenied ? 'deny' : 'would-deny', direction, policies: [], rules: [] }];
  const [, whose, names = ''] = /^(isolated|audited) by (.*)$/.exec(comment) ?? [];
  if (whose !== undefined) {
    return [{ action: isDenied ? 'deny' : 'would-deny', direction, policies: listed(names).map(policyIn), rules: [] }];
  }
  const rules = listed(comment).flatMap((each) => ruleIn(each, direction));
  const policies = [...new Map(rules.map(({ policy }) => [JSON.stringify(policy), policy])).values()];
  return isDenied
    ? [{ action: 'deny', direction, policies, rules: [] }]
    : [{ action: 'allow', direction, policies, rules }];
}

/** What each rule of the chain counts, as its comments tell. `lines`: with values of counters or without. */
export function countedBy(chain: string, lines: readonly string[]): readonly (Counted | undefined)[] {
  // A packet of those is counted for one policy, whatever others say.
  if (isAlone(partOf(chain))) return [];
  const rules = lines.map(readRuleText);
  const verdict = rules.findLast((rule) => rule?.comment?.startsWith('isolated by ') ?? false)?.comment ?? '';
  const isolating = listed(verdict.replace(/^isolated by /, ''))
    .filter(Boolean)
    .map(policyIn);
  const isReply = replyChain(chain) === chain;
  return rules.map((rule, index): Counted | undefined => {
    const [decided] = rule ? legendOf(chain, lines[index]!, rule) : [];
    if (!rule || !decided) return undefined;
    const { action, direction } = decided;
    const policies = decided.policies.length > 0 ? decided.policies : isolating;
    const isClosed = [closedChain(direction), replyChain(closedChain(direction))].includes(chain);
    if (policies.length === 0 && !isClosed) return undefined;
    return {
      action,
      direction,
      flow: flowOf(rule, isReply),
      of: isClosed ? { kind: 'closed' } : { kind: 'policies', policies },
    };
  });
}

function flowOf({ matches }: Rule, isReply: boolean): Counted['flow'] {
  if (isReply) return 'live';
  const [state] = matches.flatMap((match) => (match.kind === 'state' && !match.not ? match.states : []));
  if (state === 'invalid') return 'invalid';
  return state === 'established' || state === 'related' ? 'live' : 'new';
}

/** Without what was cut off. */
function listed(text: string): readonly string[] {
  const all = text.split(', ');
  return text.endsWith('...') ? all.slice(0, -1) : all;
}

function ruleIn(text: string, direction: Direction): readonly RuleRef[] {
  const [, policy = '', index] = /^(.*) (\d+)$/.exec(text) ?? [];
  return index === undefined ? [] : [{ policy: policyIn(policy), direction, index: Number(index) }];
}

function policyIn(text: string): PolicyRef {
  const [, clusterWide] = /^cluster-wide (.*)$/.exec(text) ?? [];
  if (clusterWide !== undefined) return { namespace: '', name: clusterWide };
  const slash = text.indexOf('/');
  return { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
}
