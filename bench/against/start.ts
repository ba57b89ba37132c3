/** Suite *start* beside another version. */
import type { RunSuite } from '../types.ts';
import { measureProcesses } from './process.ts';

export const run: RunSuite = (options) => measureProcesses('start', options);
