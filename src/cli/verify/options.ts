import type { Environment, Flag, Given } from '../flags.ts';

import { outputFlag } from '../output-flag.ts';
import { optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { integer, readBoolean, readText } from '../read-value.ts';
import { AGENT_POD_FLAGS, type AgentPods, readAgentPods } from '../source/agents.ts';
import { type ObjectSource, readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

const OUTPUTS = ['text', 'json', 'yaml', 'junit'] as const;
const MAX_NODES = 1_000;

export interface VerifyOptions extends ObjectSource {
  readonly probe: boolean;
  /** Undefined: all. */
  readonly nodes: number | undefined;
  readonly image: string;
  readonly startMs: number;
  readonly settleMs: number;
  readonly agents: AgentPods;
  readonly output: (typeof OUTPUTS)[number];
}

export const VERIFY_FLAGS = {
  ...SOURCE_FLAGS,
  file: {
    ...SOURCE_FLAGS.file,
    help: 'expectations, and manifests in the place of a cluster: files, folders, or - for standard input; may be repeated',
  },
  probe: { name: 'probe', help: 'expectations of a cluster by packets instead of by policies', read: readBoolean },
  nodes: {
    name: 'nodes',
    placeholder: '<number>',
    help: 'probe a sample of so many nodes; absent: all',
    read: integer(1, MAX_NODES, ''),
  },
  image: {
    name: 'image',
    placeholder: '<image>',
    defaultText: 'busybox:1.37',
    help: 'of the pods that probe: one with sh, timeout, wget and httpd of busybox',
    read: readText,
  },
  start: {
    name: 'start',
    placeholder: '<seconds>',
    defaultText: '120',
    help: 'how long pods may take to run, 1 to 3600',
    read: integer(1, 3_600, ' seconds'),
  },
  settle: {
    name: 'settle',
    placeholder: '<seconds>',
    defaultText: '30',
    help: 'how long packets may take to follow policies, 1 to 600',
    read: integer(1, 600, ' seconds'),
  },
  ...AGENT_POD_FLAGS,
  output: outputFlag(OUTPUTS),
} as const satisfies Record<string, Flag<unknown>>;

/** Throws `UsageProblem`. */
export function readVerifyOptions(given: Given, env: Environment): VerifyOptions {
  const source = readObjectSource(given, env, 'verify');
  const probe = optionalValue(VERIFY_FLAGS.probe, given, env) ?? false;
  if (probe && source.files.length === 0)
    throw new UsageProblem('--probe: goes with -f; without expectations packets are sent anyway');
  return {
    ...source,
    probe,
    nodes: optionalValue(VERIFY_FLAGS.nodes, given, env),
    image: requiredValue(VERIFY_FLAGS.image, given, env),
    startMs: requiredValue(VERIFY_FLAGS.start, given, env) * 1_000,
    settleMs: requiredValue(VERIFY_FLAGS.settle, given, env) * 1_000,
    agents: readAgentPods(given, env),
    output: requiredValue(VERIFY_FLAGS.output, given, env),
  };
}
