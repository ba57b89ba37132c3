/** All scenarios: one group per Markdown file of this folder. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readScenarios, type Suite } from './read-scenarios.ts';

const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.md') && name !== 'README.md');

export const SUITES: readonly Suite[] = files
  .sort()
  .map((name) => readScenarios(readFileSync(join(import.meta.dirname, name), 'utf8'), join('test/scenarios', name)));
