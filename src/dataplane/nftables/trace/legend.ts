/** What a rule of an endpoint chain decides, and for whom, as its comment tells: where nobody knows what was written. */
import type { Direction } from '../../../core/vocabulary.ts';
import type { TracedDecision } from '../../dataplane.ts';
import type { PolicyRef, RuleRef } from '../../../policy/model.ts';
import type { Rule } from '../table/rule.ts';

import { partOf } from '../../chain-names.ts';

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
