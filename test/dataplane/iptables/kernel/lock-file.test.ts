import assert from 'node:assert/strict';
import { CommandFailed, type RunCommand } from '../../../../src/host/command.ts';
import { StepFailed } from '../../../../src/dataplane/iptables/kernel/kernel.ts';
import { applyStep } from '../../../../src/dataplane/iptables/kernel/linux-kernel.ts';
import type { Step } from '../../../../src/dataplane/iptables/plan/plan.ts';

const STEP: Step = { kind: 'rules', family: 4, lines: [{ text: '*mangle', object: 'x' }] };

async function failure(stderr: string): Promise<StepFailed> {
  const run: RunCommand = (request) => Promise.reject(new CommandFailed(request, 'exit', 4, stderr));
  try {
    await applyStep({ backend: 'iptables-legacy', run, lockWaitSeconds: 5 }, STEP);
  } catch (error) {
    assert.ok(error instanceof StepFailed);
    return error;
  }
  assert.fail('it did not fail');
}

describe('fault: a lock file that cannot be opened is no refusal by the kernel', () => {
  for (const why of ['Permission denied', 'Is a directory', 'Read-only file system', 'No such file or directory']) {
    it(`${why}: unavailable, with what to do`, async () => {
      const { reason, message } = await failure(`Fatal: can't open lock file /run/xtables.lock: ${why}\n`);
      assert.equal(reason, 'unavailable');
      assert.match(message, new RegExp(why));
      assert.match(message, /nothing is written: mount the host's \/run\/xtables\.lock as a file/);
    });
  }

  it('a lock that is held, and a refusal, are what they were', async () => {
    const held = 'Another app is currently holding the xtables lock. Stopped waiting after 5s.\n';
    assert.equal((await failure(held)).reason, 'lock');
    assert.equal((await failure('iptables-restore: line 3 failed\n')).reason, 'refused');
  });
});
