/** Exit code 1 if docs/reliability.md does not list the faults that the tests name. Loads every test file, and runs none. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { staleFaultPage } from './faults.ts';
import { suiteOf } from './test-summary.ts';

const ROOT = join(import.meta.dirname, '..');

process.chdir(ROOT);
const files = readdirSync('test', { recursive: true, encoding: 'utf8' }).map((file) => join('test', file));
const problem = await staleFaultPage(files.filter((file) => suiteOf(file) !== undefined).sort());
if (problem !== undefined) console.error(problem);
process.exit(problem === undefined ? 0 : 1);
