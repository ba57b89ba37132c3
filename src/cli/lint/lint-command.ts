/** `portcullis lint`, as the program knows it. */
import type { Command } from '../command.ts';

import { CHECKS, IGNORE_ANNOTATION } from '../../policy/lint.ts';
import { LINT_FLAGS, readLintOptions } from './options.ts';

const longest = Math.max(...Object.keys(CHECKS).map(({ length }) => length));
const list = Object.entries(CHECKS)
  .map(([name, [level]]) => `  ${name.padEnd(longest)}  ${level}`)
  .join('\n');

export const LINT_COMMAND: Command = {
  name: 'lint',
  summary: 'what is probably not meant in policies, with the line, why it matters, and what to write',
  usage: '[-f <file, folder or ->] [flags]',
  description: `Looks for what the API server takes without a word and is probably not meant. With namespaces and
pods among the manifests, or on a cluster, names that nothing has are found as well.

${list}

An object is left out of checks by its annotation ${IGNORE_ANNOTATION}, with their
names and commas between, or all.`,
  flags: Object.values(LINT_FLAGS),
  exitCodes: { ok: 'nothing of --fail-on or above was found', failure: 'something was, or manifests cannot be read' },
  run: async (given, context) => {
    const options = readLintOptions(given, context.env);
    const { runLint } = await import('./run-lint.ts');
    return runLint(options, context);
  },
};
