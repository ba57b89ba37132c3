import type { Environment, Flag, Given } from '../flags.ts';
import type { Reading } from '../read-value.ts';
import type { AskedPort } from './questions.ts';

import { PROTOCOLS } from '../../core/vocabulary.ts';
import { allValues, requiredValue } from '../flags.ts';
import { notA, oneOf } from '../read-value.ts';
import { type ObjectSource, readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

const OUTPUTS = ['text', 'json', 'yaml'] as const;

export interface ExplainOptions extends ObjectSource {
  readonly source: string;
  readonly destination: string;
  readonly ports: readonly AskedPort[];
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
  output: {
    name: 'output',
    short: 'o',
    placeholder: '<format>',
    defaultText: 'text',
    help: OUTPUTS.join(', '),
    read: oneOf(OUTPUTS),
  },
} as const satisfies Record<string, Flag<unknown>>;

/** Throws `UsageProblem`. */
export function readExplainOptions(given: Given, env: Environment, operands: readonly string[]): ExplainOptions {
  const [source = '', destination = ''] = operands;
  return {
    source,
    destination,
    ports: allValues(EXPLAIN_FLAGS.port, given),
    output: requiredValue(EXPLAIN_FLAGS.output, given, env),
    ...readObjectSource(given, env, 'explain'),
  };
}

function readPort(text: string): Reading<AskedPort> {
  const [, name = '', word] = /^([^/]+)(?:\/(\w+))?$/.exec(text) ?? [];
  const protocol = PROTOCOLS.find((each) => each === word?.toUpperCase());
  const isNumber = /^\d+$/.test(name);
  const port = isNumber ? Number(name) : name;
  const isPort = isNumber ? Number(name) >= 1 && Number(name) <= 65_535 : /^[a-z0-9-]*[a-z][a-z0-9-]*$/.test(name);
  if (!isPort || (word !== undefined && !protocol))
    return notA(text, 'a port: 80, 53/UDP or a name, from 1 to 65535, with TCP, UDP or SCTP');
  return { value: { port, protocol } };
}
