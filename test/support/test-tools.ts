/** Programs that some tests use beside the netfilter tools, as scripts/test-tools brings them. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../node_modules/.cache/tools/usr/bin/', import.meta.url));

/** The program's path, or undefined where it is neither in PATH nor was brought. */
export function testTool(name: string): string | undefined {
  if (existsSync(FOLDER + name)) return FOLDER + name;
  try {
    return execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

/** Skips the test that lacks the program; with CI=true it fails instead. */
export function needTool(context: Mocha.Context, name: string): string {
  const path = testTool(name);
  if (path !== undefined) return path;
  const advice = `no ${name}: scripts/test-tools brings it`;
  if (process.env.CI === 'true') throw new Error(advice);
  console.log(`      skipped: ${advice}`);
  return context.skip();
}
