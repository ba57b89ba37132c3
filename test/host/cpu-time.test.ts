import assert from 'node:assert/strict';
import { runCommand } from '../../src/host/command.ts';
import { childrenMsOf, cpuMs } from '../../src/host/cpu-time.ts';

describe('CPU time', () => {
  it('counts what this process works', () => {
    const before = cpuMs();
    const until = performance.now() + 60;
    while (performance.now() < until);
    assert.ok(cpuMs() - before > 5);
  });

  it('counts commands that ended, and no waiting', async () => {
    const run = async (script: string): Promise<number> => {
      const before = cpuMs();
      await runCommand({ argv: ['sh', '-c', script], timeoutMs: 20_000 });
      return cpuMs() - before;
    };
    const worked = await run('i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done');
    const waited = await run('sleep 0.5');
    assert.ok(worked >= 20, `${worked} ms of work`);
    assert.ok(waited < 100, `${waited} ms of sleep`);
  });

  it('reads past a name with spaces and parentheses', () => {
    const fields = Array.from({ length: 30 }, (_, index) => String(index + 3));
    fields[13] = '7';
    fields[14] = '5';
    assert.equal(childrenMsOf(`42 (a) b (c)) ${fields.join(' ')}`), 120);
  });
});
