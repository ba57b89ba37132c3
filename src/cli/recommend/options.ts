import type { Direction } from '../../core/vocabulary.ts';
import type { Environment, Flag, Given } from '../flags.ts';

import { DIRECTIONS } from '../../core/vocabulary.ts';
import { outputFlag } from '../output-flag.ts';
import { allValues, optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { integer, oneOf, readBoolean, readText } from '../read-value.ts';
import { AGENT_POD_FLAGS, type AgentPods, readAgentPods } from '../source/agents.ts';
import { type ObjectSource, readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

const OUTPUTS = ['yaml', 'json'] as const;

export const RECOMMEND_FLAGS = {
  flows: {
    name: 'flows',
    placeholder: '<file>',
    help:
      "what was seen: conntrack -L, the agents' log, /denials or a bundle, lines of JSON, or - for standard input; may be repeated; " +
      'absent: agents are asked for what they would deny',
    read: readText,
  },
  agents: {
    name: 'agents',
    help: "besides --flows, ask agents for what they would deny and for policies' counters",
    read: readBoolean,
  },
  for: {
    name: 'for',
    placeholder: '<namespace>',
    help: 'write policies for pods of this namespace; may be repeated; absent: of all but kube-*',
    read: readText,
  },
  direction: {
    name: 'direction',
    placeholder: '<direction>',
    defaultText: 'both',
    help: 'ingress, egress or both: what policies are written for',
    read: oneOf([...DIRECTIONS, 'both']),
  },
  fromScratch: { name: 'from-scratch', help: 'as if there were no policy yet', read: readBoolean },
  includeDenied: { name: 'include-denied', help: 'take what was denied as wanted', read: readBoolean },
  maxBlocks: {
    name: 'max-blocks',
    placeholder: '<number>',
    defaultText: '8',
    help: 'addresses outside named one by one, then networks, for one port; beyond that everything outside is meant',
    read: integer(1, 1_000, ''),
  },
  audited: {
    name: 'audited',
    help: 'mark the policies as audited: nothing is dropped until that is taken off',
    read: readBoolean,
  },
  ...SOURCE_FLAGS,
  ...AGENT_POD_FLAGS,
  output: outputFlag(OUTPUTS),
} as const satisfies Record<string, Flag<unknown>>;

export interface RecommendCommandOptions extends ObjectSource {
  readonly flows: readonly string[];
  readonly asksAgents: boolean;
  readonly isFor: (namespace: string) => boolean;
  readonly directions: readonly Direction[];
  readonly fromScratch: boolean;
  readonly includesDenied: boolean;
  readonly maxBlocks: number;
  readonly audited: boolean;
  readonly agents: AgentPods;
  readonly output: (typeof OUTPUTS)[number];
}

/** Throws `UsageProblem`. */
export function readRecommendOptions(given: Given, env: Environment): RecommendCommandOptions {
  const source = readObjectSource(given, env, 'recommend');
  const flows = allValues(RECOMMEND_FLAGS.flows, given);
  const asksAgents = optionalValue(RECOMMEND_FLAGS.agents, given, env) ?? flows.length === 0;
  if (asksAgents && source.files.length > 0)
    throw new UsageProblem('--flows: required with manifests: what was seen between their pods');
  const named = new Set(allValues(RECOMMEND_FLAGS.for, given));
  const direction = requiredValue(RECOMMEND_FLAGS.direction, given, env);
  return {
    ...source,
    flows,
    asksAgents,
    isFor: (namespace) => (named.size > 0 ? named.has(namespace) : !namespace.startsWith('kube-')),
    directions: direction === 'both' ? DIRECTIONS : [direction],
    fromScratch: optionalValue(RECOMMEND_FLAGS.fromScratch, given, env) ?? false,
    includesDenied: optionalValue(RECOMMEND_FLAGS.includeDenied, given, env) ?? false,
    maxBlocks: requiredValue(RECOMMEND_FLAGS.maxBlocks, given, env),
    audited: optionalValue(RECOMMEND_FLAGS.audited, given, env) ?? false,
    agents: readAgentPods(given, env),
    output: requiredValue(RECOMMEND_FLAGS.output, given, env),
  };
}
