/** One test file under Mocha, in this process. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Mocha from 'mocha';
import { FAULT_TITLE } from './faults.ts';

const ROOT = join(import.meta.dirname, '..');
const { timeout: TIMEOUT_MS } = JSON.parse(readFileSync(join(ROOT, '.mocharc.json'), 'utf8')) as { timeout: number };

export interface FileResult {
  readonly passed: number;
  readonly failed: number;
  /** Full titles of the tests that did not run. */
  readonly skipped: readonly string[];
  readonly seconds: number;
}

/** `onlyFaults`: only tests of faults. Prints one line, and the failures. */
export async function runFile(file: string, onlyFaults: boolean): Promise<FileResult> {
  const startedMs = performance.now();
  const skipped: string[] = [];
  const failures: Mocha.Test[] = [];
  let passed = 0;
  /** Mocha wants a class; ours only counts. */
  class Count {
    constructor(runner: Mocha.Runner) {
      runner.on('pass', () => passed++);
      runner.on('pending', (test) => skipped.push(test.fullTitle()));
      // Not on `test`: that would keep only the last of several errors.
      runner.on('fail', (test, error: unknown) => failures.push(Object.assign(Object.create(test), { err: error })));
    }
  }
  const end = (failed: number, detail: string): FileResult => {
    console.log(reportLine(failed === 0, file, detail, startedMs));
    return { passed, failed, skipped, seconds: (performance.now() - startedMs) / 1000 };
  };
  const mocha = new Mocha({ reporter: Count as unknown as Mocha.ReporterConstructor, timeout: TIMEOUT_MS });
  if (process.env.CI === 'true') mocha.forbidOnly();
  if (onlyFaults) mocha.grep(FAULT_TITLE);
  mocha.addFile(file);
  try {
    await mocha.loadFilesAsync();
    await new Promise((resolve) => mocha.run(resolve));
    mocha.dispose();
  } catch (error) {
    const result = end(1, 'cannot be loaded');
    console.log(error);
    return result;
  }
  // Loaded before by somebody else, say: then nothing of it is registered a second time.
  if (!onlyFaults && passed + failures.length + skipped.length === 0) return end(1, 'no test in it was run');
  const counts = [`${passed} passed`, ...(failures.length > 0 ? [`${failures.length} failed`] : [])];
  const result = end(failures.length, counts.join(', '));
  if (failures.length > 0) Mocha.reporters.Base.list(failures);
  return result;
}

/** The line of a file or check: its name and how long it took. */
export function reportLine(ok: boolean, name: string, detail: string, startedMs: number): string {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(2);
  return `  ${ok ? 'ok  ' : 'FAIL'}  ${name}${detail === '' ? '' : `  ${detail}`}  ${seconds} s`;
}
