/** The host under the agent fails: its clock, its disk, its processes, its memory. The rules stay, and changes are followed. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AgentLab, type AgentProcess, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { childrenOf, programOf } from '../support/processes.ts';

const DENY = { podSelector: { matchLabels: { pod: 'b' } }, policyTypes: ['Ingress'] };

/** Loaded before the agent: makes the host fail when told by a file that appears. */
const PRELOAD = `
import { existsSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import childProcess from 'node:child_process';
const folder = process.env.FAILING_HOST;
const RealDate = Date;
let offsetMs = 0;
globalThis.Date = class extends RealDate {
  constructor(...args) { if (args.length === 0) super(RealDate.now() + offsetMs); else super(...args); }
  static now() { return RealDate.now() + offsetMs; }
};
const { spawn } = childProcess;
childProcess.spawn = (...args) => {
  if (!existsSync(folder + '/no-fork')) return spawn(...args);
  throw Object.assign(new Error('spawn EAGAIN'), { code: 'EAGAIN', errno: -11, syscall: 'spawn' });
};
syncBuiltinESMExports();
const kept = [];
setInterval(() => {
  offsetMs = existsSync(folder + '/future') ? 3e11 : existsSync(folder + '/past') ? -3e11 : 0;
  while (existsSync(folder + '/hungry')) kept.push(new Array(1e6).fill(kept.length));
}, 20);
`;

describe('fault: the host fails under the agent', function () {
  this.timeout(60_000);
  let lab: AgentLab;
  let folder: string;

  before(async function () {
    skipUnlessRoot.call(this);
    folder = mkdtempSync(join(tmpdir(), 'portcullis-host-'));
    writeFileSync(join(folder, 'preload.mjs'), PRELOAD);
    lab = await AgentLab.create({ families: [4] });
    await lab.pods({ 'x/a': {}, 'x/b': {} });
  });
  afterEach(async () => {
    for (const name of ['no-fork', 'future', 'past', 'hungry']) rmSync(join(folder, name), { force: true });
    for (const agent of lab.agents.values()) if (agent.running) await agent.end('SIGKILL');
  });
  after(async () => {
    await lab?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  const fail = (name: string): void => writeFileSync(join(folder, name), '');
  const heal = (name: string): void => rmSync(join(folder, name));

  function start(env: Readonly<Record<string, string>> = {}, memory = ''): Promise<AgentProcess> {
    const options = `--import=${pathToFileURL(join(folder, 'preload.mjs')).href} ${memory}`;
    return lab.start('node-1', { env: { NODE_OPTIONS: options, FAILING_HOST: folder, ...env } });
  }

  /** A change that is followed, and another one back. */
  async function expectFollowed(): Promise<void> {
    lab.policy('x/deny', DENY);
    await lab.expect(['x/a -x x/b'], 15_000);
    lab.deletePolicy('x/deny');
    await lab.expect(['x/a -> x/b'], 15_000);
  }

  it('the clock jumps ten years ahead, and twenty back', async () => {
    const agent = await start();
    for (const where of ['future', 'past']) {
      fail(where);
      await expectFollowed();
      assert.equal((await agent.readiness()).status, 200, where);
      heal(where);
    }
    await expectFollowed();
  });

  it('no process can be started for a while: what stands is enforced, and the change follows when one can', async () => {
    const agent = await start();
    lab.policy('x/deny', DENY);
    await lab.expect(['x/a -x x/b']);
    fail('no-fork');
    // Those that stay would carry out what follows.
    endTools(agent.pid);
    lab.policy('x/other', { podSelector: { matchLabels: { pod: 'a' } }, policyTypes: ['Ingress'] });
    await agent.logged(({ level }) => level === 'error' || level === 'warn', 'a complaint', agent.log.length, 15_000);
    lab.deletePolicy('x/deny');
    await agent.logged(({ level }) => level === 'error' || level === 'warn', 'another', agent.log.length, 15_000);
    assert.deepEqual(await lab.wrong(['x/a -x x/b']), []);
    heal('no-fork');
    await lab.expect(['x/a -> x/b', 'x/b -x x/a'], 45_000);
    lab.deletePolicy('x/other');
    await lab.expect(['x/b -> x/a'], 15_000);
  });

  it('the disk is full', async () => {
    // Seen by the agent alone. Not /tmp itself: the sources may be there.
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    const fill = `mount -t tmpfs -o size=4k full ${disk} && ! head -c 9999 /dev/zero > ${disk}/full && exec "$@"`;
    const flags = [`--api-server-endpoints-file=${disk}/endpoints.json`];
    const agent = lab.launch('node-1', { wrap: ['sh', '-c', fill, 'sh'], env: { TMPDIR: disk }, flags });
    await agent.ready();
    await expectFollowed();
    assert.ok(agent.running);
  });

  it('the disk that takes the log is full', async () => {
    const agent = lab.launch('node-1', { wrap: ['sh', '-c', 'exec "$@" > /dev/full', 'sh'] });
    await agent.ready();
    await expectFollowed();
    assert.ok(agent.running);
    assert.ok((await agent.metric('portcullis_log_lines_dropped_total')) > 0, 'lost lines are counted');
  });

  it('memory runs out: the runtime ends the agent, the rules stay, and the next one writes nothing', async () => {
    const agent = await start({}, '--max-old-space-size=64');
    lab.policy('x/deny', DENY);
    await lab.expect(['x/a -x x/b']);
    await lab.restingText();
    fail('hungry');
    const { code, signal } = await agent.ended;
    assert.ok(code !== 0 && (code !== null || signal !== null));
    assert.deepEqual(await lab.wrong(['x/a -x x/b']), []);
    heal('hungry');
    const text = await lab.kernelText();
    await lab.start();
    await until(async () => (await lab.kernelText()) === text, 'the same rules as before');
    assert.deepEqual(await lab.wrong(['x/a -x x/b']), []);
  });
});

function endTools(parent: number): void {
  for (const pid of childrenOf(parent)) if (/^(?:ip6?tables|ipset)/.test(programOf(pid))) process.kill(pid, 'SIGKILL');
}
