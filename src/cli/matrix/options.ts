import type { AskedPort } from '../../policy/matrix/ports.ts';
import type { Environment, Flag, Given } from '../flags.ts';
import type { Reading } from '../read-value.ts';
import type { ObjectSource } from '../source/options.ts';

import { PROTOCOLS } from '../../core/vocabulary.ts';
import { outputFlag } from '../output-flag.ts';
import { allValues, optionalValue, requiredValue } from '../flags.ts';
import { notA, oneOf, readBoolean, readText } from '../read-value.ts';
import { readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

export const GROUPINGS = ['workload', 'namespace', 'pod'] as const;
export type Grouping = (typeof GROUPINGS)[number];

const OUTPUTS = ['text', 'markdown', 'csv', 'json', 'yaml', 'html'] as const;

/** What `matrix` and `diff` have in common. */
export const VIEW_FLAGS = {
  from: {
    name: 'from',
    placeholder: '<who>',
    help: 'only flows from a namespace, a NAMESPACE/NAME, outside or nodes; may be repeated',
    read: readText,
  },
  to: { name: 'to', placeholder: '<who>', help: 'only flows to it, the same; may be repeated', read: readText },
  port: {
    name: 'port',
    short: 'p',
    placeholder: '<port>',
    help: 'only this port, with /TCP (unless said), /UDP or /SCTP; may be repeated',
    read: readNumberedPort,
  },
  group: {
    name: 'group',
    placeholder: '<by>',
    help: `what a row stands for: ${GROUPINGS.join(', ')}; workload unless text would be too long`,
    read: oneOf(GROUPINGS),
  },
  enforceAudited: {
    name: 'enforce-audited',
    help: 'as if policies that are only audited were enforced',
    read: readBoolean,
  },
} as const satisfies Record<string, Flag<unknown>>;

export const MATRIX_FLAGS = {
  ...SOURCE_FLAGS,
  ...VIEW_FLAGS,
  output: outputFlag(OUTPUTS, ' (one page that needs no network)'),
} as const satisfies Record<string, Flag<unknown>>;

export interface ViewOptions {
  /** Empty: everybody. */
  readonly from: readonly string[];
  readonly to: readonly string[];
  /** Empty: all. */
  readonly ports: readonly AskedPort[];
  readonly group: Grouping | undefined;
  readonly enforcesAudited: boolean;
}

export interface MatrixOptions extends ViewOptions, ObjectSource {
  readonly output: (typeof OUTPUTS)[number];
}

/** Throws `UsageProblem`. */
export function readMatrixOptions(given: Given, env: Environment): MatrixOptions {
  return {
    ...readObjectSource(given, env, 'matrix'),
    ...readViewOptions(given, env),
    output: requiredValue(MATRIX_FLAGS.output, given, env),
  };
}

export function readViewOptions(given: Given, env: Environment): ViewOptions {
  return {
    from: allValues(VIEW_FLAGS.from, given),
    to: allValues(VIEW_FLAGS.to, given),
    ports: allValues(VIEW_FLAGS.port, given),
    group: optionalValue(VIEW_FLAGS.group, given, env),
    enforcesAudited: optionalValue(VIEW_FLAGS.enforceAudited, given, env) ?? false,
  };
}

function readNumberedPort(text: string): Reading<AskedPort> {
  const [, digits = '', word = 'TCP'] = /^(\d{1,5})(?:\/(\w+))?$/.exec(text) ?? [];
  const protocol = PROTOCOLS.find((each) => each === word.toUpperCase());
  const port = Number(digits);
  if (digits === '' || port < 1 || port > 65_535 || !protocol)
    return notA(text, 'a port: 80 or 53/UDP, from 1 to 65535, with TCP, UDP or SCTP');
  return { value: { port, protocol } };
}
