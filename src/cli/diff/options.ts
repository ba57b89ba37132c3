import type { Way } from '../../cluster/merge-objects.ts';
import type { Environment, Flag, Given } from '../flags.ts';
import type { ViewOptions } from '../matrix/options.ts';
import type { Reading } from '../read-value.ts';
import type { ObjectSource } from '../source/options.ts';

import { WAYS } from '../../cluster/merge-objects.ts';
import { CHANGES, type Change } from '../../policy/matrix/changes.ts';
import { outputFlag } from '../output-flag.ts';
import { allValues, optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { readViewOptions, VIEW_FLAGS } from '../matrix/options.ts';
import { notA, oneOf, readBoolean, readText } from '../read-value.ts';
import { AGENT_POD_FLAGS, type AgentPods, readAgentPods } from '../source/agents.ts';
import { readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

const OUTPUTS = ['text', 'markdown', 'json', 'yaml', 'html'] as const;

/** What ends with exit code 1; `exposed`: pods of a namespace, or of any, become reachable from outside. */
export type Failure =
  | { readonly kind: Change | 'cut' }
  | { readonly kind: 'exposed'; readonly namespace: string | undefined };

export const DIFF_FLAGS = {
  ...SOURCE_FLAGS,
  file: { ...SOURCE_FLAGS.file, help: 'what is to come: files, folders, or - for standard input; may be repeated' },
  base: {
    name: 'base',
    short: 'b',
    placeholder: '<path>',
    help: 'manifests of what there is, instead of a cluster: files, folders, or -; may be repeated',
    read: readText,
  },
  kubeconfig: { ...SOURCE_FLAGS.kubeconfig, help: 'of the cluster that is changed, where no --base is given' },
  as: {
    name: 'as',
    placeholder: '<way>',
    help: 'apply: it is added, or replaces what has its name; prune: and other policies of its namespaces are gone, and cluster-wide ones if it has any; whole: all else is gone. apply for a cluster, whole with --base',
    read: oneOf(WAYS),
  },
  ...VIEW_FLAGS,
  agents: {
    name: 'agents',
    help: 'ask the agents of the cluster for live connections: those that would be cut are counted',
    read: readBoolean,
  },
  ...AGENT_POD_FLAGS,
  connections: {
    name: 'connections',
    placeholder: '<file>',
    help: 'live connections (conntrack -L, /flows of an agent, or what recommend reads): those that would be cut are counted; may be repeated',
    read: readText,
  },
  failOn: {
    name: 'fail-on',
    placeholder: '<what>',
    help: 'exit code 1 for newly-allowed, newly-denied, cut (a live connection), exposed or exposed=NAMESPACE (reachable from outside); may be repeated',
    read: readFailure,
  },
  output: outputFlag(OUTPUTS, ' (one page that needs no network)'),
} as const satisfies Record<string, Flag<unknown>>;

export interface DiffOptions extends ViewOptions {
  readonly base: ObjectSource;
  readonly coming: ObjectSource;
  readonly as: Way;
  readonly connections: readonly string[];
  /** Undefined: they are not asked. */
  readonly agents: AgentPods | undefined;
  readonly failOn: readonly Failure[];
  readonly output: (typeof OUTPUTS)[number];
}

/** Throws `UsageProblem`. */
export function readDiffOptions(given: Given, env: Environment): DiffOptions {
  const coming = readObjectSource(given, env, 'diff');
  const base = { ...coming, files: allValues(DIFF_FLAGS.base, given) };
  const connections = allValues(DIFF_FLAGS.connections, given);
  const asksAgents = optionalValue(DIFF_FLAGS.agents, given, env) ?? false;
  if (asksAgents && base.files.length > 0)
    throw new UsageProblem('--agents: with --base there is no cluster to ask; --connections takes what was saved');
  if (coming.files.length === 0) throw new UsageProblem('--file: required: the manifests that are to come');
  if ([...coming.files, ...base.files, ...connections].filter((file) => file === '-').length > 1)
    throw new UsageProblem('standard input (-) can be read but once');
  return {
    base,
    coming,
    as: optionalValue(DIFF_FLAGS.as, given, env) ?? (base.files.length > 0 ? 'whole' : 'apply'),
    ...readViewOptions(given, env),
    connections,
    agents: asksAgents ? readAgentPods(given, env) : undefined,
    failOn: allValues(DIFF_FLAGS.failOn, given),
    output: requiredValue(DIFF_FLAGS.output, given, env),
  };
}

function readFailure(text: string): Reading<Failure> {
  const [, namespace] = /^exposed=(.+)$/.exec(text) ?? [];
  if (text === 'exposed' || namespace !== undefined) return { value: { kind: 'exposed', namespace } };
  const kind = ([...CHANGES, 'cut'] as const).find((each) => each === text);
  return kind ? { value: { kind } } : notA(text, 'newly-allowed, newly-denied, cut, exposed or exposed=NAMESPACE');
}
