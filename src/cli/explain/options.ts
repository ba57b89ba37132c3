import type { Environment, Flag, Given } from '../flags.ts';
import type { Reading } from '../read-value.ts';
import type { AskedPort } from './questions.ts';

import { PROTOCOLS } from '../../core/vocabulary.ts';
import { outputFlag } from '../output-flag.ts';
import { allValues, optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { notA, readBoolean, readText } from '../read-value.ts';
import { AGENT_POD_FLAGS, type AgentPods, readAgentPods } from '../source/agents.ts';
import { type ObjectSource, readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

const OUTPUTS = ['text', 'json', 'yaml'] as const;

export interface ExplainOptions extends ObjectSource {
  readonly source: string;
  readonly destination: string;
  readonly ports: readonly AskedPort[];
  readonly verify: boolean;
  readonly against: readonly string[];
  readonly agents: AgentPods;
  readonly output: (typeof OUTPUTS)[number];
}

export const EXPLAIN_FLAGS = {
  port: {
    name: 'port',
    short: 'p',
    placeholder: '<port>',
    help: 'destination port: number or name, with /TCP (unless said), /UDP or /SCTP; may be repeated; of a Service its own, all if absent',
    read: readPort,
  },
  ...SOURCE_FLAGS,
  verify: {
    name: 'verify',
    help: 'ask the agents of the nodes that judge it what the rules in their kernels do with it',
    read: readBoolean,
  },
  against: {
    name: 'against',
    placeholder: '<file>',
    help: 'with --verify: a bundle of a node, or what iptables-save, ip6tables-save and ipset save print, in the place of its agent',
    read: readText,
  },
  ...AGENT_POD_FLAGS,
  output: outputFlag(OUTPUTS),
} as const satisfies Record<string, Flag<unknown>>;

/** Throws `UsageProblem`. */
export function readExplainOptions(given: Given, env: Environment, operands: readonly string[]): ExplainOptions {
  const [source = '', destination = ''] = operands;
  const verify = optionalValue(EXPLAIN_FLAGS.verify, given, env) ?? false;
  const against = allValues(EXPLAIN_FLAGS.against, given);
  if (against.length > 0 && !verify) throw new UsageProblem('--against: goes with --verify');
  return {
    source,
    destination,
    ports: allValues(EXPLAIN_FLAGS.port, given),
    verify,
    against,
    agents: readAgentPods(given, env),
    output: requiredValue(EXPLAIN_FLAGS.output, given, env),
    ...readObjectSource(given, env, 'explain'),
  };
}

/** `80`, `53/UDP`, `http`. */
export function readPort(text: string): Reading<AskedPort> {
  const [, name = '', word] = /^([^/]+)(?:\/(\w+))?$/.exec(text) ?? [];
  const protocol = PROTOCOLS.find((each) => each === word?.toUpperCase());
  const isNumber = /^\d+$/.test(name);
  const port = isNumber ? Number(name) : name;
  const isPort = isNumber ? Number(name) >= 1 && Number(name) <= 65_535 : /^[a-z0-9-]*[a-z][a-z0-9-]*$/.test(name);
  if (!isPort || (word !== undefined && !protocol))
    return notA(text, 'a port: 80, 53/UDP or a name, from 1 to 65535, with TCP, UDP or SCTP');
  return { value: { port, protocol } };
}
