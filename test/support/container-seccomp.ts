/** The seccomp filter of RuntimeDefault: Docker's own profile, which containerd's is like, from Debian's packages (scripts/test-tools). */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
const TOOLS = join(ROOT, 'node_modules/.cache/tools');
const PROFILE = 'usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json';
/** Debian's: a package's module is no other's. */
const PYTHON = '/usr/bin/python3';
const MODULES = 'usr/lib/python3/dist-packages';

/** Writes the filter as a BPF program. Undefined: done; else what is not there. */
export function writeSeccompFilter(file: string): string | undefined {
  const profile = [join('/', PROFILE), join(TOOLS, PROFILE)].find((path) => existsSync(path));
  if (profile === undefined) return "Docker's seccomp profile (golang-github-docker-docker-dev)";
  const env = { PYTHONPATH: join(TOOLS, MODULES) };
  try {
    execFileSync(PYTHON, ['-c', 'import seccomp'], { env, stdio: 'ignore' });
  } catch {
    return "Debian's Python with python3-seccomp";
  }
  execFileSync(PYTHON, [join(ROOT, 'test/support/seccomp-profile.py'), profile, file], { env, stdio: 'pipe' });
  return undefined;
}
