import type { Level } from '../../policy/lint.ts';
import type { Environment, Flag, Given } from '../flags.ts';
import type { ObjectSource } from '../source/options.ts';

import { LEVELS } from '../../policy/lint.ts';
import { outputFlag } from '../output-flag.ts';
import { requiredValue } from '../flags.ts';
import { oneOf } from '../read-value.ts';
import { readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

const OUTPUTS = ['text', 'json', 'yaml', 'sarif'] as const;
type LintOutput = (typeof OUTPUTS)[number];

export const LINT_FLAGS = {
  ...SOURCE_FLAGS,
  level: {
    name: 'level',
    placeholder: '<level>',
    defaultText: 'info',
    help: `tell of findings of this level and above: ${LEVELS.join(', ')}`,
    read: oneOf(LEVELS),
  },
  failOn: {
    name: 'fail-on',
    placeholder: '<level>',
    defaultText: 'warning',
    help: `exit code 1 for findings of this level and above: ${LEVELS.join(', ')}, never`,
    read: oneOf([...LEVELS, 'never']),
  },
  output: outputFlag(OUTPUTS, ' (2.1.0, for code scanning)'),
} as const satisfies Record<string, Flag<unknown>>;

export interface LintOptions extends ObjectSource {
  readonly level: Level;
  readonly failOn: Level | 'never';
  readonly output: LintOutput;
}

/** Throws `UsageProblem`. */
export function readLintOptions(given: Given, env: Environment): LintOptions {
  return {
    ...readObjectSource(given, env, 'lint'),
    level: requiredValue(LINT_FLAGS.level, given, env),
    failOn: requiredValue(LINT_FLAGS.failOn, given, env),
    output: requiredValue(LINT_FLAGS.output, given, env),
  };
}
